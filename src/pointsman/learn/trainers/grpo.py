"""Group relative policy optimisation (Shao et al., DeepSeekMath, arXiv 2402.03300) of a routing policy.

A request is a prompt, the choice of a model one action. For a group of G actions drawn from the policy as it was,
π_old, with rewards r,

    A = (r − mean r) / s        ρ = π(a) / π_old(a)
    loss = − mean min(ρ A, clip(ρ, 1 − c, 1 + c) A) + β KL(π ‖ π_ref) − α H(π)

s is the spread within the groups of the whole batch, where the paper takes each group's own: a request that two
models do equally well, one a little cheaper, would then count for as much as one that a single model does, and the
policy would no longer earn the most (Liu et al., arXiv 2503.20783, on the bias of the group's own). π_ref is the
softmax of the rules' utilities, which is where training starts. With a handful of arms both KL and the entropy H are
summed outright; the paper samples KL, for it has a vocabulary to sum over. Backpropagation is by hand: there is one
hidden layer (`pipeline.decide.network`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pointsman.core.errors import InvalidRequest
from pointsman.pipeline.decide.network import ARM_FEATURES, Network

from .adam import Adam
from .problem import Problem

Floats = NDArray[np.float64]
HELD_OUT = 0.2
LEAST_HELD_OUT = 20
"""Requests that tell when to stop, at least."""
LOOK = 5
"""Iterations between two looks at how training stands."""
PATIENCE = 5
"""Looks without a better network before training stops."""
LEAST_SPREAD = 1e-6
"""Of rewards, below which they are all alike."""


class Groups(NamedTuple):
    """Actions that were drawn for some requests."""

    actions: NDArray[np.int64]
    """(n, G): columns of arms."""
    advantages: Floats
    """(n, G)."""
    likely: Floats
    """(n, G): with which probability each was drawn."""


class Step(NamedTuple):
    """How training stands after an iteration."""

    reward: float
    """What the policy earns on average, over all that it was trained on."""
    kl: float
    """Its mean distance from the reference, in nats."""
    entropy: float
    clipped: float
    """Share of the sampled ratios that the last pass found outside of the clip."""
    held_out: float
    """What the arms that it thinks best earn on the requests that tell when to stop; −inf without any."""


class Losses(NamedTuple):
    loss: float
    gradient: Floats
    """(n, m): of the loss by the scores."""
    clipped: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The loss as a function of the scores."""

    clip: float = 0.2
    kl: float = 0.05
    entropy: float = 0.001

    def __call__(self, scores: Floats, reference: Floats, groups: Groups, weights: Floats) -> Losses:
        """
        Args:
            scores: (n, m), −inf where an arm was not there.
            reference: (n, m): log π_ref, −inf likewise.
            weights: (n,), with a sum of 1.
        """
        log_policy = log_softmax(scores)
        policy = np.exp(log_policy)
        ratio = np.take_along_axis(policy, groups.actions, axis=1) / groups.likely
        bounded = np.clip(ratio, 1 - self.clip, 1 + self.clip)
        gained = np.minimum(ratio * groups.advantages, bounded * groups.advantages)
        each = weights[:, None] / groups.actions.shape[1]
        # d ratio / d score = ratio (1[a] − π); where the clipped term is the lesser, nothing moves.
        moving = np.where(ratio * groups.advantages <= bounded * groups.advantages, ratio * groups.advantages, 0.0)
        pulled = -each * moving
        gradient = -policy * pulled.sum(axis=1, keepdims=True)
        rows = np.arange(len(scores))[:, None]
        np.add.at(gradient, (np.broadcast_to(rows, groups.actions.shape), groups.actions), pulled)

        there = np.isfinite(scores)
        apart = np.where(there, log_policy - np.where(there, reference, 0.0), 0.0)
        kl = (policy * apart).sum(axis=1, keepdims=True)
        logs = np.where(there, log_policy, 0.0)
        entropy = -(policy * logs).sum(axis=1, keepdims=True)
        gradient += weights[:, None] * policy * (self.kl * (apart - kl) + self.entropy * (logs + entropy))
        loss = -(each * gained).sum() + (weights[:, None] * (self.kl * kl - self.entropy * entropy)).sum()
        return Losses(float(loss), gradient, float(np.mean(np.abs(ratio - 1) > self.clip)))


