"""Requests that nothing may answer: which error, and what it tells."""

from __future__ import annotations

import pytest
from deciding import CATALOG, CHEAP, HOME, RIVAL, SMALL, STRONG, card, decide, signals

from pointsman.core.catalog import Catalog
from pointsman.core.errors import (
    ContextTooLong,
    Forbidden,
    NoCapableModel,
    NoHealthyModel,
    PrivacyWall,
    UpstreamError,
)
from pointsman.core.signals import Privacy, PrivacyClass

BLIND = frozenset({"chat", "tools"})


def test_a_forced_remote_model_meets_the_wall_and_is_told_why_and_what_to_do():
    with pytest.raises(PrivacyWall) as caught:
        decide("openai:strong", signals(local_only=True), fallbacks={"openai:strong": ["ollama:home"]})
    told = caught.value.message
    assert "class secret (found by: aws_access_key)" in told
    assert "openai:strong is not declared local" in told
    assert "ask for `auto` or a local model (embedded:small, ollama:home)".casefold() in told.casefold()
    assert "lower privacy_level" not in told
    assert caught.value.alternatives == ("embedded:small", "ollama:home")


@pytest.mark.parametrize(
    ("level", "classes", "helps"),
    [
        ("high", (PrivacyClass.CONTACT,), True),
        ("high", (PrivacyClass.CONTACT, PrivacyClass.IDENTITY), False),
        ("max", (), True),
    ],
)
def test_lowering_the_level_is_advised_only_where_it_helps(level, classes, helps):
    privacy = Privacy(level=level, classes=classes, local_only=True)
    with pytest.raises(PrivacyWall) as caught:
        decide("openai:strong", signals(privacy=privacy))
    assert ("lower privacy_level" in caught.value.message) is helps
    if not classes:
        assert "privacy level max keeps it here" in caught.value.message


def test_no_local_model_at_all():
    with pytest.raises(PrivacyWall) as caught:
        decide("auto", signals(local_only=True), catalog=Catalog([CHEAP, STRONG]))
    assert "openai:cheap, openai:strong" in caught.value.message
    assert "Start a local model" in caught.value.message


def test_a_forced_model_with_too_small_a_window():
    with pytest.raises(ContextTooLong) as caught:
        decide("embedded:small", signals(prompt=5_000))
    assert "embedded:small, 4,096 tokens, by 968" in caught.value.message
    assert caught.value.alternatives[0] == "ollama:home"
    assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")


def test_auto_names_the_largest_window():
    with pytest.raises(ContextTooLong) as caught:
        decide("auto", signals(prompt=200_000), catalog=Catalog([SMALL, CHEAP, STRONG, HOME]))
    assert "openai:strong, 200,000 tokens, by 64." in caught.value.message


def test_a_long_private_prompt_is_too_long_for_what_may_read_it():
    with pytest.raises(ContextTooLong) as caught:
        decide("auto", signals(prompt=100_000, local_only=True))
    assert "ollama:home" in caught.value.message
    assert "Larger models elsewhere are not asked: it holds content of class secret" in caught.value.message


def test_a_need_that_nothing_has():
    catalog = Catalog([card("a:m", capabilities=BLIND), card("b:m", capabilities=BLIND)])
    with pytest.raises(NoCapableModel) as caught:
        decide("auto", signals(vision=True), catalog=catalog)
    assert "images" in caught.value.message
    assert "a:m is not known to read images" in caught.value.message


def test_a_need_that_only_a_model_behind_the_wall_has():
    catalog = Catalog([card("ollama:blind", local=True, capabilities=BLIND), STRONG])
    with pytest.raises(NoCapableModel) as caught:
        decide("auto", signals(vision=True, local_only=True), catalog=catalog)
    assert "images" in caught.value.message
    assert "openai:strong has, but is not declared local" in caught.value.message


def test_no_model_and_no_routable_model():
    with pytest.raises(NoCapableModel, match="No model is known"):
        decide(catalog=Catalog([]))
    with pytest.raises(NoCapableModel, match="a:new is used only when it is named"):
        decide(catalog=Catalog([card("a:new", routable=False)]))


def test_a_model_that_does_not_chat():
    catalog = Catalog([card("a:embed", capabilities=frozenset({"embeddings"})), HOME])
    with pytest.raises(NoCapableModel, match="a:embed is not a chat model"):
        decide("a:embed", catalog=catalog)


def test_everything_down_is_not_the_callers_fault():
    with pytest.raises(UpstreamError) as caught:
        decide(unhealthy={"openai": "breaker open", "embedded": "starting", "ollama": "refused", "anthropic": "401"})
    assert (caught.value.status, caught.value.code) == (503, "no_healthy_model")
    assert caught.value.retry_after
    assert "embedded:small (starting)" in caught.value.message
    assert "and 2 more" in caught.value.message
    assert "rivacy" not in caught.value.message


@pytest.mark.parametrize(
    ("privacy", "helps"),
    [
        (Privacy(level="high", classes=(PrivacyClass.CONTACT,), local_only=True), True),
        (Privacy(classes=(PrivacyClass.SECRET,), detectors=("aws_access_key",), local_only=True), False),
    ],
)
def test_while_local_models_are_down_it_is_said_what_privacy_leaves_out_and_how_to_mend_that(privacy, helps):
    down = {"ollama": "refused", "embedded": "starting", "anthropic": "401"}
    with pytest.raises(NoHealthyModel) as caught:
        decide(unhealthy=down, what=signals(privacy=privacy))
    told = caught.value.message
    assert told.startswith("Every model that could answer is down: embedded:small (starting), ollama:home (refused).")
    assert "Privacy leaves out openai:cheap, openai:strong, for" in told
    assert f"it holds content of class {privacy.classes[0]}" in told
    assert "Start a local model that can do it, or remove the private content" in told
    assert ("lower privacy_level" in told) is helps
    assert caught.value.models == ("embedded:small", "ollama:home")


def test_a_forced_provider_binds_names_too():
    with pytest.raises(Forbidden) as caught:
        decide("openai:strong", force_provider="ollama")
    assert caught.value.code == "provider_not_allowed"
    assert {candidate.model for candidate in decide(force_provider="openai").candidates} == {
        "openai:cheap",
        "openai:strong",
    }
    with pytest.raises(NoCapableModel, match="only nobody may be used"):
        decide(force_provider="nobody")


def test_a_named_model_gets_what_its_card_doubts():
    catalog = Catalog([card("a:m", capabilities=frozenset({"chat"}), routable=False), RIVAL])
    what = signals(tools=True, vision=True, json_schema=True, logprobs=True)
    decision = decide("a:m", what, catalog=catalog, unhealthy={"a": "breaker open"})
    assert decision.plan == ("a:m",)
    doubts = next(reason for reason in decision.reasons if "all the same" in reason)
    for words in ("read images", "call tools", "schema", "logprobs", "reported down: breaker open"):
        assert words in doubts


def test_the_order_of_the_catalog_is_not_in_the_way_of_local_models():
    assert decide("auto", signals(local_only=True), catalog=Catalog(reversed(list(CATALOG)))).model == "ollama:home"
