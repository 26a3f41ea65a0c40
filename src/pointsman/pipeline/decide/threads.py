"""Which model each running conversation is with, and which local models were used of late.

Clients resend the whole conversation with every turn, so a request whose beginning is a request that was seen before
goes on with it. What provider caches keep is such a beginning, too. Of this process alone: behind a balancer that
spreads a conversation over replicas, each of them knows the turns that it saw.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from pointsman.core.decision import Decision
from pointsman.core.outcome import Outcome
from pointsman.core.signals import Signals

from .failures import Failures

MOST = 20_000
"""Beginnings remembered, two for each turn; some 300 bytes each."""
FORGOTTEN_AFTER = 3600.0
"""Seconds without a turn."""
HASH_BYTES = 8


class InUse(msgspec.Struct, frozen=True, gc=False):
    """The model that a conversation is with."""

    conversation: str
    """What its turns are known by."""
    model: str
    effort: str | None
    prompt_tokens: int
    """Of the last turn: what a cache may hold of the next one's prompt."""
    at: float
    """When the last turn was decided, on the monotonic clock."""


class Place(msgspec.Struct, frozen=True):
    """Where a request stands among those before it."""

    in_use: InUse | None
    """None: it begins a conversation."""
    now: float
    """On the monotonic clock."""
    used: Mapping[str, float] | None = None
    """When a model was chosen last, on that clock; None: every model is as good as just used."""
    failed: tuple[str, ...] = ()
    """Models that the conversation's agent was stuck with."""

    def idle(self, model: str) -> float:
        """Seconds since a model was chosen last; infinity when it never was."""
        return 0.0 if self.used is None else max(0.0, self.now - self.used.get(model, -math.inf))


NOWHERE = Place(None, 0.0)
"""Of a request that nothing is known around: no conversation to go on with, every model as good as loaded."""


class Threads:
    """Remembers conversations by their beginnings, those of different keys apart. Bounded."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._threads: OrderedDict[tuple[str | None, bytes], InUse] = OrderedDict()
        self._used: dict[str, float] = {}
        self._failures = Failures()

    def __len__(self) -> int:
        return len(self._threads)

    def find(self, key_id: str | None, signals: Signals, now: float) -> InUse | None:
        """The conversation that a request goes on with; None when it begins one."""
        hashes = signals.prefixes
        for start in range(HASH_BYTES, len(hashes), HASH_BYTES):  # the same prompt once more goes on with nothing
            found = self._threads.get((key_id, hashes[start : start + HASH_BYTES]))
            if found is not None:
                return found if 0 <= now - found.at <= FORGOTTEN_AFTER else None
        return None

    def answered(self, decision: Decision, outcome: Outcome, now: float) -> None:
        """Remember that another model answered than the one chosen: the conversation is with that one."""
        if outcome.status == "ok" and outcome.model not in (None, decision.model):
            self.keep(decision, now, model=outcome.model)

    def keep(self, decision: Decision, now: float, *, model: str | None = None) -> None:
        """Remember a turn.

        Args:
            model: the one that it is with; None: the chosen one.
        """
        signals, conversation, effort = decision.signals, decision.conversation, None
        if model is None:
            model, effort = decision.model, decision.effort
            stage = signals.conversation.stage
            if stage == "stuck" or self._failures.of_any:
                before = self.find(decision.key_id, signals, now) if stage == "stuck" else None
                self._failures.note(conversation, stage, None if before is None else before.model)
        self._used[model] = now
        hashes = signals.prefixes
        if not hashes:
            return
        in_use = InUse(conversation, model, effort, signals.needs.prompt_tokens, now)
        self._remember((decision.key_id, hashes[:HASH_BYTES]), in_use)
        if len(hashes) > HASH_BYTES:  # agents that add to the last message with every turn share what comes before it
            self._remember((decision.key_id, hashes[HASH_BYTES : 2 * HASH_BYTES]), in_use)

    def _remember(self, beginning: tuple[str | None, bytes], in_use: InUse) -> None:
        threads = self._threads
        threads[beginning] = in_use
        threads.move_to_end(beginning)
        if len(threads) > self._most:
            threads.popitem(last=False)

    def place(self, key_id: str | None, signals: Signals, now: float) -> Place:
        """Where a request stands."""
        in_use = self.find(key_id, signals, now)
        failed = self._failures.of(in_use.conversation) if in_use is not None and self._failures.of_any else ()
        return Place(in_use, now, self._used, failed)


def conversation_of(signals: Signals, in_use: InUse | None) -> str:
    """What the turns of a request's conversation are known by; empty where it has no user turn. The shortest beginning
    stands for one that is not remembered: it is the first turn's, unless many messages came since, and so the same in
    every process."""
    return in_use.conversation if in_use is not None else signals.prefixes[-HASH_BYTES:].hex()
