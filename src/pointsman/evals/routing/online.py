"""Routing online: prompts arrive once, in random order, and only the chosen model's outcome is seen.

The reward of a choice is its score less a price times its cost. A price of 0 would make "always the strongest" right,
so the price is that at which the cheapest and the best single model are worth the same: whatever is gained over them is
gained by telling prompts apart. Without costs the strong model of a pair costs 1 and the weak one nothing.

Regret is against the oracle, which takes the best model for each prompt; that of the best single model in hindsight
stands beside it. `router` is the policy that serves, its posteriors, its frozen draws and its account of tries, with
everything there is to explore with; `served` is the same with the share of tries that is the settings' default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from pointsman.core.catalog import ModelCard
from pointsman.core.features import VERSION
from pointsman.core.observation import Observation
from pointsman.core.signals import Conversation, Needs, Privacy, Signals
from pointsman.learn.families.base import Floats
from pointsman.learn.reading import PromptReader
from pointsman.pipeline.decide.explore import Explorer
from pointsman.pipeline.decide.learned.artefact import LearnedArtefact
from pointsman.pipeline.decide.learned.context import contexts
from pointsman.pipeline.decide.learned.policy import LearnedPolicy
from pointsman.pipeline.decide.policy import RulePolicy
from pointsman.pipeline.decide.predict import Arm, predict
from pointsman.pipeline.understand.ask import find_ask
from pointsman.pipeline.understand.complexity import ComplexityRules, ComplexityScore

from .judged import number
from .material import Ints, Sources

SEEDS = 10
STUDENT = 2.262
"""The 97.5th percentile of Student's t with SEEDS − 1 degrees of freedom."""
SHARE = 0.02
"""The settings' default of `routing.exploration.share`."""
TRACE = 101
"""Points of the regret's course that are kept."""
EVEN = 0.5
"""What the catalog says of every model: nothing is known of them before the first outcome."""
BARE = LearnedArtefact(
    features=VERSION, utility={"balanced": {"cost": 1.0, "latency": 0.0, "remote": 0.0, "enough": 1.0, "hard": 0.0}}
)
"""Nothing was trained, and a dollar is worth as much as a success, so that prices can stand as costs."""
BOUNDLESS = 10**15
"""Micro-dollars a day: the prices here are none that a purse could bound."""
SECONDS = 1.0
"""Between two prompts: far from what lets an outcome fade."""
CHARACTERS_PER_TOKEN = 4


class Learner(Protocol):
    """Chooses for one prompt after the other."""

    def choose(self, row: int, rng: np.random.Generator) -> int:
        """The arm for this prompt."""

    def learn(self, row: int, arm: int, score: float, reward: float) -> None:
        """What the choice came to: how good the answer was, and that less its price."""


class EpsilonGreedy:
    """The arm with the best mean so far, and any arm with a probability of ε; sees no prompt."""

    def __init__(self, arms: int, epsilon: float = 0.05) -> None:
        self._sums, self._counts, self._epsilon = np.zeros(arms), np.zeros(arms), epsilon

    def choose(self, row: int, rng: np.random.Generator) -> int:
        if rng.random() < self._epsilon:
            return int(rng.integers(len(self._sums)))
        means = np.where(self._counts > 0, self._sums / np.maximum(self._counts, 1), np.inf)
        return int(np.argmax(means))

    def learn(self, row: int, arm: int, score: float, reward: float) -> None:
        self._sums[arm] += reward
        self._counts[arm] += 1


class OnlineUCB:
    """LinUCB (Li et al. 2010): the arm with the highest x·θ + α √(x·A⁻¹x), where A = I + Σ x xᵀ is held as its inverse
    (Sherman & Morrison 1950)."""

    def __init__(self, arms: int, contexts: Floats, *, alpha: float = 0.5) -> None:
        width = contexts.shape[1]
        self._contexts, self._alpha = contexts, alpha
        self._inverses = np.repeat(np.eye(width)[None], arms, axis=0)
        self._sums, self._means = np.zeros((arms, width)), np.zeros((arms, width))

    def choose(self, row: int, rng: np.random.Generator) -> int:
        context = self._contexts[row]
        spread = np.sqrt(np.maximum((self._inverses @ context) @ context, 0.0))
        return int(np.argmax(self._means @ context + self._alpha * spread))

    def learn(self, row: int, arm: int, score: float, reward: float) -> None:
        context, inverse = self._contexts[row], self._inverses[arm]
        toward = inverse @ context
        inverse -= np.outer(toward, toward) / (1 + context @ toward)
        self._sums[arm] += reward * context
        self._means[arm] = inverse @ self._sums[arm]


class Served:
    """The policy that serves, with nothing trained, over models of which the catalog knows their price alone.

    Args:
        arms: of each prompt; see `arms_of`.
        share: of the prompts, that may be explored at all.
    """

    def __init__(
        self, signals: Sequence[Signals], arms: Sequence[Sequence[Arm]], *, share: float, rng: np.random.Generator
    ) -> None:
        self._signals, self._arms = signals, arms
        self._cards = {arm.card.id: arm.card for arm in arms[0]}
        self._places = {model: place for place, model in enumerate(self._cards)}
        self._now = 0.0
        self._policy = LearnedPolicy(
            BARE, rules=RulePolicy(), card_of=self._cards.get, clock=lambda: self._now, version=f"online@{SEEDS}"
        )
        self._explorer = Explorer(share=share, micro_usd_per_day=BOUNDLESS, random=rng.random)

    def choose(self, row: int, rng: np.random.Generator) -> int:
        signals = self._signals[row]
        allowance = self._explorer.allowance(signals, self._now)
        ranked = self._policy.rank(self._arms[row], signals, allowance=allowance)
        picked = ranked[0] if allowance is None else self._explorer.draw(ranked)
        return self._places[picked.model]

    def learn(self, row: int, arm: int, score: float, reward: float) -> None:
        self._now += SECONDS
        model = self._arms[row][arm].card.id
        seen = Observation(decision_id=str(row), model=model, at=self._now, success=score, signals=self._signals[row])
        self._policy.bank.fold([seen], self._now)


