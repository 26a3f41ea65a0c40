"""Trains a policy and says how good it is on what was held out.

A log is cut in time: the policy is trained on the earlier three quarters and judged on the last one by off-policy
evaluation. A table is cut by groups and judged by its own outcomes. What is kept is then trained on all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.core.catalog import ModelCard
from pointsman.core.decision import Candidate
from pointsman.core.errors import InvalidRequest
from pointsman.core.observation import Observation
from pointsman.core.request import Priority
from pointsman.core.reward import RewardWeights
from pointsman.core.signals import Signals
from pointsman.pipeline.decide import LearnedPolicy, Policy, RulePolicy, load_policy
from pointsman.pipeline.decide.learned.artefact import LearnedArtefact, dump_artefact
from pointsman.pipeline.decide.network import dump_network
from pointsman.pipeline.decide.replay import arm_again
from pointsman.pipeline.decide.utility import Weights
from pointsman.pipeline.record.implicit import belief

from .dataset import belief_in, success_of, usable
from .engine import Engine, gathered
from .logged import Logged
from .ope.estimate import Estimate
from .replay import replay
from .table import Table
from .trainers.arms import BayesianArms, believed_by
from .trainers.distill import Distiller
from .trainers.distill import check as check_table
from .trainers.grpo import GRPO, Step
from .trainers.linucb import LinUCB
from .trainers.logs import pose_log
from .trainers.tables import pose_table, signals_of, table_candidates
from .trainers.thompson import Thompson

Trainer = Literal["linucb", "thompson", "grpo", "distill"]
TRAINERS: tuple[Trainer, ...] = get_args(Trainer)
HELD_OUT = 0.25
LEAST_JUDGED = 40
"""Judged decisions below which a log is not learned from."""

Tell = Callable[[int, int], None]
"""Told how many steps are done, and how many there are at most."""
T = TypeVar("T")


def silent(done: int, total: int) -> None:
    """Tells nobody."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How a policy was trained, and what was found of it. Rewards are in probability of success."""

    trainer: Trainer
    seed: int
    source: str
    """`log`, or the table's name."""
    rows: int
    """Decisions, or prompts."""
    judged: int
    """Of which it is known what came of them."""
    held_out: int
    """Of these, what it was judged by."""
    models: dict[str, int]
    """Rows that tell of each."""
    until: float | None = None
    """When the last decision was taken that it learned from, in seconds since the epoch; None of a table."""
    difference: Estimate | None = None
    """Of the log: what it would have earned beyond what was done."""
    reward: float | None = None
    """Of a table: what it earns on what was held out, and below, what others do."""
    best_single: float | None = None
    oracle: float | None = None
    details: dict[str, Any] = {}
    """What the trainer says of itself."""


class Trained(NamedTuple):
    kind: Literal["learned", "network"]
    artefact: str
    report: Report


def train_on_log(
    trainer: Trainer,
    decisions: Sequence[Logged],
    *,
    base: LearnedArtefact,
    rules: RulePolicy,
    cards: Mapping[str, ModelCard],
    seed: int,
    weights: RewardWeights | None = None,
    engine: Engine = "local",
    jobs: int = 1,
    tell: Tell = silent,
) -> Trained:
    """
    Args:
        engine, jobs: where what is judged and what is kept are trained side by side; `tell` is told nothing then.
        decisions: of the log, oldest first.
        base: what a learned policy takes over beside what is trained.
        rules: of this installation.
        cards: of the models, as the catalog has them now.

    Raises:
        InvalidRequest: too little is judged, of one model only, or nothing tells the answers apart.
    """
    if trainer == "distill":
        raise InvalidRequest("distill learns from full-information tables: name one with --data.")
    kept, _ = usable(decisions)
    judged = sum(success_of(one) is not None for one in kept)
    if judged < LEAST_JUDGED:
        raise InvalidRequest(
            f"{judged} of {len(kept)} decisions of the log are judged, and at least {LEAST_JUDGED} are needed to learn"
            " from. Feedback (`pointsman feedback`, POST /v1/feedback) judges answers."
        )
    cut = len(kept) - max(1, int(len(kept) * HELD_OUT))
    weights = weights or RewardWeights()

    whole_log = LogFit(
        trainer=trainer,
        decisions=tuple(kept),
        base=base,
        weights=weights,
        seed=seed,
        rules=(rules.complexity_threshold, rules.default_provider, dict(rules.weights)),
        cards=dict(cards),
    )
    tasks = (replace(whole_log, decisions=whole_log.decisions[:cut]), whole_log)
    earlier, whole = _both(fit_log, tasks, engine=engine, jobs=jobs, tell=tell)
    later = kept[cut:]
    policy = load_policy(
        earlier.kind, earlier.artefact, version="held-out", base=rules, card_of=cards.get, clock=lambda: later[0].at
    )
    difference = None
    if any(success_of(one) is not None for one in later):
        found = replay(
            later, policy, cards=cards, rng=np.random.default_rng(seed), since=later[0].at, until=later[-1].at,
            weights=weights, measures=("reward",),
        )  # fmt: skip
        [difference] = [one for one in found.measures[0].differences if one.estimator == "dr"]
    names = [one.model for one in kept]
    report = Report(
        trainer=trainer,
        seed=seed,
        source="log",
        rows=len(kept),
        judged=judged,
        held_out=len(later),
        models={model: names.count(model) for model in sorted(set(names))},
        until=kept[-1].at,
        difference=difference,
        details=whole.details,
    )
    return Trained(whole.kind, whole.artefact, report)


