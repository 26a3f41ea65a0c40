"""What routing saved against sending everything to one model, and what it cost in quality.

Each answered request has its tokens, so that its cost with another model follows from that model's prices. Another
model writes longer or shorter answers: the tokens of an answer are multiplied with the measured ratio

    ratio(a → b) = (Σ_b tokens / Σ_b expected) / (Σ_a tokens / Σ_a expected)

over the answers that each gave, `expected` being what was expected of each request beforehand, whatever the model;
where either gave too few, with 1. Intervals resample conversations (or what else hangs together) and measure the ratios
anew each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from pointsman.core.catalog import ModelCard
from pointsman.core.decision import Candidate
from pointsman.core.errors import InvalidRequest
from pointsman.pipeline.decide.network import label

from .dataset import Cluster, bandit, clusters_of, success_of, usable
from .logged import Logged
from .ope.bandit import Bandit, Floats
from .ope.bootstrap import Resamples, bias_corrected
from .ope.estimate import LEAST_CLUSTERS, LEAST_EFFECTIVE, Estimate, Evaluator

STRONGEST, MOST_USED = "strongest", "most-used"
ENOUGH_ANSWERS = 30
"""Answers of a model from which on its length is taken as measured."""


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its 95 % interval; without one where there is too little to tell."""

    value: float
    low: float | None = None
    high: float | None = None


class Savings(msgspec.Struct, frozen=True, kw_only=True):
    """Money is US dollars over the whole stretch."""

    baseline: str
    since: float
    until: float
    requests: int
    """Answered, that the router chose for."""
    compared: int
    """Of these, those in the sums."""
    kept_back: int
    """Of the compared, those that the baseline could not have answered (a constraint excluded it, such as privacy):
    they cost the same on both sides."""
    left_out: dict[str, int]
    """Requests that are not in the sums, by reason. None of them is taken to be free."""
    paid: float
    would_have_paid: Amount
    saved: Amount
    share: Amount | None
    """Of what would have been paid; None where that is nothing."""
    measured_lengths: float
    """Share of the compared whose answer's length with the baseline follows a measured ratio; others are taken to be
    equally long."""
    quality: Estimate | None
    """What would have been gained in success by sending all to the baseline, from judged decisions; None: nothing of
    it can be told."""
    warnings: tuple[str, ...]


class _Priced(NamedTuple):
    decision: Logged
    baseline: str
    paid: float
    prompt: float
    """What the baseline takes for reading."""
    answer: float
    """What it takes for an answer of the same length."""


