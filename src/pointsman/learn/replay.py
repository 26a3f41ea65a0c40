"""What another policy would have done with the log: which arms it would have pulled, and what would have come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from pointsman.core.catalog import ModelCard
from pointsman.core.decision import Candidate
from pointsman.core.errors import InvalidRequest
from pointsman.core.reward import RewardWeights
from pointsman.pipeline.decide import Policy
from pointsman.pipeline.decide.network import label
from pointsman.pipeline.decide.predict import Arm
from pointsman.pipeline.decide.replay import arm_again

from .dataset import MEASURES, Cluster, Measure, bandit, usable
from .logged import Logged
from .ope.bandit import Bandit, Floats
from .ope.estimate import ESTIMATORS, Estimate, Evaluator, Interval


class MeasureReport(msgspec.Struct, frozen=True, kw_only=True):
    """One measure under both policies."""

    measure: Measure
    observed: float | None
    """What the incumbent's decisions came to, on average over those of which it is known."""
    predicted: float | None
    """What the log's own expectations say of the other policy, scaled as they were wrong of the incumbent. No proof;
    None where nothing was expected."""
    estimates: tuple[Estimate, ...]
    """Of the other policy."""
    differences: tuple[Estimate, ...]
    """Of the other policy, less the incumbent."""


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What another policy would have done with the log. Money is US dollars a decision, times are seconds."""

    policy: str
    incumbents: dict[str, int]
    """Policies that took the decisions, and how many each."""
    since: float
    until: float
    decisions: int
    """That say something of other policies."""
    judged: int
    left_out: dict[str, int]
    """Decisions that do not, by reason."""
    agreement: float
    """The probability that both choose alike, on average."""
    shares: dict[str, tuple[float, float]]
    """Of each arm: how often the incumbent chose it, and how often the other policy would have."""
    gone: tuple[str, ...]
    """Models of the log that the catalog has not; what the log says of them stands in."""
    measures: tuple[MeasureReport, ...]
    warnings: tuple[str, ...]


def replay(
    decisions: Sequence[Logged],
    policy: Policy,
    *,
    cards: Mapping[str, ModelCard],
    rng: np.random.Generator,
    since: float,
    until: float,
    weights: RewardWeights | None = None,
    measures: Sequence[Measure] = MEASURES,
    interval: Interval = "bootstrap",
    cluster: Cluster = "conversation",
    inverse: bool = False,
    clip: float | None = None,
    unreadable: int = 0,
    tell: Callable[[int], None] = lambda count: None,
) -> ReplayReport:
    """Ask a policy what it would have chosen, without exploring, and estimate what would have come of it.

    Args:
        decisions: of the log, oldest first.
        cards: of the models, as the catalog has them now.
        weights: of the reward.
        cluster: which decisions hang together, for the intervals.
        inverse: weigh judged decisions by one over the chance that such a one is judged.
        unreadable: rows that could not be read, to be counted among those left out.
        tell: called with the number of decisions that the policy was asked about.

    Raises:
        InvalidRequest: the log holds no decision that says something of other policies.
    """
    weights = weights or RewardWeights()
    kept, left_out = usable(decisions)
    if unreadable:
        left_out["unreadable"] = unreadable
    if not kept:
        raise InvalidRequest(_nothing(left_out))
    first = bandit(kept, measures[0], weights=weights, cluster=cluster, inverse=inverse)
    target = choices(policy, kept, first.arms, cards, tell=tell)
    reports = []
    for measure in measures:
        log = first if measure == measures[0] else bandit(
            kept, measure, weights=weights, cluster=cluster, inverse=inverse
        )  # fmt: skip
        reports.append(_measured(measure, log, target, rng, interval=interval, clip=clip))
    known = cards.keys()
    models = {candidate.model for decision in kept for candidate in decision.candidates}
    chosen = Counter(decision.arm for decision in kept)
    would = target.mean(axis=0)
    shares = {
        arm: (chosen[arm] / len(kept), float(would[place]))
        for place, arm in enumerate(first.arms)
        if chosen[arm] or would[place] > 0
    }
    warnings = list(dict.fromkeys(warning for one in reports[0].estimates for warning in one.warnings))
    for report in reports[1:]:  # of other measures, what was not said of the first
        said = dict.fromkeys(warning for one in report.estimates for warning in one.warnings)
        warnings += [f"Of {report.measure}: {warning}" for warning in said if warning not in warnings]
    if not reports[0].estimates[0].judged:
        warnings.append(
            "No decision is judged: send feedback (`POST /v1/feedback`), or nothing can be said of success."
        )
    return ReplayReport(
        policy=policy.version,
        incumbents=dict(Counter(decision.policy for decision in kept).most_common()),
        since=since,
        until=until,
        decisions=len(kept),
        judged=sum(decision.success is not None for decision in kept),
        left_out=dict(left_out.most_common()),
        agreement=float(first.taken(target).mean()),
        shares=dict(sorted(shares.items(), key=lambda pair: -pair[1][1])),
        gone=tuple(sorted(models - known)),
        measures=tuple(reports),
        warnings=tuple(warnings),
    )


def choices(
    policy: Policy,
    decisions: Sequence[Logged],
    arms: Sequence[str],
    cards: Mapping[str, ModelCard],
    *,
    tell: Callable[[int], None] = lambda count: None,
) -> Floats:
    """(decisions, arms): the probability with which a policy would have pulled each arm, had it been asked."""
    place = {arm: column for column, arm in enumerate(arms)}
    target = np.zeros((len(decisions), len(arms)))
    for row, decision in enumerate(decisions):
        asked = [rebuilt(candidate, decision, cards) for candidate in decision.candidates]
        for candidate in policy.rank(asked, decision.signals, preferred=preferred(decision)):
            target[row, place[label(candidate)]] += candidate.propensity
        if row % 500 == 499:
            tell(row + 1)
    return target


def rebuilt(candidate: Candidate, decision: Logged, cards: Mapping[str, ModelCard]) -> Arm:
    """An arm as it stood when the decision was taken."""
    return arm_again(candidate, decision.signals, cards.get(candidate.model))


def preferred(decision: Logged) -> frozenset[str]:
    """The candidates that the caller hinted at."""
    if decision.mode != "hint":
        return frozenset()
    name = decision.requested_model
    return frozenset(
        candidate.model
        for candidate in decision.candidates
        if name in (candidate.model, candidate.model.partition(":")[2])
    )


def _measured(
    measure: Measure, log: Bandit, target: Floats, rng: np.random.Generator, *, interval: Interval, clip: float | None
) -> MeasureReport:
    evaluator = Evaluator(log, rng, clip=clip)
    rewards = log.rewards[log.judged]
    estimates = tuple(evaluator.value(target, estimator=name, interval=interval) for name in ESTIMATORS)
    differences = tuple(evaluator.difference(target, estimator=name, interval=interval) for name in ESTIMATORS)
    return MeasureReport(
        measure=measure,
        observed=float(np.average(rewards, weights=log.observation[log.judged])) if rewards.size else None,
        predicted=_predicted(log, target) if measure in ("cost", "seconds") else None,
        estimates=estimates,
        differences=differences,
    )


def _predicted(log: Bandit, target: Floats) -> float | None:
    """The mean of what was expected of the arms that the policy would pull, times observed over expected of those that
    were pulled; where all of it was expected."""
    unknown = np.isnan(log.expected)
    whole = ~(unknown & (target > 0)).any(axis=1)
    if not whole.any():
        return None
    would = float((np.where(unknown, 0.0, log.expected) * target).sum(axis=1)[whole].mean())
    pulled = log.taken(log.expected)
    both = log.judged & np.isfinite(pulled)
    expected = float(pulled[both].sum())
    return would * float(log.rewards[both].sum()) / expected if expected > 0 else would


def _nothing(left_out: Mapping[str, int]) -> str:
    if not left_out:
        return "The log holds no decision of this stretch: widen it with --since."
    told = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    return f"No decision of this stretch says anything of other policies ({told}): send requests for `auto`."