def arms_of(signals: Sequence[Signals], costs: Floats) -> list[list[Arm]]:
    """The arms of each prompt: what the gateway expects of a model of an even chance, at these prices."""
    cards = [ModelCard(id=f"arm:{place}", provider="arm", name=str(place), quality=EVEN) for place in range(len(costs))]
    prices = [round(1_000_000 * float(cost)) for cost in costs]
    return [
        [
            msgspec.structs.replace(arm, cost_micro_usd=price, weighed_micro_usd=price)
            for arm, price in zip(predict(cards, one), prices, strict=True)
        ]
        for one in signals
    ]


class AtRandom:
    """Any arm."""

    def __init__(self, arms: int) -> None:
        self._arms = arms

    def choose(self, row: int, rng: np.random.Generator) -> int:
        return int(rng.integers(self._arms))

    def learn(self, row: int, arm: int, score: float, reward: float) -> None:
        """There is nothing to be learned at random."""


def judge_online(sources: Sources, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Regret of every learner on each pair."""
    return [_pair(sources, weak, strong) for weak, strong in pairs]


def _pair(sources: Sources, weak: str, strong: str) -> dict[str, Any]:
    table = sources.own.table.of([weak, strong])
    rows = np.flatnonzero(table.complete)
    scores, costs = table.scores[rows], table.costs[rows]
    if not np.isfinite(costs).all() or costs[:, 1].mean() <= costs[:, 0].mean():
        costs = np.tile([0.0, 1.0], (len(rows), 1))
    gap, dearer = np.diff(scores.mean(axis=0))[0], np.diff(costs.mean(axis=0))[0]
    price = max(float(gap / dearer), 0.0)
    rewards = scores - price * costs
    signals = [
        _signals(prompt, table.prompts[int(row)]) for prompt, row in zip(_read(sources, rows), rows, strict=True)
    ]
    seen = contexts(signals)
    arms = arms_of(signals, price * costs.mean(axis=0))
    makers: dict[str, Callable[[np.random.Generator], Learner]] = {
        "router": lambda rng: Served(signals, arms, share=1.0, rng=rng),
        "served": lambda rng: Served(signals, arms, share=SHARE, rng=rng),
        "linucb": lambda rng: OnlineUCB(2, seen),
        "epsilon_greedy": lambda rng: EpsilonGreedy(2),
        "random": lambda rng: AtRandom(2),
    }
    best = rewards.max(axis=1)
    told, last = {}, {}
    for name, make in makers.items():
        courses = []
        for seed in range(SEEDS):
            rng = np.random.default_rng([sources.spec.seed & 0xFFFFFFFF, seed])
            order = rng.permutation(len(rows))
            courses.append(_course(make(rng), order, scores, rewards, best, rng))
        told[name] = _told(np.array(courses))
        last[name] = np.array([course[-1] for course in courses])
    for name, figures in told.items():
        if name != "router":
            figures["router_less_this"] = _difference(last["router"] - last[name])
    hindsight = int(np.argmax(rewards.mean(axis=0)))
    return {
        "weak": weak,
        "strong": strong,
        "rows": len(rows),
        "seeds": SEEDS,
        "price": number(price),
        "best_single": {
            "model": (weak, strong)[hindsight],
            "regret": number(float((best - rewards[:, hindsight]).sum())),
        },
        "learners": told,
    }


def _course(
    learner: Learner, order: Ints, scores: Floats, rewards: Floats, best: Floats, rng: np.random.Generator
) -> Floats:
    """(n,): the regret so far after each prompt."""
    lost = np.empty(len(order))
    for step, place in enumerate(order):
        row = int(place)
        arm = learner.choose(row, rng)
        learner.learn(row, arm, float(scores[row, arm]), float(rewards[row, arm]))
        lost[step] = best[row] - rewards[row, arm]
    return np.cumsum(lost)


def _read(sources: Sources, rows: Ints) -> list[bytes]:
    read = PromptReader()
    return [read(sources.own.table.prompts[int(row)]) for row in rows]


def _signals(features: bytes, prompt: str) -> Signals:
    """What the gateway would know of a first turn with this prompt alone; its intent is left open."""
    tokens = len(prompt) // CHARACTERS_PER_TOKEN
    return Signals(
        complexity=ComplexityScore(ComplexityRules())(find_ask(prompt)),
        privacy=Privacy(),
        needs=Needs(prompt_tokens=tokens),
        conversation=Conversation(),
        features=features,
    )


def _told(courses: Floats) -> dict[str, Any]:
    last = courses[:, -1]
    at = np.unique(np.linspace(0, courses.shape[1] - 1, TRACE).astype(np.int64))
    return {
        "regret": number(last.mean()),
        "standard_error": number(last.std(ddof=1) / np.sqrt(len(last))),
        "course": [number(value) for value in courses.mean(axis=0)[at]],
    }


def _difference(lost: Floats) -> dict[str, Any]:
    """Of regrets over the same orders: below 0 the router lost less. The interval is of orders and draws; the prompts
    are given."""
    half = STUDENT * float(lost.std(ddof=1)) / np.sqrt(len(lost))
    mean = float(lost.mean())
    return {"value": number(mean), "interval": [number(mean - half), number(mean + half)]}
