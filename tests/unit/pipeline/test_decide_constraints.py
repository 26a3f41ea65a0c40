"""What drops a model, and in which words."""

from __future__ import annotations

import pytest
from deciding import EVERYTHING, HOME, SECRET, card, signals

from pointsman.core.signals import Needs
from pointsman.pipeline.decide.candidates import part
from pointsman.pipeline.decide.constraints import CONSTRAINTS, MIN_OUTPUT, Demand, violations


def demand(what=None, **fields):
    what = what or signals()
    return Demand(needs=what.needs, privacy=what.privacy, **{"unhealthy": {}, **fields})


@pytest.mark.parametrize(
    ("need", "capability", "word"),
    [
        ("tools", "tools", "tools"),
        ("vision", "vision", "vision"),
        ("json_object", "json_object", "json"),
        ("json_schema", "json_schema", "json_schema"),
        ("logprobs", "logprobs", "logprobs"),
    ],
)
def test_a_missing_capability_drops_and_a_present_one_does_not(need, capability, word):
    asks = demand(signals(**{need: True}))
    able = card("p:able", capabilities=frozenset({"chat", capability}))
    unable = card("p:unable", capabilities=frozenset({"chat"}))
    pool = part([unable, able], asks)
    assert [kept.id for kept in pool.kept] == ["p:able"]
    assert [(drop.model, drop.constraint) for drop in pool.dropped] == [("p:unable", word)]
    assert part([unable, able], demand()).dropped == []


def test_a_model_of_another_kind_is_not_among_what_was_dropped():
    vectors = card("p:vectors", capabilities=frozenset({"embeddings"}))
    pool = part([vectors, HOME], demand())
    assert ([kept.id for kept in pool.kept], pool.dropped) == ([HOME.id], [])


def test_a_schema_keeper_keeps_to_json_too():
    keeper = card("p:keeper", capabilities=frozenset({"chat", "json_schema"}))
    assert violations(keeper, demand(signals(json_object=True))) == {}


@pytest.mark.parametrize(
    ("fields", "asks", "word"),
    [
        ({"capabilities": EVERYTHING - {"chat"}}, {}, "chat"),
        ({}, {"force_provider": "ollama"}, "provider"),
        ({"routable": False}, {}, "disabled"),
        ({}, {"unhealthy": {"p:model": "breaker open"}}, "unhealthy"),
        ({}, {"unhealthy": {"p": "refused"}}, "unhealthy"),
    ],
)
def test_what_else_drops(fields, asks, word):
    assert list(violations(card("p:model", **fields), demand(**asks))) == [word]


def test_a_reason_for_another_model_or_provider_is_no_reason():
    assert violations(card("p:model"), demand(unhealthy={"p:other": "down", "q": "down"})) == {}


def test_local_only_drops_what_is_not_declared_local():
    asks = demand(signals(privacy=SECRET))
    assert list(violations(card("p:remote"), asks)) == ["privacy"]
    assert violations(HOME, asks) == {}


def test_a_named_model_need_not_be_routable():
    assert violations(card("p:new", routable=False), demand(named=frozenset({"p:new"}))) == {}


@pytest.mark.parametrize(
    ("prompt", "max_output", "fits"),
    [
        (1_000 - MIN_OUTPUT, None, True),
        (1_000 - MIN_OUTPUT + 1, None, False),
        (999, 1, True),
        (1_000, 1, False),
        (1_000 - MIN_OUTPUT + 1, 100_000, False),
    ],
)
def test_the_window_to_the_token(prompt, max_output, fits):
    found = violations(card("p:m", context_window=1_000), demand(signals(prompt=prompt, max_output=max_output)))
    assert (found == {}) is fits


def test_the_window_detail_has_exact_numbers():
    found = violations(card("p:m", context_window=4_096), demand(signals(prompt=5_000)))
    assert found == {
        "context": "its window of 4,096 tokens is 968 too small for a prompt of at least 5,000 and 64 of answer"
    }


def test_only_the_lower_bound_excludes():
    needs = {"prompt_tokens_low": 900, "prompt_tokens_high": 2_000, "prompt_tokens": 1_500}
    assert violations(card("p:m", context_window=1_000), demand(signals(**needs))) == {}


def test_an_unknown_window_excludes_nothing():
    assert violations(card("p:m", context_window=None), demand(signals(prompt=10_000_000))) == {}


def test_the_first_constraint_of_the_table_is_told_and_catalog_order_is_kept():
    unfit = [card(f"p:{number}", capabilities=frozenset({"chat"})) for number in range(5)]
    asks = demand(signals(local_only=True, tools=True, vision=True))
    pool = part(unfit, asks)
    assert [drop.model for drop in pool.dropped] == [model.id for model in unfit]
    assert {drop.constraint for drop in pool.dropped} == {"privacy"}
    assert list(violations(unfit[0], asks)) == ["privacy", "tools", "vision"]


def test_every_boolean_need_has_a_constraint():
    # No model lacks them: the budget's constraint looks at the one, the choice of an effort at the other.
    priced = {"dear_service", "effort_named"}
    named = {"json" if name == "json_object" else name for name in Needs.__struct_fields__}
    flags = {name for name in named if name == "json" or Needs.__annotations__[name] == "bool"}
    assert flags - priced <= {constraint.name for constraint in CONSTRAINTS}
