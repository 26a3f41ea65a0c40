"""Why: sentences for people, and the one line for a header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from pointsman.core.catalog import ModelCard
from pointsman.core.decision import Candidate, Decision, Dropped
from pointsman.core.signals import Privacy, Signals

from .refuse import named, why_local_only

HEADER_CHARACTERS = 200
TIER_MEANS = {"medium": "costs weigh more", "low": "local models go first, and costs weigh most"}


@lru_cache(4096)
def dollars(micro_usd: int | None) -> str:
    """An amount for people, with two telling digits and no exponent."""
    if micro_usd is None:
        return "at an unknown price"
    if micro_usd == 0:
        return "free"
    if micro_usd >= 1_000_000:
        return f"${micro_usd / 1_000_000:.2f}"
    leading_zeros = 6 - len(str(micro_usd))
    return "$" + f"{micro_usd / 1_000_000:.{leading_zeros + 2}f}".rstrip("0").rstrip(".")


def expected(candidate: Candidate) -> str:
    sure = f" (give or take {candidate.uncertainty:.0%})" if candidate.uncertainty >= 0.005 else ""
    return (
        f"{candidate.quality:.0%} predicted success{sure}, {dollars(candidate.cost_micro_usd)},"
        f" about {candidate.latency_seconds:.2g} s"
    )


def why_auto(
    ranked: Sequence[Candidate],
    dropped: Sequence[Dropped],
    signals: Signals,
    *,
    complexity_threshold: float,
    requested: str = "auto",
    hinted: Sequence[ModelCard] = (),
    left_share: float | None = None,
    greedy: Candidate | None = None,
) -> tuple[str, ...]:
    """The reasons of a choice among candidates, the most telling first.

    Args:
        greedy: the candidate that the policy thinks best, where chance picked another before it.
    """
    chosen = ranked[0]
    if greedy is not None:
        among = f"chosen by chance to learn (probability {chosen.propensity:.2%}) among {len(ranked)}"
    else:
        among = "the only candidate" if len(ranked) == 1 else f"best of {len(ranked)}"
    reasons = [f"{chosen.model}: {among} for {signals.intent!s} ({signals.priority}), {expected(chosen)}."]
    if greedy is not None:
        reasons.append(f"Without chance it had been {greedy.model}, {expected(greedy)}.")
    if signals.quality_floor is not None:
        reasons.append(_floor(ranked, signals.quality_floor))
    if signals.privacy.local_only:
        reasons.append(f"It stays on this machine: {why_local_only(signals.privacy)}.")
    if signals.privacy.redacted:
        reasons.append(_redacted(signals.privacy))
    if signals.budget_tier != "high" and left_share is not None:
        reasons.append(f"The monthly budget is at {left_share:.0%}: {TIER_MEANS[signals.budget_tier]}.")
    if hinted:
        reasons.append(_hint(chosen.model, requested, hinted, dropped))
    score = signals.complexity.score
    if score > complexity_threshold:
        reasons.append(f"Complexity {score:.2f} is above {complexity_threshold:.2f}, so strength counts for more.")
    if len(ranked) > 1 and greedy is None:
        reasons.append(f"Next: {ranked[1].model}, {expected(ranked[1])}.")
    return (*reasons, *_dropped(dropped)) if dropped else tuple(reasons)


def why_forced(
    candidate: Candidate,
    dropped: Sequence[Dropped],
    signals: Signals,
    *,
    requested: str,
    forgiven: Mapping[str, str],
) -> tuple[str, ...]:
    """The reasons where the caller named the model; `forgiven` are the doubts that naming it set aside."""
    reasons = [f"{candidate.model}: the request names {requested[:100]!r}; {expected(candidate)}."]
    if signals.privacy.local_only:
        reasons.append(f"It stays on this machine: {why_local_only(signals.privacy)}.")
    if signals.privacy.redacted:
        reasons.append(_redacted(signals.privacy))
    doubts = {name: detail for name, detail in forgiven.items() if name != "disabled"} if forgiven else {}
    if doubts:
        told = "; ".join(f"is reported down: {why}" if name == "unhealthy" else why for name, why in doubts.items())
        reasons.append(f"It {told}; named outright, it gets the request all the same.")
    return (*reasons, *_dropped(dropped)) if dropped else tuple(reasons)


def header_reason(decision: Decision) -> str:
    """The reasons on one line for a header: printable ASCII, at most 200 characters, whole sentences where they fit."""
    line, *others = decision.reasons or ("",)
    for reason in others:
        longer = f"{line} {reason}" if line else reason
        if line and len(longer) > HEADER_CHARACTERS:
            break
        line = longer
    if not (line.isascii() and line.isprintable()):
        line = "".join(character if " " <= character <= "~" else "?" for character in line)
    return line if len(line) <= HEADER_CHARACTERS else line[: HEADER_CHARACTERS - 3] + "..."


def _floor(ranked: Sequence[Candidate], floor: float) -> str:
    best = max(ranked, key=lambda candidate: candidate.quality)
    return f"A quality floor lets it be at most {floor * 100:.3g} points of success below {best.model}."


def _redacted(privacy: Privacy) -> str:
    values = f"{privacy.placeholders} private {'value' if privacy.placeholders == 1 else 'values'}"
    return f"Remote models get placeholders for {values}: {why_local_only(privacy)}."


def _hint(chosen: str, requested: str, hinted: Sequence[ModelCard], dropped: Sequence[Dropped]) -> str:
    ids = {card.id for card in hinted}
    if chosen in ids:
        return f"The request hints at {requested[:100]!r}."
    out = next((drop for drop in dropped if drop.model in ids), None)
    if out is not None:
        return f"The request hints at {requested[:100]!r}, which was passed over: {out.detail}."
    return f"The request hints at {requested[:100]!r}, but {chosen} is clearly better for it."


def _dropped(dropped: Sequence[Dropped]) -> list[str]:
    """A sentence for each constraint that dropped something, in the order in which it first did."""
    groups: dict[str, list[Dropped]] = {}
    for drop in dropped:
        groups.setdefault(drop.constraint, []).append(drop)
    sentences = []
    for constraint, drops in groups.items():
        detail = f": {drops[0].detail}" if len(drops) == 1 else ""
        sentences.append(f"Dropped by {constraint}: {named(drop.model for drop in drops)}{detail}.")
    return sentences