class GRPO:
    """Fits a `Network`; afterwards `network_` is it and `history_` a `Step` for every few iterations."""

    def __init__(
        self,
        *,
        width: int = 32,
        group: int = 8,
        batch: int = 256,
        iterations: int = 200,
        passes: int = 4,
        rate: float = 0.002,
        decay: float = 3.0,
        temperature: float = 0.1,
        objective: Objective | None = None,
    ) -> None:
        """
        Args:
            width: of the hidden layer.
            group: actions drawn for each request of a batch.
            passes: steps on the same groups; from the second on the ratios move, and the clip holds them.
            decay: of the weights that read the request, per step and rate: prompts are few beside their features.
            temperature: probability of success that the rules' utility must differ by for odds of e.
        """
        self.width = width
        self.group = group
        self.batch = batch
        self.iterations = iterations
        self.passes = passes
        self.rate = rate
        self.decay = decay
        self.temperature = temperature
        self.objective = objective or Objective()

    def fit(
        self,
        problem: Problem,
        *,
        rng: np.random.Generator,
        groups: Sequence[str] | None = None,
        on_step: Callable[[int, Step], None] = lambda number, step: None,
    ) -> Self:
        """
        Args:
            groups: requests of one group are alike. A share of the groups is not trained on but tells when to stop, and
                which network is kept; without groups training ends with the last iteration.

        Raises:
            InvalidRequest: there is nothing to learn from: no request with two arms, or rewards that are all alike, or
                one that is not a number.
        """
        _check(problem)
        believed = problem.weights > 0
        problem = problem.rows(believed)
        if groups is not None:
            groups = [group for group, kept in zip(groups, believed, strict=True) if kept]
        held = self._hold_out(problem, groups, rng)
        checked, problem = problem.rows(held), problem.rows(~held)
        network = self.network_ = self._begin(problem, rng)
        standard = network.standard(problem.inputs)
        arms = whole_arms(problem, network)
        reference = log_softmax(problem.utilities / self.temperature)
        adam = Adam([network.hidden, network.bias, network.head], rate=self.rate)
        best = self._worth(checked), network.hidden.copy(), network.bias.copy(), network.head.copy()
        self.history_: list[Step] = []
        since, clipped = 0, 0.0
        for number in range(1, self.iterations + 1):
            rows = rng.choice(len(problem), size=min(self.batch, len(problem)), replace=False)
            based = problem.utilities[rows] / self.temperature
            sampled = draw(
                np.exp(log_softmax(based + network.scores(standard[rows], arms[rows]))),
                problem.rewards[rows],
                self.group,
                rng,
            )
            weights = problem.weights[rows] / problem.weights[rows].sum()
            for _ in range(self.passes):
                gradients, losses = self.gradients(
                    network, standard[rows], arms[rows], based, reference[rows], sampled, weights
                )
                adam.step(gradients)
                network.hidden *= 1 - self.rate * self.decay
                clipped = losses.clipped
            if number % LOOK and number != self.iterations:
                continue
            step = self._stand(problem, standard, arms, reference, clipped, self._worth(checked))
            self.history_.append(step)
            on_step(number, step)
            if step.held_out > best[0]:
                best, since = (step.held_out, network.hidden.copy(), network.bias.copy(), network.head.copy()), 0
            elif (since := since + 1) >= PATIENCE:
                break
        if len(checked):
            _, network.hidden, network.bias, network.head = best
        return self

    def _hold_out(self, problem: Problem, groups: Sequence[str] | None, rng: np.random.Generator) -> NDArray[np.bool_]:
        """(n,): which requests tell when to stop; none where there are too few, or no groups."""
        if groups is None or len(problem) * HELD_OUT < LEAST_HELD_OUT:
            return np.zeros(len(problem), dtype=bool)
        _, places = np.unique(np.array(groups), return_inverse=True)
        dealt: NDArray[np.bool_] = (rng.random(int(places.max()) + 1) < HELD_OUT)[places]
        return dealt if 0 < dealt.sum() < len(dealt) else np.zeros(len(problem), dtype=bool)

    def _worth(self, problem: Problem) -> float:
        """What the arms that it thinks best earn on average, as it is served; −inf for no request."""
        if not len(problem):
            return -np.inf
        picked = self.predict(problem).argmax(axis=1)
        earned = problem.rewards[np.arange(len(problem)), picked]
        return float(problem.weights @ earned / problem.weights.sum())

    def gradients(
        self,
        network: Network,
        standard: Floats,
        arms: Floats,
        based: Floats,
        reference: Floats,
        groups: Groups,
        weights: Floats,
    ) -> tuple[list[Floats], Losses]:
        """Of the loss by the hidden layer's weights, its bias, and the head."""
        hidden = np.tanh(standard @ network.hidden + network.bias)
        scores = based + np.einsum("nd,nmd->nm", hidden @ network.head[:-1] + network.head[-1], arms)
        losses = self.objective(scores, reference, groups, weights)
        wanted = np.einsum("nm,nmd->nd", losses.gradient, arms)  # by hᵀM
        head = np.vstack([hidden.T @ wanted, wanted.sum(axis=0)])
        behind = (wanted @ network.head[:-1].T) * (1 - hidden * hidden)
        return [standard.T @ behind, behind.sum(axis=0), head], losses

    def predict(self, problem: Problem) -> Floats:
        """(n, m): the probability with which the trained policy picks each arm."""
        network = self.network_
        scores = network.scores(network.standard(problem.inputs), whole_arms(problem, network))
        return np.exp(log_softmax(problem.utilities / self.temperature + scores))

    def _begin(self, problem: Problem, rng: np.random.Generator) -> Network:
        """A network that says nothing yet: its head is 0, so that the policy is the reference."""
        inputs = problem.inputs
        spread = inputs.std(axis=0)
        varied = spread > LEAST_SPREAD
        hidden = rng.normal(scale=1 / np.sqrt(max(1, varied.sum())), size=(inputs.shape[1], self.width))
        return Network(
            models=problem.models,
            mean=inputs.mean(axis=0),
            scale=np.where(varied, spread, 0.0),
            hidden=hidden * varied[:, None],
            bias=np.zeros(self.width),
            head=np.zeros((self.width + 1, len(problem.models) + ARM_FEATURES)),
            temperature=self.temperature,
        )

    def _stand(
        self, problem: Problem, standard: Floats, arms: Floats, reference: Floats, clipped: float, held_out: float
    ) -> Step:
        scores = problem.utilities / self.temperature + self.network_.scores(standard, arms)
        log_policy = log_softmax(scores)
        policy = np.exp(log_policy)
        there = problem.there
        logs = np.where(there, log_policy, 0.0)
        weights = problem.weights / problem.weights.sum()
        return Step(
            reward=float(weights @ (policy * problem.rewards).sum(axis=1)),
            kl=float(weights @ (policy * (logs - np.where(there, reference, 0.0))).sum(axis=1)),
            entropy=float(-weights @ (policy * logs).sum(axis=1)),
            clipped=clipped,
            held_out=held_out,
        )


