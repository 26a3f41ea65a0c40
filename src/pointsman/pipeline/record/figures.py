"""Sums over past requests: pure functions from the log's figures to what people ask."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from pointsman.core.figures import Figure


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a model has answered."""

    requests: int
    """Answers that this was measured on."""
    response_seconds: float
    """To the end of the answer, on average."""
    first_byte_seconds: float | None
    """To the first token of streamed answers, on average; None: none was streamed."""
    tokens_per_second: float | None
    """Of the answer: of streamed ones from the first byte on, of others over the whole time. None: no upstream told
    how many tokens it gave."""


def measure(figures: Iterable[Figure]) -> dict[str, Measured]:
    """By model. Only answers that ended well and that the chosen model gave itself: with others the times of failed
    attempts are in the sum."""
    by_model: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.status == "ok" and figure.answered_by == figure.model and figure.seconds is not None:
            by_model.setdefault(figure.model, []).append(figure)
    return {model: _measured(answers) for model, answers in by_model.items()}


def _measured(answers: Sequence[Figure]) -> Measured:
    first = [answer.first_byte_seconds for answer in answers if answer.stream and answer.first_byte_seconds is not None]
    tokens, seconds = 0, 0.0
    for answer in answers:
        if answer.completion_tokens:
            tokens += answer.completion_tokens
            seconds += (answer.seconds or 0.0) - (answer.first_byte_seconds or 0.0 if answer.stream else 0.0)
    return Measured(
        requests=len(answers),
        response_seconds=sum(answer.seconds or 0.0 for answer in answers) / len(answers),
        first_byte_seconds=average(first),
        tokens_per_second=tokens / seconds if tokens and seconds > 0 else None,
    )


class Savings(msgspec.Struct, frozen=True, kw_only=True):
    """What routing saved against always asking the strongest model, in estimates of the decisions themselves."""

    micro_usd: int
    low_micro_usd: int | None
    high_micro_usd: int | None
    """The 95 % interval of such a stretch, by the normal approximation over conversations, whose turns hang together;
    None with fewer than `ENOUGH` of them. `pointsman savings` has one that is good for fewer."""
    baseline_micro_usd: int
    """What the strongest candidates would have cost."""
    decisions: int
    """How many this could be said of."""


ENOUGH = 30
"""Conversations from which on the normal approximation is used."""
NORMAL = 1.96


class _Candidate(msgspec.Struct, gc=False):
    model: str
    quality: float
    cost_micro_usd: int | None


_candidates = msgspec.json.Decoder(list[_Candidate])


def savings(figures: Iterable[Figure]) -> Savings | None:
    """Over answered requests in which the router had a choice: the expected cost of the strongest candidate, of which
    the highest success was predicted (of equal ones, the dearest), less that of the model that answered. Both are the
    decision's own estimates, so that a long answer counts the same on both sides. Negative where the choice was the
    dearer one. None: there was no such request.
    """
    saved: dict[str | int, int] = {}
    """By conversation, or by the decision's place where none is known."""
    decisions = baseline = 0
    for figure in figures:
        if figure.status != "ok" or figure.mode == "forced" or not figure.candidates:
            continue
        priced = [
            candidate for candidate in _candidates.decode(figure.candidates) if candidate.cost_micro_usd is not None
        ]
        answered = next((candidate for candidate in priced if candidate.model == figure.answered_by), None)
        if answered is None:
            continue
        strongest = max(priced, key=lambda candidate: (candidate.quality, candidate.cost_micro_usd))
        decisions += 1
        one = figure.conversation or decisions
        saved[one] = saved.get(one, 0) + (strongest.cost_micro_usd or 0) - (answered.cost_micro_usd or 0)
        baseline += strongest.cost_micro_usd or 0
    if not saved:
        return None
    total, half = sum(saved.values()), None
    if len(saved) >= ENOUGH:
        mean = total / len(saved)
        variance = sum((one - mean) ** 2 for one in saved.values()) / (len(saved) - 1)
        half = round(NORMAL * math.sqrt(len(saved) * variance))
    return Savings(
        micro_usd=total,
        low_micro_usd=None if half is None else total - half,
        high_micro_usd=None if half is None else total + half,
        baseline_micro_usd=baseline,
        decisions=decisions,
    )


def shares(words: Iterable[str]) -> dict[str, float]:
    """Of each word, how often it stands among all; the most frequent first."""
    counted = Counter(words)
    total = counted.total()
    return {word: count / total for word, count in counted.most_common()}


def share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def average(values: Collection[float]) -> float | None:
    return sum(values) / len(values) if values else None


def percentile(values: Collection[float], rank: float) -> float | None:
    """By the nearest-rank method: the least value that so large a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(rank * len(ordered)) - 1)] if ordered else None


def local_share(figures: Iterable[Figure], local: Mapping[str, bool]) -> float | None:
    """Of the answers by models that are known now, those of local ones."""
    known = [local[model] for figure in figures if (model := figure.answered_by) is not None and model in local]
    return share(sum(known), len(known))
