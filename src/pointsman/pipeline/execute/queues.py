"""The queues of all engines, found by the model that is to be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from pointsman.core.catalog import ModelCard
from pointsman.core.ports import Clock
from pointsman.core.queueing import QueueStanding

from .queueing import Line, LineRules

NOTHING: Mapping[str, float] = MappingProxyType({})
WEIGHTS: Mapping[str, float] = MappingProxyType({"high": 4.0, "normal": 2.0, "low": 1.0})
"""By the priority of a tier: how large the share of its keys is."""


class EngineQueues:
    """Implements `core.ports.Queues`.

    Args:
        weight: a tier's weight.
    """

    def __init__(self, *, clock: Clock, weight: Callable[[str | None], float] = lambda tier: 1.0) -> None:
        self._clock = clock
        self._weight = weight
        self._lines: dict[str, Line] = {}
        self._by_model: dict[str, LineRules] = {}

    def put(self, provider: str, rules: LineRules | None, *, slots: Callable[[], int] | None = None) -> None:
        """Let a provider's models have one queue together, with these rules; whoever waits goes on waiting.

        Args:
            rules: None: the provider has no queue any more.
            slots: how many there are now, where that changes.
        """
        line = self._lines.get(provider)
        if rules is None:
            if line is not None:
                del self._lines[provider]
                line.end()
        elif line is None:
            self._lines[provider] = self._line(provider, rules, slots)
        else:
            line.adjust(rules, slots)

    def look_again(self, provider: str) -> None:
        """A provider may have more slots than it had: servers came back."""
        line = self._lines.get(provider)
        if line is not None:
            line.look_again()

    def put_by_model(self, provider: str, rules: LineRules) -> None:
        """Let each of a provider's models that write answers have a queue of its own."""
        self._by_model[provider] = rules

    def line(self, card: ModelCard) -> Line | None:
        if not self._lines and not self._by_model:
            return None
        line = self._lines.get(card.provider)
        if line is not None or card.provider not in self._by_model or "chat" not in card.capabilities:
            return line
        line = self._lines.get(card.id)
        if line is None:
            line = self._lines[card.id] = self._line(card.id, self._by_model[card.provider], None)
        return line

    def waits(self, key_id: str | None, tier: str | None) -> Mapping[str, float]:
        if not self._lines:
            return NOTHING
        return {engine: wait for engine, line in self._lines.items() if (wait := line.wait(key_id, tier)) > 0}

    def standings(self) -> Sequence[QueueStanding]:
        return [line.standing() for line in self._lines.values()]

    def _line(self, engine: str, rules: LineRules, slots: Callable[[], int] | None) -> Line:
        return Line(engine, rules, clock=self._clock, weight=self._weight, slots=slots)