def whole_arms(problem: Problem, network: Network) -> Floats:
    """(n, m, models + ARM_FEATURES): what `Network.arm` gives for each."""
    marks = np.zeros((len(problem.models), len(network.models)))
    for row, model in enumerate(problem.models):
        marks[row] = network.arm(model, ())
    n = len(problem)
    return np.concatenate([np.broadcast_to(marks, (n, *marks.shape)), problem.arms], axis=2)


def draw(policy: Floats, rewards: Floats, group: int, rng: np.random.Generator) -> Groups:
    """Actions from `policy` (n, m), G a request, and how much better each is than its group."""
    ends = np.cumsum(policy, axis=1)
    at = rng.random((len(policy), group, 1)) * ends[:, None, -1:]
    actions = np.minimum((at >= ends[:, None, :]).sum(axis=2), policy.shape[1] - 1)
    earned = np.take_along_axis(rewards, actions, axis=1)
    centred = earned - earned.mean(axis=1, keepdims=True)
    spread = float(np.sqrt(np.mean(centred * centred)))
    advantages = centred / spread if spread > LEAST_SPREAD else np.zeros_like(centred)
    return Groups(actions, advantages, np.take_along_axis(policy, actions, axis=1))


def log_softmax(scores: Floats) -> Floats:
    """(n, m): log-probabilities; −inf stays −inf."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_policy: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_policy


def _check(problem: Problem) -> None:
    there = problem.there
    if not len(problem) or not (there.sum(axis=1) > 1).any():
        raise InvalidRequest("Nothing can be learned where no request had two models to choose from.")
    if not there.any(axis=1).all():
        raise InvalidRequest("A request had no model to go to.")
    if not (np.isfinite(problem.rewards).all() and np.isfinite(problem.inputs).all()):
        raise InvalidRequest("A reward or a feature is not a number.")
    if not (np.isfinite(problem.weights).all() and (problem.weights >= 0).all() and problem.weights.sum() > 0):
        raise InvalidRequest("The weights of the requests must be numbers of at least 0, and not all of them 0.")
    if np.ptp(problem.rewards[there]) <= LEAST_SPREAD:
        raise InvalidRequest("Every reward is the same: no model is better than another, so there is nothing to learn.")