def savings(
    decisions: Sequence[Logged],
    *,
    baseline: str,
    cards: Mapping[str, ModelCard],
    rng: np.random.Generator,
    since: float,
    until: float,
    cluster: Cluster = "conversation",
    unreadable: int = 0,
) -> Savings:
    """Compare what was paid with what sending all to a baseline would have cost.

    Args:
        baseline: a model's id or bare name; `strongest`: of each decision's candidates, the one of the highest
            predicted success, of equal ones the dearest; `most-used`: the model that gave most of the answers.
        cards: of the models, as the catalog has them now.

    Raises:
        InvalidRequest: there is nothing to compare, or the baseline is no model of the log.
    """
    left_out = Counter[str]()
    if unreadable:
        left_out["unreadable"] = unreadable
    answered = []
    for decision in decisions:
        reason = _apart(decision)
        if reason is None:
            answered.append(decision)
        else:
            left_out[reason] += 1
    name = _named(baseline, answered)
    priced, kept_back = [], 0
    for decision in answered:
        row = _price(decision, name, cards)
        if isinstance(row, str):
            left_out[row] += 1
        else:
            priced.append(row)
            kept_back += not row.baseline
    if not priced:
        told = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "the log is empty"
        raise InvalidRequest(f"There is no answer to compare: {told}.")
    columns, statistic, measured = _columns(priced)
    groups = clusters_of([row.decision for row in priced], cluster)
    sizes = np.ones(len(priced))
    if groups is not None:
        columns = np.stack([np.bincount(groups, column) for column in columns.T], axis=1)
        sizes = np.bincount(groups).astype(np.float64)
    alike = float(sizes.sum()) ** 2 / float(sizes @ sizes)  # how many groups of one size would tell as much
    warnings = []
    drawn = Resamples(rng) if len(columns) >= LEAST_CLUSTERS and alike >= LEAST_EFFECTIVE else None
    if drawn is None:
        count = f"{len(columns)} {cluster}{'' if len(columns) == 1 else 's'}"
        warnings.append(
            f"{count}: no interval can be told of fewer than {LEAST_CLUSTERS}."
            if len(columns) < LEAST_CLUSTERS
            else f"So much hangs on a few of {count} that no interval can be told."
        )

    def amount(part: int) -> Amount:
        value = float(statistic(columns.sum(axis=0)[None])[0, part])
        if drawn is None:
            return Amount(value=value)
        low, high = bias_corrected(columns, lambda sums: statistic(sums)[:, part], drawn, freedom=alike - 1)
        return Amount(value=value, low=low, high=high)

    would = amount(0)
    quality = _quality(decisions, name, rng, cluster)
    if quality is None or quality.value is None:
        warnings.append(
            "What the baseline's answers would have been worth cannot be told: too few of its answers are judged, or it"
            " had no chance in the log (see `routing.exploration`)."
        )
    elif quality.low is None and quality.high is None:
        warnings += [f"Of success: {warning}" for warning in quality.warnings]
    if measured < len(priced) - kept_back:
        warnings.append(
            f"Of {len(priced) - kept_back - measured} answers the baseline's are taken to be equally long: fewer than"
            f" {ENOUGH_ANSWERS} answers of a model measure nothing."
        )
    return Savings(
        baseline=baseline if name is None else name,
        since=since,
        until=until,
        requests=len(answered),
        compared=len(priced),
        kept_back=kept_back,
        left_out=dict(left_out.most_common()),
        paid=sum(row.paid for row in priced),
        would_have_paid=would,
        saved=amount(1),
        share=amount(2) if would.value > 0 else None,
        measured_lengths=measured / len(priced),
        quality=quality,
        warnings=tuple(warnings),
    )


def _apart(decision: Logged) -> str | None:
    """Why a decision is no saving and no loss of the router's, as a reason to be counted by."""
    if decision.status != "ok":
        return "not answered"
    if decision.mode == "forced":
        return "the caller chose"
    if decision.own_key:
        return "on a caller's own key"
    if decision.prompt_tokens is None or decision.completion_tokens is None:
        return "tokens not told"
    return None


def _named(baseline: str, answered: Sequence[Logged]) -> str | None:
    """The id of the one baseline; None: each decision's strongest."""
    if baseline == STRONGEST:
        return None
    if baseline == MOST_USED:
        most = Counter(decision.answered_by or decision.model for decision in answered).most_common(1)
        return most[0][0] if most else ""
    models = {candidate.model for decision in answered for candidate in decision.candidates}
    found = sorted(model for model in models if baseline in (model, model.partition(":")[2]))
    if not found:
        raise InvalidRequest(
            f"The model {baseline!r} was a candidate of no decision of this stretch. There were: "
            f"{', '.join(sorted(models)) or 'none'}."
        )
    return found[0]


def strongest(candidates: Sequence[Candidate]) -> Candidate:
    """Of the highest predicted success; of equal ones, the dearest."""
    return max(candidates, key=lambda one: (one.quality, one.cost_micro_usd or 0, one.model))


def _price(decision: Logged, name: str | None, cards: Mapping[str, ModelCard]) -> _Priced | str:
    """What both sides cost; a reason to leave it out where that is not known."""
    if decision.cost_micro_usd is None:
        return "price not known"
    paid = decision.cost_micro_usd / 1_000_000
    candidates = decision.candidates
    model = name if name is not None else strongest(candidates).model if candidates else None
    if model is None or all(candidate.model != model for candidate in candidates):
        return _Priced(decision, "", paid, paid, 0.0)
    if model == decision.answered_by:
        return _Priced(decision, model, paid, paid, 0.0)
    card = cards.get(model)
    tokens, completion = decision.prompt_tokens or 0, decision.completion_tokens or 0
    reading = None if card is None else card.cost_micro_usd(tokens, 0, decision.cached_tokens or 0)
    both = None if card is None else card.cost_micro_usd(tokens, completion, decision.cached_tokens or 0)
    if reading is None or both is None:
        return "the baseline's price not known"
    return _Priced(decision, model, paid, reading / 1_000_000, (both - reading) / 1_000_000)


