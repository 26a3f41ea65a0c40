"""Learning from chosen answers alone: the policy that serves against LinUCB and chance on the same prompts."""

from __future__ import annotations

import msgspec
import numpy as np

from pointsman.core.features import EMBEDDED, EMBEDDING_SCALE, STRUCTURE, VERSION
from pointsman.core.signals import Complexity, Conversation, Needs, Privacy, Signals
from pointsman.evals.routing.online import SHARE, AtRandom, OnlineUCB, Served, arms_of
from pointsman.pipeline.decide.learned.context import contexts
from pointsman.settings.routing_schema import ExplorationSettings

PRICE = 0.3
ROWS = 400


def planted(rng: np.random.Generator) -> tuple[list[Signals], np.ndarray]:
    """Prompts with digits, which the weak model mostly fails, and others, which both mostly do."""
    plain = Signals(
        complexity=Complexity(score=0.3, length=0.3, terms=0.3, structure=0.3),
        privacy=Privacy(),
        needs=Needs(prompt_tokens=200),
        conversation=Conversation(),
    )
    told, scores = [], np.empty((ROWS, 2))
    for number in range(ROWS):
        digits = number % 2
        row = np.empty(1 + EMBEDDED + len(STRUCTURE), dtype=np.int8)
        embedding = rng.normal(size=EMBEDDED)
        row[0] = VERSION
        row[1 : 1 + EMBEDDED] = np.rint(embedding / np.linalg.norm(embedding) * EMBEDDING_SCALE)
        row[1 + EMBEDDED :] = 30
        row[1 + EMBEDDED + STRUCTURE.index("digits")] = 70 * digits
        told.append(msgspec.structs.replace(plain, features=row.tobytes()))
        scores[number] = rng.random(2) < (0.9 - 0.7 * digits, 0.9)
    return told, scores


def test_the_router_learns_online_about_as_well_as_linucb():
    signals, scores = planted(np.random.default_rng(4))
    rewards = scores - np.array([0.0, PRICE])
    arms = arms_of(signals, np.array([0.0, PRICE]))
    seen = contexts(signals)
    lost = {"router": 0.0, "served": 0.0, "linucb": 0.0, "random": 0.0}
    for seed in range(3):
        for name in lost:
            rng = np.random.default_rng(seed)
            order = rng.permutation(ROWS)
            learner = {
                "router": lambda rng: Served(signals, arms, share=1.0, rng=rng),
                "served": lambda rng: Served(signals, arms, share=SHARE, rng=rng),
                "linucb": lambda rng: OnlineUCB(2, seen),
                "random": lambda rng: AtRandom(2),
            }[name](rng)
            for row in map(int, order):
                arm = learner.choose(row, rng)
                learner.learn(row, arm, scores[row, arm], rewards[row, arm])
                lost[name] += rewards[row].max() - rewards[row, arm]
    assert lost["router"] < 0.5 * lost["random"]
    assert lost["router"] < 1.15 * lost["linucb"]
    assert lost["served"] < 0.6 * lost["random"]


def test_the_share_of_tries_is_the_default_of_the_settings():
    assert ExplorationSettings().share == SHARE
