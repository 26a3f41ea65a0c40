"""Who follows: chains, equivalents, utility, the strongest last."""

from __future__ import annotations

from deciding import CATALOG, HOME, SMALL, STRONG, card, decide, signals

from pointsman.core.catalog import Catalog


def test_the_plan_begins_with_the_model_and_ends_with_the_strongest():
    decision = decide(max_attempts=3)
    assert decision.plan[0] == decision.model == "openai:cheap"
    assert decision.plan[-1] == "openai:strong"
    assert len(decision.plan) == 3


def test_a_configured_chain_comes_instead_whole_and_in_order():
    chain = {"openai:cheap": ["ollama:home", "nowhere:known", "rival", "openai:cheap"]}
    assert decide(fallbacks=chain).plan == ("openai:cheap", "ollama:home", "anthropic:rival")
    assert decide(fallbacks={"cheap": ["home"]}).plan == ("openai:cheap", "ollama:home")
    assert decide(fallbacks={"openai:cheap": []}).plan == ("openai:cheap",)


def test_a_chain_never_brings_back_what_a_constraint_dropped():
    chain = {"ollama:home": ["openai:strong", "embedded:small"]}
    decision = decide("auto", signals(local_only=True), fallbacks=chain)
    assert decision.plan == ("ollama:home", "embedded:small")
    forced = decide("ollama:home", signals(local_only=True), fallbacks=chain)
    assert forced.plan == ("ollama:home", "embedded:small")
    assert [(drop.model, drop.constraint) for drop in forced.dropped] == [("openai:strong", "privacy")]


def test_a_chain_may_name_a_model_that_auto_does_not_choose():
    catalog = Catalog([HOME, card("a:new", routable=False)])
    decision = decide(catalog=catalog, fallbacks={"ollama:home": ["a:new"]})
    assert decision.plan == ("ollama:home", "a:new")
    assert decision.dropped == ()


def test_equivalents_come_first_and_need_not_be_known():
    primary = card("openai:x", quality=0.99, price_input=0, price_output=0, equivalents=("gone", "home"))
    decision = decide(catalog=Catalog([primary, *CATALOG]))
    assert decision.plan[:2] == ("openai:x", "ollama:home")


def test_another_provider_goes_before_the_same_one():
    same = {"price_input": 0, "price_output": 0}
    catalog = Catalog(
        [card("a:1", quality=0.9, **same), card("a:2", quality=0.85, **same), card("b:1", quality=0.6, **same)]
    )
    assert decide(catalog=catalog).plan == ("a:1", "b:1", "a:2")


def test_diversity_alone_sends_nothing_off_the_machine():
    catalog = Catalog([HOME, card("ollama:other", local=True, quality=0.5), STRONG])
    plan = decide("auto", signals(priority="privacy"), catalog=catalog).plan
    assert plan == ("ollama:home", "ollama:other", "openai:strong")


def test_a_forced_model_has_no_followers_but_a_chain():
    assert decide("openai:strong").plan == ("openai:strong",)
    assert decide("openai:strong", fallbacks={"openai:strong": ["cheap"]}).plan == ("openai:strong", "openai:cheap")


def test_one_attempt_means_one_model():
    assert decide(max_attempts=1).plan == ("openai:cheap",)
    assert decide(max_attempts=1, fallbacks={"openai:cheap": ["home"]}).plan == ("openai:cheap",)
    assert decide(catalog=Catalog([SMALL])).plan == ("embedded:small",)