class Fitted(NamedTuple):
    kind: Literal["learned", "network"]
    artefact: str
    details: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class LogFit:
    """What a fit on a log takes: it may be made in another process."""

    trainer: Trainer
    decisions: tuple[Logged, ...]
    base: LearnedArtefact
    rules: tuple[float, str | None, dict[Priority, Weights]]
    """Complexity threshold, default provider and weights."""
    cards: dict[str, ModelCard]
    seed: int
    weights: RewardWeights


def fit_log(task: LogFit, tell: Tell = silent) -> Fitted:
    """Fit a policy on decisions of the log."""
    trainer, decisions, base, cards, weights = task.trainer, task.decisions, task.base, task.cards, task.weights
    threshold, default_provider, worth = task.rules
    rules = RulePolicy(complexity_threshold=threshold, default_provider=default_provider, weights=worth)
    rng = np.random.default_rng(task.seed)
    if trainer == "grpo":
        problem = pose_log(decisions, weights=weights, rng=rng)
        groups = [one.conversation or one.id for one in decisions]
        return _fit_network(GRPO(), lambda model, on_step: model.fit(problem, rng=rng, groups=groups, on_step=on_step),
                            tell)  # fmt: skip
    bare = msgspec.structs.replace(base, state=None)
    believed = believed_by(LearnedPolicy(bare, rules=rules, card_of=cards.get), cards.get)
    arms: BayesianArms = (LinUCB if trainer == "linucb" else Thompson)(base=bare, believed=believed)
    arms.fit(observed(decisions))
    posterior = arms.artefact_.posterior
    details = {
        "prior_sd": posterior.prior_sd,
        "noise_sd": posterior.noise_sd,
        "log_evidence_per_answer": arms.evidence_,
    }
    return Fitted("learned", dump_artefact(arms.artefact_), details)


def observed(decisions: Sequence[Logged]) -> list[Observation]:
    """What decisions tell of single models, as the gateways learn it: a judged answer tells of the model that gave it,
    one that several models wrote of none, a plan that failed to the end of the model that was picked. An answer that a
    cascade kept back tells of its model what was thought of it, where the answer that was told in its place is judged,
    as far as both are believed."""
    believed = _belief_in_verdicts(decisions)
    found = []
    for one in decisions:
        success = success_of(one)
        if success is None:
            continue
        judged = one.success is not None
        seen = Observation(
            decision_id=one.id,
            model=(one.answered_by or one.model) if judged else one.model,
            at=one.at,
            success=success,
            weight=belief_in(one),
            signals=one.signals,
        )
        if not (one.joint and judged):
            found.append(seen)
        if one.rejected is not None and judged and believed:
            found.append(
                msgspec.structs.replace(
                    seen,
                    decision_id=f"{one.id}~",
                    model=one.model,
                    success=one.rejected,
                    weight=seen.weight * believed,
                    source="implicit",
                )
            )
    return found


def _belief_in_verdicts(decisions: Iterable[Logged]) -> float:
    """By how often callers were of the same mind about answers that were told."""
    agreed = [
        (one.verdict > 0.5) == (one.success > 0.5)
        for one in decisions
        if one.verdict is not None and one.success is not None and not one.joint
        if one.source not in ("implicit", "judge") and 0.5 not in (one.verdict, one.success)
    ]
    return belief(sum(agreed), len(agreed))


