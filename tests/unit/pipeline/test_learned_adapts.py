"""Traffic follows results, with the parts that serve and as much exploration as is the default: a model with poor
results gets less, a new one with good results gains, and one that turns bad is left.

How many outcomes it takes stands in docs/explanation/decisions.md, measured over forty seeds of these worlds.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from deciding import card, signals
from learning import DAY, NOW, observed, unit

from pointsman.core.catalog import Catalog
from pointsman.core.features import EMBEDDED, EMBEDDING_SCALE, STRUCTURE, VERSION
from pointsman.core.signals import Intent, Signals
from pointsman.pipeline.decide import Decide, DecideRules, Explorer, LearnedPolicy, RulePolicy
from pointsman.pipeline.decide.learned.context import TYPICAL_STRUCTURE
from pointsman.pipeline.decide.learned.shipped import shipped
from pointsman.pipeline.decide.predict import success
from pointsman.settings.routing_schema import ExplorationSettings

EVERY = DAY / 200
"""Between two requests."""
WINDOW = 50
"""Requests over which traffic is counted."""
PRICES = {"price_input": 150_000, "price_output": 600_000}
INTENTS = (Intent.COMPLETION, Intent.ERROR_ANALYSIS, Intent.REFACTORING, Intent.EXPLANATION, Intent.TESTS)
TYPICAL = np.array([TYPICAL_STRUCTURE[name] for name in STRUCTURE])


class World:
    """A gateway's decisions, and people who say of every answer whether it was good.

    Args:
        qualities: what the catalog says of each model.
        ability: how good each is in truth after so many requests: how often it does well at a typical complexity.
    """

    def __init__(self, seed: int, ability: Callable[[str, int], float], **qualities: float) -> None:
        self.ability = ability
        self.rng = np.random.default_rng(seed)
        self.now = NOW
        self.chosen: list[str] = []
        self.catalog = Catalog([])
        self.has(**qualities)
        defaults = ExplorationSettings()
        self.policy = LearnedPolicy(
            shipped(),
            rules=RulePolicy(),
            card_of=lambda model: self.catalog.get(model),
            clock=lambda: self.now,
            version=f"learned@{seed}",
        )
        explorer = Explorer(
            share=defaults.share,
            micro_usd_per_day=round(1_000_000 * defaults.daily),
            random=random.Random(seed).random,
        )
        self.stage = Decide(rules=DecideRules(), policy=self.policy, explorer=explorer)

    def has(self, **qualities: float) -> None:
        """The catalog's models from now on."""
        cards = [card(f"p:{name}", quality=quality, **PRICES) for name, quality in qualities.items()]
        self.catalog = Catalog(cards)

    def ask(self, count: int) -> None:
        """So many requests, each with its outcome."""
        for _ in range(count):
            what = _asked(self.rng)
            decision = self.stage(
                "auto", what, catalog=self.catalog, unhealthy={}, key_id=None, now=self.now, stream=False
            )
            number = len(self.chosen)
            chance = success(self.ability(decision.model, number), what.complexity.score)
            well = float(self.rng.random() < chance)
            self.policy.bank.fold([observed(number, decision.model, well, what, at=self.now)], self.now)
            self.chosen.append(decision.model)
            self.now += EVERY

    def share(self, model: str) -> float:
        """Of the last WINDOW requests."""
        return self.chosen[-WINDOW:].count(model) / WINDOW

    def until(self, model: str, share: float, most: int) -> int:
        """Outcomes until a model answers this share of WINDOW requests since now; `most` if it does not before."""
        self.ask(WINDOW)
        count = WINDOW
        while count < most and self.share(model) < share:
            self.ask(1)
            count += 1
        return count


def _asked(rng: np.random.Generator) -> Signals:
    what = signals(complexity=float(rng.uniform(0.3, 0.6)), intent=INTENTS[rng.integers(len(INTENTS))])
    row = np.empty(1 + EMBEDDED + len(STRUCTURE), dtype=np.int8)
    row[0] = VERSION
    row[1 : 1 + EMBEDDED] = np.rint(unit(rng) * EMBEDDING_SCALE)
    row[1 + EMBEDDED :] = np.rint(127 * np.clip(rng.normal(TYPICAL, 0.1), 0, 1))
    return msgspec.structs.replace(what, features=row.tobytes())


def poor(seed: int) -> World:
    """The catalog thinks most of a model that does poorly."""
    return World(seed, lambda model, _: {"p:praised": 0.4, "p:plain": 0.7}[model], praised=0.8, plain=0.7)


def arrival(seed: int) -> World:
    """Of a model that comes later the catalog thinks less than of the one that is there, and it is better."""
    world = World(seed, lambda model, _: {"p:there": 0.75, "p:new": 0.9}[model], there=0.75)
    world.ask(200)
    world.has(there=0.75, new=0.65)
    return world


def drift(seed: int) -> World:
    """A good model was in use for long, and is bad from now on."""
    world = World(
        seed, lambda model, asked: (0.85 if asked < 300 else 0.4) if model == "p:used" else 0.75, used=0.8, other=0.7
    )
    world.ask(300)
    return world


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_model_with_poor_results_gets_less_traffic(seed):
    world = poor(seed)
    world.ask(1)
    assert world.chosen == ["p:praised"]
    assert world.until("p:plain", 0.8, 400) < 400
    world.ask(100)
    assert world.share("p:praised") <= 0.2


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_new_model_with_good_results_gains_traffic(seed):
    world = arrival(seed)
    world.ask(1)
    assert world.chosen[-1] == "p:there"
    assert world.until("p:new", 0.5, 600) < 600


@pytest.mark.parametrize("seed", [0, 1])
def test_a_model_that_turns_bad_is_left(seed):
    world = drift(seed)
    assert world.share("p:used") > 0.5
    assert world.until("p:other", 0.5, 700) < 700
