"""The log as a data set: rows of the database to decisions, and decisions to the arrays that estimators read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.core.decision import Candidate
from pointsman.core.observation import Made, several_wrote
from pointsman.core.reward import RewardWeights, reward
from pointsman.core.signals import Signals
from pointsman.pipeline.decide.learned.context import contexts
from pointsman.pipeline.decide.network import label
from pointsman.stores.learning_log import LearningLog, LoggedRow

from .logged import Logged
from .ope.bandit import SLACK, Bandit
from .ope.missing import seen_chance

Measure = Literal["reward", "success", "cost", "seconds"]
"""What is estimated: the reward, its success alone, US dollars, seconds to the end of the answer."""
MEASURES: tuple[Measure, ...] = get_args(Measure)

Cluster = Literal["conversation", "key", "day", "decision"]
"""Which decisions are taken to hang together."""
CLUSTERS: tuple[Cluster, ...] = get_args(Cluster)

DAY = 86_400.0

_candidates = msgspec.json.Decoder(tuple[Candidate, ...])
_signals = msgspec.json.Decoder(Signals)


_attempts = msgspec.json.Decoder(list[Made])


def read_row(row: LoggedRow) -> Logged | None:
    """The decision of a row; None where an older or damaged one cannot be read."""
    try:
        candidates, signals = _candidates.decode(row.candidates), _signals.decode(row.signals)
        attempts = _attempts.decode(row.attempts) if row.attempts else []
    except msgspec.MsgspecError:
        return None
    judged = row.success is not None and math.isfinite(row.success) and 0 <= row.success <= 1
    weight = row.weight if judged and row.weight is not None and 0 <= row.weight <= 1 else 0.0
    return Logged(
        id=row.id,
        at=row.created_at,
        key_id=row.key_id,
        model=row.model,
        effort=row.effort,
        answered_by=row.answered_by or None,
        mode=row.mode,
        requested_model=row.requested_model,
        policy=row.policy,
        propensity=row.propensity,
        explored=bool(row.explored),
        conversation=row.conversation,
        candidates=candidates,
        signals=signals,
        status=row.status,
        success=row.success if weight else None,
        weight=weight,
        source=row.source if weight else None,
        cost_micro_usd=row.cost_micro_usd,
        seconds=row.seconds,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        cached_tokens=row.cached_tokens,
        own_key=any(attempt.caller_key for attempt in attempts),
        joint=several_wrote(attempts),
        verdict=attempts[-1].confidence if attempts else None,
        rejected=next(
            (one.confidence for one in attempts[:-1] if one.status == "escalated" and one.model == row.model), None
        ),
    )


async def read_log(
    log: LearningLog, *, since: float, until: float, tell: Callable[[int], None] = lambda count: None
) -> tuple[list[Logged], int]:
    """The decisions of a stretch, oldest first, and how many rows could not be read.

    Args:
        tell: called with the number of rows after each page.
    """
    found: list[Logged] = []
    unreadable = done = 0
    pages: AsyncIterator[list[LoggedRow]] = log.pages(since=since, until=until)
    async for page in pages:
        for row in page:
            logged = read_row(row)
            if logged is None:
                unreadable += 1
            else:
                found.append(logged)
        done += len(page)
        tell(done)
    return found, unreadable


def success_of(decision: Logged) -> float | None:
    """In [0, 1]; a plan that failed to the end is a failure, whether or not anybody says so. None: nobody knows."""
    if decision.success is not None and decision.weight > 0:
        return decision.success
    return 0.0 if decision.status == "error" else None


def belief_in(decision: Logged) -> float:
    """How far `success_of` is to be believed."""
    return decision.weight if decision.success is not None and decision.weight > 0 else 1.0


def unusable(decision: Logged) -> str | None:
    """Why a decision says nothing of other policies, as a reason to be counted by; None: it does."""
    if not decision.model:
        return "refused before a choice"
    if decision.mode == "forced":
        return "the caller chose"
    if decision.status is None:
        return "not ended"
    if decision.status == "refused":
        return "refused"
    propensities = [candidate.propensity for candidate in decision.candidates]
    fine = all(0 <= one <= 1 for one in propensities) and sum(propensities) <= 1 + SLACK  # NaN is neither
    picked = next((one for one in decision.candidates if label(one) == decision.arm), None)
    if picked is None or not fine or not picked.propensity > 0:
        return "no propensity"
    return None


def usable(decisions: Iterable[Logged]) -> tuple[list[Logged], Counter[str]]:
    """Those that say something of other policies, and how many do not, by reason."""
    kept, left_out = [], Counter[str]()
    for decision in decisions:
        reason = unusable(decision)
        if reason is None:
            kept.append(decision)
        else:
            left_out[reason] += 1
    return kept, left_out


def arms_of(decisions: Iterable[Logged]) -> tuple[str, ...]:
    """Labels of all arms that were candidates, sorted."""
    return tuple(sorted({label(candidate) for decision in decisions for candidate in decision.candidates}))


def bandit(
    decisions: Sequence[Logged],
    measure: Measure,
    *,
    weights: RewardWeights | None = None,
    cluster: Cluster = "conversation",
    inverse: bool = False,
) -> Bandit:
    """The arrays of one measure.

    Args:
        decisions: `usable` ones.
        weights: of the reward.
        inverse: weigh judged decisions by one over the probability that such a one is judged.

    Raises:
        InvalidRequest: there is no decision.
    """
    weights = weights or RewardWeights()
    arms = arms_of(decisions)
    place = {arm: column for column, arm in enumerate(arms)}
    n, k = len(decisions), len(arms)
    logging, expected = np.zeros((n, k)), np.full((n, k), np.nan)
    for row, decision in enumerate(decisions):
        for candidate in decision.candidates:
            column = place[label(candidate)]
            logging[row, column] = candidate.propensity
            value = expect(candidate, measure, weights)
            expected[row, column] = np.nan if value is None else value
    told = [observe(decision, measure, weights) for decision in decisions]
    rewards = np.array([np.nan if value is None else value for value in told], dtype=np.float64)
    judging = measure in ("reward", "success")
    seen = None
    if inverse and judging:
        judged = np.isfinite(rewards)
        seen = seen_chance(
            judged, [decision.signals.intent.value for decision in decisions], [decision.arm for decision in decisions]
        )
    bounds = None
    if measure == "success":
        bounds = (0.0, 1.0)
    elif measure == "reward":
        bounds = (_worst(decisions, weights), 1.0)
    return Bandit(
        arms=arms,
        actions=np.array([place[decision.arm] for decision in decisions], dtype=np.intp),
        rewards=rewards,
        logging=logging,
        expected=expected,
        contexts=contexts([decision.signals for decision in decisions]),
        clusters=clusters_of(decisions, cluster),
        cluster=cluster,
        belief=np.array([belief_in(decision) for decision in decisions]) if judging else None,
        seen=seen,
        bounds=bounds,
        floor=0.0 if measure in ("cost", "seconds") else -math.inf,
    )


def observe(decision: Logged, measure: Measure, weights: RewardWeights) -> float | None:
    """What came of a decision; None where nobody knows."""
    if measure == "cost":
        cost = decision.cost_micro_usd
        return None if cost is None or decision.status == "cancelled" else cost / 1_000_000
    if measure == "seconds":
        return decision.seconds if decision.status == "ok" else None
    success = success_of(decision)
    if measure == "success" or success is None:
        return success
    if decision.cost_micro_usd is None and weights.cost_factor:
        return None  # an unknown price is never free
    return reward(success, cost_micro_usd=decision.cost_micro_usd, seconds=decision.seconds, weights=weights)


def expect(candidate: Candidate, measure: Measure, weights: RewardWeights) -> float | None:
    """What was expected of an arm; None at an unknown price, or where a number of the log makes no sense."""
    cost = candidate.cost_micro_usd
    if measure == "cost":
        return None if cost is None else cost / 1_000_000
    if measure == "seconds":
        value = candidate.latency_seconds
    elif measure == "success":
        value = candidate.quality
    elif cost is None and weights.cost_factor:
        return None
    else:
        value = candidate.quality - weights.cost_factor * (cost or 0) / 1_000_000
        value -= weights.latency_penalty * candidate.latency_seconds
    return value if math.isfinite(value) else None


def clusters_of(decisions: Sequence[Logged], cluster: Cluster) -> NDArray[np.intp] | None:
    """(n,): numbers of the groups that hang together; None: each stands alone. Turns of a conversation share one, and
    a decision without a conversation stands alone."""
    if cluster == "decision":
        return None
    names: list[str]
    if cluster == "conversation":
        names = [decision.conversation or decision.id for decision in decisions]
    elif cluster == "key":
        names = [decision.key_id or "" for decision in decisions]
    else:
        names = [str(int(decision.at // DAY)) for decision in decisions]
    return np.unique(names, return_inverse=True)[1].astype(np.intp)


def _worst(decisions: Sequence[Logged], weights: RewardWeights) -> float:
    """The least reward that is reckoned with: a failure as dear and as slow as the dearest and the slowest seen."""
    dearest = max((decision.cost_micro_usd or 0 for decision in decisions), default=0)
    slowest = max((decision.seconds or 0.0 for decision in decisions), default=0.0)
    return -weights.cost_factor * dearest / 1_000_000 - weights.latency_penalty * slowest
