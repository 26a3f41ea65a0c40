"""What two policies say and do differently: their numbers, and their choices on logged decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.decision import Candidate
from pointsman.pipeline.decide import Policy
from pointsman.pipeline.decide.network import label

from .logged import Logged
from .replay import preferred, rebuilt


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """Means over the decisions."""

    micro_usd: float
    """Of the choices whose price is known."""
    success: float
    """As the log predicted it of the chosen models, whichever policy chose them."""


class Move(msgspec.Struct, frozen=True, kw_only=True):
    before: str
    after: str
    decisions: int


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What two policies think best of the same decisions."""

    decisions: int
    changed: int
    before: Expected
    after: Expected
    moves: tuple[Move, ...]
    """The commonest first."""

    @property
    def share(self) -> float:
        return self.changed / self.decisions if self.decisions else 0.0


def numbers(before: Any, after: Any, where: str = "") -> dict[str, tuple[Any, Any]]:
    """Values of two trees of JSON that differ, by where they stand; None where one has none."""
    if isinstance(before, dict) and isinstance(after, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for name in dict.fromkeys((*before, *after)):
            found |= numbers(before.get(name), after.get(name), f"{where}.{name}" if where else str(name))
        return found
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return {
            place: pair
            for at, (one, other) in enumerate(zip(before, after, strict=True))
            for place, pair in numbers(one, other, f"{where}[{at}]").items()
        }
    return {} if before == after else {where or "policy": (before, after)}


def choices(
    decisions: Sequence[Logged],
    before: Policy,
    after: Policy,
    *,
    cards: Mapping[str, ModelCard],
    tell: Callable[[int], None] = lambda count: None,
) -> Choices:
    """Ask both policies, without exploring."""
    moves: Counter[tuple[str, str]] = Counter()
    picked: tuple[list[Candidate], list[Candidate]] = [], []
    for number, decision in enumerate(decisions, 1):
        arms = [rebuilt(candidate, decision, cards) for candidate in decision.candidates]
        logged = {label(candidate): candidate for candidate in decision.candidates}
        labels = []
        for policy, firsts in zip((before, after), picked, strict=True):
            first = label(policy.rank(arms, decision.signals, preferred=preferred(decision))[0])
            firsts.append(logged[first])
            labels.append(first)
        if labels[0] != labels[1]:
            moves[labels[0], labels[1]] += 1
        if number % 100 == 0:
            tell(number)
    return Choices(
        decisions=len(decisions),
        changed=sum(moves.values()),
        before=_expected(picked[0]),
        after=_expected(picked[1]),
        moves=tuple(Move(before=one, after=other, decisions=n) for (one, other), n in moves.most_common()),
    )


def _expected(picked: Sequence[Candidate]) -> Expected:
    costs = [one.cost_micro_usd for one in picked if one.cost_micro_usd is not None]
    return Expected(
        micro_usd=sum(costs) / len(costs) if costs else 0.0,
        success=sum(one.quality for one in picked) / len(picked) if picked else 0.0,
    )
