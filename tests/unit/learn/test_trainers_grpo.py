"""GRPO: its gradients are those of its loss, its clip and its KL hold, and it finds what was planted."""

from __future__ import annotations

import numpy as np
import pytest

from pointsman.core.errors import InvalidRequest
from pointsman.learn.trainers.grpo import GRPO, Groups, Objective, draw, log_softmax, whole_arms
from pointsman.learn.trainers.problem import Problem, pose

from .planted import COSTS, MODELS, PER_DOLLAR, asked, candidates


def planted(count: int, seed: int) -> Problem:
    found, success = asked(count, np.random.default_rng(seed))
    rewards = success - PER_DOLLAR * np.array(COSTS) / 1e6
    return pose([(signals, candidates()) for signals in found], rewards, models=MODELS)


def worth(policy: np.ndarray, problem: Problem) -> float:
    return float((policy * problem.rewards).sum(axis=1).mean())


def test_the_gradients_are_those_of_the_loss():
    rng = np.random.default_rng(0)
    problem = planted(12, 1)
    problem.utilities[3, 0] = -np.inf  # one request with a single arm
    trainer = GRPO(width=5, iterations=1, temperature=1.0, objective=Objective(clip=0.05, kl=0.3, entropy=0.2))
    network = trainer._begin(problem, rng)
    network.head += rng.normal(scale=0.3, size=network.head.shape)
    standard, arms = network.standard(problem.inputs), whole_arms(problem, network)
    based = problem.utilities / trainer.temperature
    reference = log_softmax(based)
    groups = draw(np.exp(log_softmax(based + network.scores(standard, arms))), problem.rewards, 4, rng)
    weights = np.full(len(problem), 1 / len(problem))
    network.head += rng.normal(scale=0.3, size=network.head.shape)  # so that some ratios lie outside of the clip

    def loss() -> float:
        return trainer.gradients(network, standard, arms, based, reference, groups, weights)[1].loss

    gradients, losses = trainer.gradients(network, standard, arms, based, reference, groups, weights)
    assert 0.1 < losses.clipped < 1
    for parameter, gradient in zip((network.hidden, network.bias, network.head), gradients, strict=True):
        largest = np.argsort(-np.abs(gradient), axis=None)[:8]
        for place in largest:
            at = np.unravel_index(place, parameter.shape)
            kept, step = parameter[at], 1e-6
            parameter[at] = kept + step
            above = loss()
            parameter[at] = kept - step
            below = loss()
            parameter[at] = kept
            assert gradient[at] == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-9)


def test_a_ratio_beyond_the_clip_moves_nothing_in_its_direction():
    scores = np.log(np.array([[0.7, 0.3]]))
    objective = Objective(clip=0.2, kl=0.0, entropy=0.0)

    def moved(advantage: float, likely: float) -> float:
        groups = Groups(np.array([[0]]), np.array([[advantage]]), np.array([[likely]]))
        return float(np.abs(objective(scores, scores, groups, np.ones(1)).gradient).max())

    assert moved(1.0, 0.5) == 0  # ρ = 1.4: raised enough
    assert moved(-1.0, 0.5) > 0  # but it may be lowered again
    assert moved(-1.0, 0.95) == 0  # ρ = 0.74: lowered enough
    assert moved(1.0, 0.95) > 0
    assert moved(1.0, 0.65) > 0


def test_it_beats_every_single_model_where_the_prompt_tells_which_is_better():
    problem, unseen = planted(500, 2), planted(1000, 3)
    trainer = GRPO(iterations=50).fit(problem, rng=np.random.default_rng(0))
    best_single = unseen.rewards.mean(axis=0).max()
    oracle = unseen.rewards.max(axis=1).mean()
    earned = worth(trainer.predict(unseen), unseen)
    assert earned > best_single + 0.4 * (oracle - best_single)
    assert trainer.history_[-1].reward > trainer.history_[0].reward


def test_the_pull_to_the_reference_holds_it_near():
    problem = planted(150, 4)

    def end(kl: float):
        trainer = GRPO(iterations=25, objective=Objective(kl=kl)).fit(problem, rng=np.random.default_rng(0))
        return trainer.history_[-1]

    free, held, bound = end(0.0), end(0.3), end(10.0)
    assert free.kl > held.kl > bound.kl
    assert bound.kl < 0.05
    assert free.reward > bound.reward


def test_entropy_is_worth_what_is_said():
    problem = planted(150, 5)

    def end(entropy: float) -> float:
        trainer = GRPO(iterations=25, objective=Objective(kl=0.0, entropy=entropy))
        return trainer.fit(problem, rng=np.random.default_rng(0)).history_[-1].entropy

    assert end(3.0) > end(0.0) + 0.1


def test_the_same_seed_gives_the_same_network():
    problem = planted(100, 6)
    first, second = (GRPO(iterations=5).fit(problem, rng=np.random.default_rng(9)).network_ for _ in range(2))
    assert (first.hidden == second.hidden).all()
    assert (first.head == second.head).all()


def test_an_arm_that_was_not_there_is_never_picked():
    problem = planted(200, 7)
    problem.utilities[::2, 1] = -np.inf
    policy = GRPO(iterations=5).fit(problem, rng=np.random.default_rng(0)).predict(problem)
    assert (policy[::2, 1] == 0).all()
    assert policy.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda problem: problem.rewards.fill(0.5), "Every reward is the same"),
        (lambda problem: problem.rewards.fill(np.nan), "not a number"),
        (lambda problem: problem.inputs.fill(np.inf), "not a number"),
        (lambda problem: problem.utilities[:, 1].fill(-np.inf), "two models to choose from"),
        (lambda problem: problem.weights.fill(0), "not all of them 0"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(spoil, says):
    problem = planted(20, 8)
    spoil(problem)
    with pytest.raises(InvalidRequest, match=says):
        GRPO(iterations=1).fit(problem, rng=np.random.default_rng(0))