def _columns(priced: Sequence[_Priced]) -> tuple[Floats, _Sums, int]:
    """Columns whose sums give everything, and what gives it from them; how many lengths are measured."""
    tokens: Counter[str] = Counter(row.decision.answered_by or "" for row in priced)
    models = sorted({row.decision.answered_by or "" for row in priced} | {row.baseline for row in priced})
    place = {model: column for column, model in enumerate(models)}
    pairs = sorted({(row.decision.answered_by or "", row.baseline) for row in priced if row.answer})
    at = {pair: 2 + 2 * len(models) + number for number, pair in enumerate(pairs)}
    columns = np.zeros((len(priced), 2 + 2 * len(models) + len(pairs)))
    for number, row in enumerate(priced):
        mine = row.decision.answered_by or ""
        columns[number, :2] = row.paid, row.prompt
        columns[number, 2 + place[mine]] = row.decision.completion_tokens or 0
        columns[number, 2 + len(models) + place[mine]] = row.decision.signals.needs.expected_output
        if row.answer:
            columns[number, at[mine, row.baseline]] = row.answer
    told = [
        (at[pair], place[pair[0]], place[pair[1]], min(tokens[pair[0]], tokens[pair[1]]) >= ENOUGH_ANSWERS)
        for pair in pairs
    ]
    sums = _Sums(models=len(models), pairs=tuple(told))
    enough = {pair for pair, (*_, known) in zip(pairs, told, strict=True) if known}
    measured = sum(
        (not row.answer and bool(row.baseline)) or (row.decision.answered_by or "", row.baseline) in enough
        for row in priced
    )
    return columns, sums, measured


class _Sums(NamedTuple):
    """From sums of `_columns` to what would have been paid, what was saved, and the share of it."""

    models: int
    pairs: tuple[tuple[int, int, int, bool], ...]
    """Of each pair: its column, the places of the model that answered and of the baseline, and whether both gave
    answers enough."""

    def __call__(self, sums: Floats) -> Floats:
        """(resamples, columns) to (resamples, 3)."""
        paid, would = sums[:, 0], sums[:, 1].copy()
        with np.errstate(divide="ignore", invalid="ignore"):
            lengths = sums[:, 2 : 2 + self.models] / sums[:, 2 + self.models : 2 + 2 * self.models]
            for column, mine, other, known in self.pairs:
                ratio = lengths[:, other] / lengths[:, mine] if known else 1.0
                would += sums[:, column] * np.where(np.isfinite(ratio), ratio, 1.0)
            saved = would - paid
            share = np.where(would > 0, saved / would, 0.0)
        return np.stack([would, saved, share], axis=1)


def _quality(
    decisions: Sequence[Logged], name: str | None, rng: np.random.Generator, cluster: Cluster
) -> Estimate | None:
    """How much more success the baseline would have had: doubly robust, over decisions that the router took."""
    kept, _ = usable(decisions)
    if not kept or all(success_of(decision) is None for decision in kept):
        return None
    log = bandit(kept, "success", cluster=cluster)
    return Evaluator(log, rng).difference(_always(name, kept, log))


def _always(name: str | None, decisions: Sequence[Logged], log: Bandit) -> Floats:
    """(n, k): all to the baseline; where it was no candidate, as it was."""
    place = {arm: column for column, arm in enumerate(log.arms)}
    target = log.logging.copy()
    for row, decision in enumerate(decisions):
        of_it = (
            [one for one in decision.candidates if one.model == name]
            if name is not None
            else [strongest(decision.candidates)]
        )
        if of_it:
            target[row] = 0.0
            target[row, place[label(strongest(of_it))]] = 1.0
    return target
