"""The tables of models and presets, and the cards made of them."""

from __future__ import annotations

import subprocess
import sys
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.catalog import CAPABILITIES, ModelCard
from pointsman.core.signals import Intent
from pointsman.providers.cards import card_for, fact_for, known_models, presets, prior_by_size

MODELS = known_models()


def test_the_table_is_wide_enough_to_be_of_use():
    hosted = [name for name, fact in MODELS.items() if fact.price_input is not None]
    assert len(hosted) >= 40
    assert len(MODELS) - len(hosted) >= 40


@pytest.mark.parametrize("name", MODELS)
def test_a_fact_is_plausible(name):
    fact = MODELS[name]
    card = card_for("somewhere", name, local=False)
    assert card.capabilities <= CAPABILITIES
    assert set(card.qualities) <= {intent.value for intent in Intent}
    assert all(0.0 < quality < 1.0 for quality in (card.quality, *card.qualities.values()))
    assert card.context_window >= 4_096
    assert fact.max_output is None or fact.max_output <= fact.context_window
    assert (fact.price_input is None) == (fact.price_output is None)
    if fact.price_input is not None:
        assert 10_000 <= fact.price_input <= fact.price_output <= 100_000_000
        assert fact.price_cached_input is None or fact.price_cached_input <= fact.price_input
    assert name not in card.equivalents
    assert all(fact_for(other) is not None for other in card.equivalents)
    assert card.tokens_per_second > 0


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-haiku-4-5-latest", "claude-haiku-4-5"),
        ("claude-opus-4-5@20251101", "claude-opus-4-5"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("openai/gpt-4o", "gpt-4o"),
        ("llama3.1:8b-instruct-q4_K_M", "llama3.1:8b"),
        ("llama3.1:latest", "llama3.1:8b"),
        ("llama3.1", "llama3.1:8b"),
        ("mistral:7b-instruct-v0.3-q8_0", "mistral:7b"),
        ("gemma3:27b-it-qat", "gemma3:27b"),
        ("Qwen/Qwen2.5-Coder-7B-Instruct-AWQ", "qwen2.5-coder:7b"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3:30b"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama3.1:8b"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "deepseek-r1:7b"),
        ("hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M", "llama3.2:3b"),
        ("gpt-oss:120b-cloud", "gpt-oss:120b"),
    ],
)
def test_other_names_of_the_same_model(name, known):
    assert fact_for(name) is MODELS[known]


@pytest.mark.parametrize("name", ["gpt-4", "gpt-4o-search-preview", "llama3.1:405b", "gpt-5-chat-latest", "qwen3:1.7b"])
def test_names_of_another_model_are_not_taken_for_it(name):
    assert fact_for(name) is None


def test_prices_are_of_the_place_not_of_the_weights():
    assert card_for("openai", "gpt-4o", local=False).cost_micro_usd(1_000_000, 1_000_000, 0) == 12_500_000
    assert card_for("ollama", "llama3.1:8b", local=True).cost_micro_usd(1_000_000, 1_000_000, 0) == 0
    assert card_for("together", "llama3.1:8b", local=False).cost_micro_usd(1_000_000, 1_000_000, 0) is None
    assert card_for("mirror", "gpt-4o", local=True).cost_micro_usd(1_000_000, 1_000_000, 1_000_000) == 0


def test_a_name_that_is_relayed_elsewhere_is_remote_whatever_was_declared():
    for name in ("gpt-oss:120b-cloud", "glm-4.6:cloud", "some/new:1t-cloud", "KIMI-K2:1T-CLOUD"):
        card = card_for("ollama", name, local=True)
        assert not card.local
        assert card.price_input is None


def test_an_unknown_remote_model_answers_only_when_named():
    card = card_for("openai", "gpt-17", local=False)
    assert (card.routable, card.price_input, card.capabilities) == (False, None, {"chat"})


def test_an_unknown_local_model_is_judged_by_the_size_in_its_name():
    card = card_for("ollama", "newcomer:13b-q4_0", local=True)
    assert (card.routable, card.price_input, card.parameters) == (True, 0, "13B")
    assert card.quality == pytest.approx(prior_by_size(13))
    assert card_for("ollama", "tiny:270m", local=True).quality < card.quality
    assert card_for("ollama", "newcomer", local=True).parameters is None
    assert card_for("vllm", "new-8x22b", local=True).parameters == "8X22B"


@given(st.floats(0, 2_000), st.floats(0, 2_000))
def test_the_prior_by_size_is_monotone(one, other):
    low, high = sorted((one, other))
    assert 0.0 < prior_by_size(low) <= prior_by_size(high) < 1.0


@pytest.mark.parametrize(
    ("name", "capabilities"),
    [
        ("text-embedding-3-small", {"embeddings"}),
        ("nomic-embed-text:latest", {"embeddings"}),
        ("BAAI/bge-m3", {"embeddings"}),
        ("whisper-1", set()),
        ("gpt-4o-audio-preview", set()),
        ("gpt-4o-mini-tts", set()),
        ("omni-moderation-latest", set()),
        ("gpt-5.4-pro", set()),
        ("gpt-5.1-codex-max", set()),
        ("gpt-3.5-turbo-instruct", {"completion"}),
    ],
)
@pytest.mark.parametrize("local", [True, False])
def test_what_does_not_chat_is_never_routed_to(name, capabilities, local):
    card = card_for("openai", name, local=local)
    assert (card.capabilities, card.routable) == (capabilities, False)


def test_an_endpoint_that_lacks_a_capability_takes_it_from_the_card():
    direct = card_for("anthropic", "claude-opus-5-5", local=False)
    elsewhere = card_for("openrouter", "anthropic/claude-opus-5-5", local=False)
    assert "json_object" not in direct.capabilities
    assert elsewhere.capabilities >= direct.capabilities | {"json_object"}
    assert card_for("mistral", "codestral-latest", local=False).stream_usage is False


def test_presets():
    known = presets()
    assert {"openai", "anthropic", "gemini", "litellm", "ollama", "vllm"} <= set(known)
    assert known["ollama"].type == "ollama"
    for name, preset in known.items():
        assert not preset.local, f"{name}: only the owner of a provider can declare it local"
        assert preset.lacks <= CAPABILITIES
        assert preset.base_url is None or not preset.base_url.endswith("/")
        assert preset.base_url is None or preset.base_url.startswith(("https://", "http://127.0.0.1:"))


@given(st.text(max_size=60), st.text(max_size=120), st.booleans())
def test_any_name_gets_a_card(provider, name, local):
    card = card_for(provider, name, local=local)
    assert card.id == f"{provider}:{name}"
    assert local or not card.local
    assert "chat" in card.capabilities or not card.routable
    assert msgspec.json.decode(msgspec.json.encode(card), type=ModelCard) == card


def test_a_hostile_name_takes_no_time():
    started = time.perf_counter()
    for name in ("-latest" * 20_000, "1" * 100_000, "q4_k" * 30_000, "a." * 60_000, "8x" * 60_000):
        card_for("p", name, local=True)
    assert time.perf_counter() - started < 5.0


def test_nothing_is_read_before_it_is_asked_for():
    code = (
        "import sys, pointsman.providers.cards as cards;"
        "assert cards.presets.cache_info().currsize == 0;"
        "assert not {'yaml', 'fastapi', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
