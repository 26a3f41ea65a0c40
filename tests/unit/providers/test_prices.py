"""Prices: from entries as LiteLLM publishes them to cards, bills and worst cases."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.budget import worst_case_micro_usd
from pointsman.core.catalog import ModelCard, PriceStep
from pointsman.core.errors import InvalidRequest
from pointsman.core.signals import Needs
from pointsman.providers import prices
from pointsman.providers.cards import card_for, known_models
from pointsman.providers.price_refresh import MEMBER, changes, from_wheel, table_of, write
from pointsman.providers.price_row import row_of

SAMPLE = Path(__file__).parents[2] / "data" / "litellm_prices.json"
STEP = PriceStep(above=100_000, price_input=500_000, price_output=2_500_000, price_cached_input=50_000)


@pytest.fixture
def sample() -> dict[str, dict]:
    return json.loads(SAMPLE.read_text())


@pytest.fixture
def own(tmp_path: Path):
    """A data folder with prices of its own in use; the shipped ones are back afterwards."""
    prices.use(tmp_path)
    yield tmp_path
    prices.use(Path("/nonexistent"))


def table(raw: bytes | None = None) -> prices.PriceTable:
    return table_of(SAMPLE.read_bytes() if raw is None else raw, source="litellm 1.106.2", date="2026-11-22")


def test_the_published_entries_in_our_words():
    models = table().models
    assert models["openai:gpt-4o"].price_fields() | models["openai:gpt-4o"].size_fields() == {
        "price_input": 2_500_000,
        "price_cached_input": 1_250_000,
        "price_output": 10_000_000,
        "price_steps": (),
        "writes_unasked": False,
        "context_window": 128_000,
        "max_output": 16_384,
    }
    assert models["openai:gpt-4o"].capabilities == {"chat", "tools", "vision", "json_object", "json_schema"}
    assert models["gemini:gemini-2.5-pro"].steps == (
        PriceStep(above=200_000, price_input=2_500_000, price_output=15_000_000, price_cached_input=250_000),
    )
    assert models["anthropic:claude-haiku-5-5"].steps == (STEP,)
    assert models["anthropic:claude-haiku-5-5"].cache_write_percent == (125, 200)
    assert not models["anthropic:claude-haiku-5-5"].writes_unasked
    assert models["openai:gpt-5.6"].writes_unasked
    assert models["openai:text-embedding-3-small"].capabilities == {"embeddings"}
    assert models["openai:text-embedding-3-small"].price_output == 0
    assert models["openai:gpt-3.5-turbo-instruct"].capabilities == {"completion"}
    assert models["openai:gpt-5.5-pro"].capabilities == frozenset()  # it answers over /v1/responses alone
    assert "openai:whisper-1" not in models
    assert {key.partition(":")[0] for key in models} <= set(prices.PROVIDERS.values())


@given(
    st.dictionaries(
        st.sampled_from(
            ["mode", "input_cost_per_token", "output_cost_per_token", "max_input_tokens", "supports_vision",
             "input_cost_per_token_above_200k_tokens", "cache_creation_input_token_cost", "max_tokens",
             "output_cost_per_token_above_128k_tokens", "cache_read_input_token_cost_above_200k_tokens"]
        ),
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5) | st.lists(st.integers()),
    )
)  # fmt: skip
def test_any_entry_is_read_or_left_out(entry):
    row = row_of(entry)
    if row is None:
        return
    assert msgspec.json.decode(msgspec.json.encode(row), type=type(row)) == row
    numbers = [row.price_input, row.price_output, row.context_window, *(step.price_input for step in row.steps)]
    assert all(number is None or number >= 0 for number in numbers)


def test_the_shipped_table_is_read_in_no_time_and_says_where_it_is_from():
    fastest = min(_seconds(lambda: prices.read(prices.SHIPPED)) for _ in range(5))
    assert fastest < 0.02
    shipped = prices.read(prices.SHIPPED)
    assert shipped.source.startswith("litellm ")
    assert "MIT" in shipped.licence
    assert len(shipped.models) > 250
    for name, fact in known_models().items():
        vendor = fact.profile.partition("-")[0]
        if vendor in ("openai", "anthropic", "gemini") and fact.price_input is not None:
            assert f"{vendor}:{name}" in shipped.models


def _seconds(work) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def test_help_loads_no_prices():
    code = "import sys, pointsman.surfaces.cli.main; sys.exit('pointsman.providers.prices' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_cards_take_prices_from_the_table_and_judgement_from_ours(own, sample):
    sample["gpt-4o"]["input_cost_per_token"] = 9e-6
    sample["gpt-4o"]["max_input_tokens"] = 64_000
    before = card_for("openai", "gpt-4o", local=False)
    write(own / prices.NAME, table(json.dumps(sample).encode()))
    prices.table.cache_clear()
    card = card_for("openai", "gpt-4o", local=False)
    assert (before.price_input, before.context_window) == (2_500_000, 128_000)
    assert (card.price_input, card.context_window) == (9_000_000, 64_000)
    assert (card.quality, card.strengths) == (before.quality, before.strengths)


def test_a_model_that_only_the_table_knows_has_a_price_and_is_not_chosen(own, sample):
    sample["gpt-99"] = {**sample["gpt-4o"], "supports_vision": False}
    write(own / prices.NAME, table(json.dumps(sample).encode()))
    prices.table.cache_clear()
    card = card_for("openai", "gpt-99", local=False)
    assert (card.price_output, card.max_output, card.routable) == (10_000_000, 16_384, False)
    assert card.capabilities == {"chat", "tools", "json_object", "json_schema"}


def test_hosts_that_the_table_does_not_know_get_the_makers_prices():
    assert card_for("azure", "gpt-4o", local=False).price_input == 2_500_000
    bedrock = card_for("litellm", "bedrock/anthropic.claude-haiku-5-5", local=False)
    assert bedrock.price_steps == (STEP,)


@pytest.mark.parametrize("provider", ["ollama", "embedded", "openai", "lan"])
def test_local_models_cost_nothing(provider):
    card = card_for(provider, "mistral-large-latest", local=True)
    assert (card.price_input, card.price_output, card.price_steps) == (0, 0, ())
    assert card.cost_micro_usd(10**9, 10**6) == 0


def test_a_file_that_cannot_be_read_does_no_harm(own, caplog):
    (own / prices.NAME).write_text('{"models": 5')
    assert card_for("openai", "gpt-4o", local=False).price_input == 2_500_000
    assert "refresh-prices" in caplog.text


def stepped(**fields) -> ModelCard:
    known = {"price_input": 100_000, "price_output": 500_000, "price_cached_input": 10_000, "price_steps": (STEP,)}
    return ModelCard(id="a:b", provider="a", name="b", context_window=1_000_000, **{**known, **fields})


def test_a_long_prompt_is_billed_at_its_step():
    card = stepped()
    assert card.cost_micro_usd(100_000, 1000) == 10_500
    assert card.cost_micro_usd(100_001, 1000) == 52_501  # 50,000.5 for the prompt and 2,500 for the answer, up
    assert card.cost_micro_usd(200_000, 0, cached_tokens=200_000) == 10_000


@given(
    bound=st.integers(1, 400_000),
    actual=st.integers(1, 400_000),
    output=st.integers(0, 4000),
    written=st.integers(0, 400_000),
    unasked=st.booleans(),
)
def test_no_bill_is_above_the_worst_case(bound, actual, output, written, unasked):
    actual, written = min(actual, bound), min(written, actual, bound)
    card = stepped(cache_write_percent=(125, 200), writes_unasked=unasked)
    needs = Needs(prompt_tokens_most=bound, prompt_tokens_high=bound, max_output=4000, cache_marks=0 if unasked else 1)
    worst = worst_case_micro_usd(card, needs)
    assert card.cost_micro_usd(actual, output, 0, (0, written)) <= worst


def test_what_changed_is_told(sample):
    before = table()
    sample["gpt-4o"]["output_cost_per_token"] = 2e-5
    del sample["deepseek/deepseek-chat"]
    sample["gpt-99"] = sample["gpt-4o"]
    found = {change.model: change for change in changes(before, table(json.dumps(sample).encode()))}
    assert found["openai:gpt-4o"].fields == {"price_output": (10_000_000, 20_000_000)}
    assert {model: change.kind for model, change in found.items()} == {
        "openai:gpt-4o": "changed",
        "deepseek:deepseek-chat": "gone",
        "openai:gpt-99": "new",
    }
    assert changes(before, before) == []


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"a": 1}', b'{"gpt-4o": {}}', b"{}", b"\xff"])
def test_what_is_no_table_is_refused(raw):
    with pytest.raises(InvalidRequest):
        table(raw)


def test_a_wheel_is_read_as_data(tmp_path: Path):
    path = tmp_path / "litellm-9.9.9-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(MEMBER, SAMPLE.read_bytes())
        wheel.writestr("litellm/__init__.py", "raise SystemExit('imported')")
    assert table(from_wheel(path)).models
    path.write_bytes(b"PK")
    with pytest.raises(InvalidRequest, match="no wheel"):
        from_wheel(path)


def test_the_command_shows_keeps_and_repeats(tmp_path: Path, sample):
    sample["gpt-4o"]["input_cost_per_token"] = 9e-6
    source = tmp_path / "prices-of-today.json"
    source.write_text(json.dumps(sample))
    config = tmp_path / "pointsman.yaml"
    config.write_text(f"data_dir: {tmp_path / 'data'}\n")

    def refresh(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pointsman", "--config", str(config), "models", "refresh-prices"]
        return subprocess.run([*command, *options], capture_output=True, text=True, check=False)

    dry = refresh("--from", str(source), "--dry-run", "--json")
    told = json.loads(dry.stdout)
    assert {"model": "openai:gpt-4o", "kind": "changed", "fields": {"price_input": [2_500_000, 9_000_000]}} in told[
        "changes"
    ]
    assert told["path"] is None
    assert not (tmp_path / "data" / prices.NAME).exists()
    done = refresh("--from", str(source))
    assert done.returncode == 0, done.stderr
    assert "openai:gpt-4o" in done.stdout
    kept = prices.read(tmp_path / "data" / prices.NAME)
    assert (kept.source, kept.models["openai:gpt-4o"].price_input) == ("prices-of-today.json", 9_000_000)
    assert json.loads(refresh("--from", str(source), "--json").stdout)["changes"] == []
    broken = refresh("--from", str(config))
    assert (broken.returncode, "is not LiteLLM's table" in broken.stderr) == (1, True)
