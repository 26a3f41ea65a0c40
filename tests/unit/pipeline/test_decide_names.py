"""The model field: auto, forced, a bare name, an alias, an unknown one."""

from __future__ import annotations

import pytest
from deciding import CATALOG, HOME, STRONG, card, decide, signals

from pointsman.core.catalog import Catalog
from pointsman.core.errors import ModelNotFound
from pointsman.pipeline.decide.embedding import embedding_model
from pointsman.pipeline.decide.names import Requested, interpret

TWINS = Catalog(
    [
        card("azure:gpt", quality=0.9, price_input=1, price_output=1),
        card("openai:gpt", quality=0.9, price_input=1, price_output=1),
        card("vllm:gpt", quality=0.9, local=True),
        card("ollama:mistral:latest", local=True),
    ]
)


@pytest.mark.parametrize(
    ("name", "mode", "ids"),
    [
        ("auto", "auto", []),
        ("", "auto", []),
        ("any", "auto", []),
        ("openai:strong", "forced", ["openai:strong"]),
        ("strong", "forced", ["openai:strong"]),
        ("fast", "forced", ["openai:cheap"]),
    ],
)
def test_reading(name, mode, ids):
    requested = interpret(name, catalog=CATALOG)
    assert requested.mode == mode
    assert [card.id for card in requested.cards] == ids


@pytest.mark.parametrize("name", ["mistral", "mistral:latest", "ollama:mistral", "ollama:mistral:latest"])
def test_the_default_tag_may_be_left_out(name):
    assert [card.id for card in interpret(name, catalog=TWINS).cards] == ["ollama:mistral:latest"]


def test_a_bare_name_is_a_hint_where_so_configured_but_an_id_still_forces():
    assert interpret("strong", catalog=CATALOG, model_names="hint").mode == "hint"
    assert interpret("openai:strong", catalog=CATALOG, model_names="hint").mode == "forced"
    assert interpret("fast", catalog=CATALOG, model_names="hint").mode == "forced"


def test_a_bare_name_of_several_providers_goes_local_first_then_to_the_default_provider():
    assert [card.id for card in interpret("gpt", catalog=TWINS).cards] == ["vllm:gpt", "azure:gpt", "openai:gpt"]
    named = interpret("gpt", catalog=TWINS, default_provider="openai")
    assert [card.id for card in named.cards] == ["vllm:gpt", "openai:gpt", "azure:gpt"]


def test_the_twins_of_a_bare_name_follow_one_another_and_a_healthy_one_goes_first():
    assert decide("gpt", catalog=TWINS).plan == ("vllm:gpt", "azure:gpt", "openai:gpt")
    assert decide("gpt", catalog=TWINS, unhealthy={"vllm": "refused"}).plan == ("azure:gpt", "openai:gpt", "vllm:gpt")


def test_local_only_keeps_a_bare_name_to_its_local_twin():
    decision = decide("gpt", signals(local_only=True), catalog=TWINS)
    assert decision.plan == ("vllm:gpt",)
    assert [(drop.model, drop.constraint) for drop in decision.dropped] == [
        ("azure:gpt", "privacy"),
        ("openai:gpt", "privacy"),
    ]


def test_an_unknown_name_is_told_its_close_matches():
    with pytest.raises(ModelNotFound) as caught:
        decide("openai:stron")
    assert "openai:strong" in caught.value.message
    assert "openai:strong" in caught.value.alternatives


def test_a_default_for_embeddings_that_is_not_served_names_the_setting():
    with pytest.raises(ModelNotFound, match=r"'gone:v1', which routing\.embedding_model names, is not served"):
        embedding_model(Requested(mode="auto"), "gone:v1", Catalog([]))


def test_a_provider_that_is_not_set_up_is_named():
    with pytest.raises(ModelNotFound, match="no provider 'nowhere' is set up: its key or address is missing"):
        decide("nowhere:gpt-4o")


def test_an_alias_to_nothing_names_both_and_the_mend():
    with pytest.raises(ModelNotFound) as caught:
        decide("gone")
    assert "'gone'" in caught.value.message
    assert "'openai:old'" in caught.value.message
    assert "routing.aliases" in caught.value.message


def test_a_hint_wins_unless_another_is_clearly_better():
    close = card("a:close", quality=0.65, local=True, tokens_per_second=25.0)
    catalog = Catalog([close, HOME])
    assert decide("auto", catalog=catalog, model_names="hint").model == "a:close"
    decision = decide("home", catalog=catalog, model_names="hint")
    assert (decision.mode, decision.model) == ("hint", "ollama:home")
    assert any("hints at 'home'" in reason for reason in decision.reasons)
    hard = decide("home", signals(complexity=0.9), catalog=Catalog([HOME, STRONG]), model_names="hint")
    assert (hard.mode, hard.model) == ("hint", "openai:strong")
    assert any("openai:strong is clearly better" in reason for reason in hard.reasons)


def test_a_hint_that_a_constraint_excludes_says_so():
    decision = decide("strong", signals(local_only=True), model_names="hint")
    assert decision.model == "ollama:home"
    assert any("'strong', which was passed over: is not declared local" in reason for reason in decision.reasons)


def test_a_hint_may_name_a_model_that_auto_does_not_choose():
    catalog = Catalog([card("a:new", routable=False, quality=0.9, price_input=0, price_output=0), HOME])
    assert decide("auto", catalog=catalog).model == "ollama:home"
    assert decide("new", catalog=catalog, model_names="hint").model == "a:new"