def train_on_table(
    trainer: Trainer,
    table: Table,
    *,
    base: LearnedArtefact,
    rules: RulePolicy,
    read: Callable[[str], bytes],
    seed: int,
    weights: RewardWeights | None = None,
    engine: Engine = "local",
    jobs: int = 1,
    tell: Tell = silent,
) -> Trained:
    """
    Args:
        read: a prompt to its feature vector.
        engine, jobs: where what is judged and what is kept are trained side by side; `tell` is told nothing then.

    Raises:
        InvalidRequest: too few prompts that every model answered, one model only, or scores that are all alike.
    """
    if trainer not in ("grpo", "distill"):
        raise InvalidRequest(f"{trainer} learns from the log; of tables learn distill and grpo.")
    table = table.rows(table.complete)
    check_table(table)
    weights = weights or RewardWeights()
    out = held_out(table.groups, np.random.default_rng(seed))
    all_of_it = TableFit(trainer=trainer, table=table, base=base, read=read, seed=seed, weights=weights)
    tasks = (replace(all_of_it, table=table.rows(~out)), all_of_it)
    earlier, whole = _both(fit_table, tasks, engine=engine, jobs=jobs, tell=tell)
    earned = judge_on_table(earlier, table.rows(~out), table.rows(out), rules=rules, read=cache(read), weights=weights)
    report = Report(
        trainer=trainer,
        seed=seed,
        source=table.name,
        rows=len(table),
        judged=len(table),
        held_out=int(out.sum()),
        models=dict.fromkeys(table.models, len(table)),
        reward=earned.reward,
        best_single=earned.best_single,
        oracle=earned.oracle,
        details=whole.details,
    )
    return Trained(whole.kind, whole.artefact, report)


@dataclass(frozen=True, kw_only=True)
class TableFit:
    """What a fit on a table takes: it may be made in another process."""

    trainer: Trainer
    table: Table
    base: LearnedArtefact
    read: Callable[[str], bytes]
    seed: int
    weights: RewardWeights


def fit_table(task: TableFit, tell: Tell = silent) -> Fitted:
    """Fit a policy on a full-information table."""
    rng, table, read = np.random.default_rng(task.seed), task.table, cache(task.read)
    if task.trainer == "distill":
        distiller = Distiller(base=msgspec.structs.replace(task.base, state=None)).fit(table, read, rng=rng)
        details = {"penalty": distiller.penalty_, "explained": distiller.skill_}
        return Fitted("learned", dump_artefact(distiller.artefact_), details)
    problem = pose_table(table, read, weights=task.weights)
    return _fit_network(
        GRPO(), lambda model, on_step: model.fit(problem, rng=rng, groups=table.groups, on_step=on_step), tell
    )


def _both(
    fit: Callable[[T, Tell], Fitted], tasks: tuple[T, T], *, engine: Engine, jobs: int, tell: Tell
) -> tuple[Fitted, Fitted]:
    if engine == "local" and jobs == 1:
        return fit(tasks[0], tell), fit(tasks[1], tell)
    earlier, whole = gathered(partial(_quietly, fit), tasks, engine=engine, jobs=jobs)
    return earlier, whole


def _quietly(fit: Callable[[T, Tell], Fitted], task: T) -> Fitted:
    return fit(task, silent)


class Earned(NamedTuple):
    reward: float
    best_single: float
    """Of the model that was the best where it was trained."""
    oracle: float


def judge_on_table(
    fitted: Fitted,
    trained: Table,
    unseen: Table,
    *,
    rules: RulePolicy,
    read: Callable[[str], bytes],
    weights: RewardWeights,
) -> Earned:
    """What a policy earns on prompts that it was not trained on, ranked as it is served. Its weights of cost and
    latency are those of the rules, whatever `weights` the reward has."""
    candidates = table_candidates(trained, weights)
    card_of = {one.model: _card(one) for one in candidates}
    policy: Policy = load_policy(fitted.kind, fitted.artefact, version="held-out", base=rules, card_of=card_of.get)
    earned = pose_table(unseen, read, weights=weights).rewards
    before = pose_table(trained, read, weights=weights).rewards.mean(axis=0)
    got = []
    for row, prompt in enumerate(unseen.prompts):
        signals: Signals = signals_of(prompt, read(prompt))
        arms = [arm_again(one, signals, card_of[one.model]) for one in candidates]
        got.append(earned[row, unseen.models.index(policy.rank(arms, signals)[0].model)])
    return Earned(float(np.mean(got)), float(earned[:, int(before.argmax())].mean()), float(earned.max(axis=1).mean()))


def held_out(groups: Sequence[str], rng: np.random.Generator) -> NDArray[np.bool_]:
    """(n,): which prompts are held out; whole groups."""
    _, places = np.unique(np.array(groups), return_inverse=True)
    count = int(places.max()) + 1
    picked = np.zeros(count, dtype=bool)
    picked[rng.permutation(count)[: max(1, round(count * HELD_OUT))]] = True
    out: NDArray[np.bool_] = picked[places]
    return out


def _card(candidate: Candidate) -> ModelCard:
    provider, _, name = candidate.model.rpartition(":")
    return ModelCard(id=candidate.model, provider=provider, name=name, quality=candidate.quality)


def _fit_network(model: GRPO, fit: Callable[[GRPO, Callable[[int, Step], None]], GRPO], tell: Tell) -> Fitted:
    fit(model, lambda number, step: tell(number, model.iterations))
    last = model.history_[-1]
    details = {"looks": len(model.history_), "reward": last.reward, "kl": last.kl, "entropy": last.entropy,
               "clipped": last.clipped}  # fmt: skip
    return Fitted("network", dump_network(model.network_), details)
