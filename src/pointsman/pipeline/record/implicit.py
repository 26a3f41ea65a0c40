"""What callers do next tells of the answer before: a complaint, praise, the same prompt again, what a tool said of it.

Each is a guess. How far a kind of guess is believed is measured where callers spoke of the same answer themselves
(`belief`): a kind that nobody can check counts for nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from pointsman.core.caller import INTENT_KEY
from pointsman.core.decision import Decision
from pointsman.core.errors import InvalidRequest
from pointsman.core.observation import REJECTED, VERDICT, Implicit
from pointsman.core.outcome import Attempt, Outcome
from pointsman.core.ports import Clock
from pointsman.core.request import ChatRequest

from .judge import JUDGE_KEY
from .replies import said_of_answer

K = TypeVar("K")
V = TypeVar("V")

MOST = 10_000
"""Conversations, and prompts, that are remembered; some 300 bytes each."""
NEXT_TURN_WITHIN = 3_600.0
"""Seconds after an answer in which a turn is thought to speak of it."""
RETRY_WITHIN = 300.0
"""Seconds after an answer in which the same prompt means that it was no good."""
FEWEST = 30
"""Answers of which callers spoke too, below which a kind counts for nothing."""
STEP = 0.05
"""Weights are rounded down to it, so that they do not change with every case."""
OWN_KEYS = frozenset({JUDGE_KEY, INTENT_KEY})
"""Of whoever is no caller: the gateway itself asks."""
KINDS = ("complaint", "praise", "retry", "tool_failed", "tool_worked", "tests_failed", "tests_passed")


class Answered(msgspec.Struct, frozen=True, gc=False):
    """An answer that something may yet be said of."""

    decision_id: str
    at: float
    """When it ended, on the monotonic clock."""
    turn: int
    tool_results: int
    tool_errors: int
    tests_passed: bool | None


class ImplicitSignals:
    """Notices signals as requests come; remembers answers of this process alone, and no text.

    Args:
        keep: takes a signal up; returns at once.
    """

    def __init__(self, keep: Callable[[Implicit], None], clock: Clock, *, most: int = MOST) -> None:
        self._keep = keep
        self._clock = clock
        self._most = most
        self._conversations: OrderedDict[tuple[str | None, str], Answered] = OrderedDict()
        self._prompts: OrderedDict[tuple[str | None, str], tuple[str, float]] = OrderedDict()

    def answered(self, decision: Decision, outcome: Outcome) -> None:
        """An answer has ended. What failed or was cut off is not the model's answer, and says nothing of it."""
        signals, key_id = decision.signals, decision.key_id
        if outcome.status != "ok" or signals.needs.kind != "chat" or key_id in OWN_KEYS:
            return
        for attempt in outcome.attempts:
            if attempt.confidence is not None:
                self._judged(decision, outcome, attempt, attempt.confidence)
        now, shape = self._clock.monotonic(), signals.conversation
        if decision.conversation:
            kept = Answered(decision.id, now, shape.turn, shape.tool_results, shape.tool_errors, shape.tests_passed)
            _remember(self._conversations, (key_id, decision.conversation), kept, self._most)
        if signals.prompt_hash:
            _remember(self._prompts, (key_id, signals.prompt_hash), (decision.id, now), self._most)

    def asked(self, decision: Decision, request: ChatRequest) -> None:
        """A request was decided: does it say something of an answer before it?"""
        signals = decision.signals
        if signals.needs.kind != "chat":
            return
        now = self._clock.monotonic()
        again = self._prompts.pop((decision.key_id, signals.prompt_hash), None)
        if again is not None and 0 <= now - again[1] <= RETRY_WITHIN:
            self._note(again[0], "retry", 0.0)
            return  # the last turn is the same as before, so what it says was said of an earlier answer
        last = self._conversations.get((decision.key_id, decision.conversation))
        if last is None or not 0 <= now - last.at <= NEXT_TURN_WITHIN:
            return
        for kind, success in _signs(last, decision, request):
            self._note(last.decision_id, kind, success)

    def _judged(self, decision: Decision, outcome: Outcome, attempt: Attempt, confidence: float) -> None:
        """Note what a cascade thought of the answer, or of the one of the decision's model that it kept back."""
        if attempt is outcome.attempts[-1]:
            self._note(decision.id, VERDICT, confidence)
        elif attempt.status == "escalated" and attempt.model == decision.model:
            self._note(decision.id, REJECTED, confidence)

    def _note(self, decision_id: str, kind: str, success: float) -> None:
        self._keep(Implicit(decision_id=decision_id, kind=kind, success=success, at=self._clock.now()))


def _signs(last: Answered, decision: Decision, request: ChatRequest) -> Iterator[tuple[str, float]]:
    """What a request says of the answer before it: a kind, and a guess at the answer's success."""
    shape = decision.signals.conversation
    if shape.awaiting_tool_result:
        if shape.tool_results <= last.tool_results:
            return
        if shape.tests_passed is not None and shape.tests_passed != last.tests_passed:
            yield ("tests_passed", 1.0) if shape.tests_passed else ("tests_failed", 0.0)
        failed = shape.tool_errors > last.tool_errors
        yield ("tool_failed", 0.0) if failed else ("tool_worked", 1.0)
    elif shape.turn > last.turn:
        try:
            said = said_of_answer(request.message(len(request.params.messages) - 1).text)
        except InvalidRequest:  # such a request is refused by whoever reads it whole
            return
        if said is not None:
            yield said, float(said == "praise")


def belief(right: int, cases: int) -> float:
    """The weight of a kind of guess that was right in so many cases of which callers spoke too.

        weight = max(0, 2 p − 1),    0 below `FEWEST` cases

    with p the lower end of Wilson's interval (1927, 95 %) of the share that was right: a kind that is right half of the
    time is a coin, and one that is seldom checked is not trusted for its luck.
    """
    if cases < FEWEST or not 0 <= right <= cases:
        return 0.0
    z, share = 1.96, right / cases
    centre = share + z * z / (2 * cases)
    spread = z * math.sqrt(share * (1 - share) / cases + z * z / (4 * cases * cases))
    lower = (centre - spread) / (1 + z * z / cases)
    return max(0.0, math.floor((2 * lower - 1) / STEP + 1e-9) * STEP)


def _remember(kept: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
