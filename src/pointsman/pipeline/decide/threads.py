"""Which model each running conversation is with, and which local models were used of late.

Clients resend the whole conversation with every turn, so a request whose beginning is a request that was seen before
goes on with it. What provider caches keep is such a beginning, too. Of this process alone: behind a balancer that
spreads a conversation over replicas, each of them knows the turns that it saw.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

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
    idle: Callable[[str], float]
    """Seconds since a model was chosen last; infinity when it never was."""
    now: float
    """On the monotonic clock."""
    failed: tuple[str, ...] = ()
    """Models that the conversation's agent was stuck with."""


NOWHERE = Place(None, lambda model: 0.0, 0.0)
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
        signals = decision.signals
        stage = signals.conversation.stage
        if model is None and (stage == "stuck" or self._failures):
            before = self.find(decision.key_id, signals, now) if stage == "stuck" else None
            self._failures.note(decision.conversation, stage, None if before is None else before.model)
        effort = decision.effort if model is None else None
        model = model or decision.model
        self._used[model] = now
        prefixes = signals.prefixes
        in_use = InUse(decision.conversation, model, effort, signals.needs.prompt_tokens, now)
        threads = self._threads
        # Agents that add to the last message with every turn still share what comes before it.
        for start in range(0, min(len(prefixes), 2 * HASH_BYTES), HASH_BYTES):
            key = decision.key_id, prefixes[start : start + HASH_BYTES]
            threads[key] = in_use
            threads.move_to_end(key)
        while len(threads) > self._most:
            threads.popitem(last=False)

    def place(self, key_id: str | None, signals: Signals, now: float) -> Place:
        """Where a request stands."""

        def idle(model: str) -> float:
            used = self._used.get(model)
            return float("inf") if used is None else max(0.0, now - used)

        in_use = self.find(key_id, signals, now)
        failed = self._failures.of(in_use.conversation) if in_use is not None and self._failures else ()
        return Place(in_use, idle, now, failed)


def conversation_of(signals: Signals, in_use: InUse | None) -> str:
    """What the turns of a request's conversation are known by; empty where it has no user turn."""
    return in_use.conversation if in_use is not None else signals.prefixes[:HASH_BYTES].hex()
