"""Which policy serves where none is promoted."""

from __future__ import annotations

import msgspec
import pytest

from pointsman.app import built_in as module
from pointsman.app.built_in import BuiltIn, build_explorer, rules_of
from pointsman.core.errors import InvalidRequest
from pointsman.core.ports import SystemClock
from pointsman.core.signals import Complexity, Conversation, Needs, Privacy, Signals
from pointsman.pipeline.decide import LearnedPolicy, RulePolicy
from pointsman.settings import Settings

WHAT = Signals(
    complexity=Complexity(score=0.3, length=0, terms=0, structure=0),
    privacy=Privacy(),
    needs=Needs(),
    conversation=Conversation(),
)


def settings(**routing: object) -> Settings:
    read = Settings()
    return msgspec.structs.replace(read, routing=msgspec.structs.replace(read.routing, **routing))


def new() -> BuiltIn:
    return BuiltIn(lambda model: None, SystemClock())


def test_it_learns_unless_the_settings_say_otherwise():
    assert isinstance(new()(settings()), LearnedPolicy)
    rules = new()(settings(policy="rules", complexity_threshold=0.4, default_provider="lan"))
    assert isinstance(rules, RulePolicy)
    assert (rules.complexity_threshold, rules.default_provider) == (0.4, "lan")


def test_the_weights_of_the_settings_hold_for_both():
    weights = {"balanced": {"cost": 7.0}}
    assert rules_of(settings(weights=weights)).weights["balanced"].cost == 7.0
    learned = new()(settings(weights=weights))
    assert isinstance(learned, LearnedPolicy)
    assert learned.weights["balanced"].cost == 7.0
    assert learned.weights["quality"] == RulePolicy().weights["quality"]


def test_it_stays_as_long_as_the_settings_do_for_it_has_observed_since():
    built_in = new()
    first = built_in(settings())
    assert built_in(settings(priority="speed")) is first
    assert built_in(settings(complexity_threshold=0.3)) is not first


def test_rules_serve_when_what_ships_cannot_be_read_and_the_log_says_so(monkeypatch, caplog):
    def broken():
        raise InvalidRequest("prior.mean: a number in it is not finite.")

    monkeypatch.setattr(module, "shipped", broken)
    policy = new()(settings())
    assert policy.version == "rules@2"
    assert "so rules@2 serves. prior.mean" in caplog.text


@pytest.mark.parametrize(("share", "tried"), [(0.0, False), (1.0, True)])
def test_the_settings_bound_what_is_tried(share, tried):
    read = settings()
    exploration = msgspec.structs.replace(read.routing.exploration, share=share, daily=0.25)
    explorer = build_explorer(settings(exploration=exploration), lambda: 0.5)
    allowance = explorer.allowance(WHAT, 1_700_000_000.0)
    assert (allowance is not None) is tried
    assert allowance is None or allowance.micro_usd == 250_000
