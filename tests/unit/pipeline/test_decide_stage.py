"""The whole decision: what must hold of any of them."""

from __future__ import annotations

import msgspec
import pytest
from deciding import CATALOG, anything, catalogs, decide, signals
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.caller import Caller, Scopes
from pointsman.core.decision import Decision
from pointsman.core.errors import ContextTooLong, Forbidden, NoCapableModel, PrivacyWall, UpstreamError
from pointsman.core.signals import Intent
from pointsman.pipeline.decide.explain import dollars, header_reason

REFUSALS = (ContextTooLong, Forbidden, NoCapableModel, PrivacyWall, UpstreamError)
names = st.sampled_from(["auto", "auto", *(f"m{number}" for number in range(8)), "openai:m1"])


@given(
    catalog=catalogs(),
    what=anything(),
    name=names,
    model_names=st.sampled_from(["override", "hint"]),
    max_attempts=st.integers(1, 6),
    down=st.dictionaries(st.sampled_from(["embedded", "ollama", "openai:m1"]), st.just("down"), max_size=2),
    chain=st.lists(st.integers(0, 30).map("m{}".format), max_size=4),
    allowed=st.just(()) | st.lists(st.sampled_from(["m1", "m?", "*:m3", "openai:*", "nothing"]), max_size=3).map(tuple),
)
def test_what_holds_of_every_decision(catalog, what, name, model_names, max_attempts, down, chain, allowed):
    if name != "auto" and catalog.find(name) is None:
        name = "auto"
    rules = {"model_names": model_names, "max_attempts": max_attempts}
    caller = Caller(key_id="key_1", scopes=Scopes(models=allowed))
    rules["caller"] = caller
    fallbacks = {card.id: chain for card in list(catalog)[::2]}
    try:
        decision = decide(name, what, catalog=catalog, unhealthy=down, fallbacks=fallbacks, **rules)
    except REFUSALS:
        return
    plan = decision.plan
    assert plan[0] == decision.model
    assert len(set(plan)) == len(plan) <= max_attempts
    assert not {drop.model for drop in decision.dropped} & set(plan)
    assert not {drop.model for drop in decision.dropped} & {found.model for found in decision.candidates}
    if what.privacy.local_only:
        assert all(catalog.get(model).local for model in plan)
    assert all(caller.may_use(model, catalog.get(model).name) for model in plan)
    assert sum(found.propensity for found in decision.candidates) == 1.0
    assert decision.propensity == decision.candidates[0].propensity
    assert decision.candidates[0].model == decision.model
    if decision.mode != "forced":
        seen = {found.model for found in decision.candidates} | {drop.model for drop in decision.dropped}
        assert seen | set(plan) == {card.id for card in catalog if caller.may_use(card.id, card.name)}
    again = decide(name, what, catalog=catalog, unhealthy=down, fallbacks=fallbacks, **rules)
    assert msgspec.structs.replace(again, id=decision.id) == decision
    line = header_reason(decision)
    assert line.isascii()
    assert line.isprintable()
    assert 0 < len(line) <= 200


def test_a_decision_carries_what_it_was_given():
    what = signals(intent=Intent.TESTS)
    decision = decide("auto", what)
    assert (decision.mode, decision.requested_model, decision.policy) == ("auto", "auto", "rules@2")
    assert (decision.key_id, decision.stream, decision.created_at) == ("key_1", True, 1_700_000_000.0)
    assert decision.signals is what
    assert decision.estimated_cost_micro_usd == decision.candidates[0].cost_micro_usd == 454
    assert decide("openai:strong").policy == "forced@1"
    assert msgspec.json.decode(msgspec.json.encode(decision), type=Decision) == decision


def test_reasons_tell_the_choice_then_privacy_then_the_dropped():
    reasons = decide("auto", signals(local_only=True, complexity=0.8)).reasons
    assert reasons[0].startswith("ollama:home: best of 2 for general (balanced), ")
    assert "predicted success, free, about" in reasons[0]
    assert reasons[1] == "It stays on this machine: it holds content of class secret (found by: aws_access_key)."
    assert reasons[2] == "Complexity 0.80 is above 0.65, so strength counts for more."
    assert reasons[3].startswith("Next: embedded:small, ")
    assert reasons[4] == "Dropped by privacy: openai:cheap, openai:strong, anthropic:rival."


def test_the_header_is_cut_at_whole_sentences_and_cleaned():
    decision = decide("auto", signals(local_only=True, complexity=0.8))
    line = header_reason(decision)
    assert line.endswith(".")
    assert len(line) <= 200
    dirty = msgspec.structs.replace(decision, reasons=("naïve\r\nX-Injected: yes 🚂" + "x" * 500,))
    line = header_reason(dirty)
    assert line.startswith("na?ve??X-Injected: yes ?x")
    assert len(line) == 200
    assert line.endswith("...")


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        (None, "at an unknown price"),
        (0, "free"),
        (1, "$0.000001"),
        (14, "$0.000014"),
        (229, "$0.00023"),
        (10_400, "$0.01"),
        (999_999, "$1"),
        (1_500_000, "$1.50"),
    ],
)
def test_money_for_people(amount, told):
    assert dollars(amount) == told


def test_the_strongest_of_the_catalog_is_chosen_for_quality_whatever_the_intent():
    for intent in Intent:
        assert decide("auto", signals(intent=intent, priority="quality"), catalog=CATALOG).model == "openai:strong"
