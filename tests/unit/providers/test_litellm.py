"""What LiteLLM's proxy is given, where it is found, and what becomes of what it tells."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.errors import SettingsError, UpstreamConnectError, UpstreamStatus
from pointsman.providers.cards import card_for
from pointsman.providers.litellm import environment, state
from pointsman.providers.litellm.config import SHIPPED, offered
from pointsman.providers.litellm.model_info import known_models
from pointsman.providers.litellm.provider import LiteLLM
from pointsman.testing.answers import Page, Status
from pointsman.testing.upstream import ScriptedUpstream
from pointsman.transport.pool import Pool

SAMPLE = Path(__file__).parents[2] / "data" / "litellm_prices.json"


def lookup(**variables: str):
    return variables.get


def test_only_what_has_its_variables_is_offered():
    found = offered(lookup(AWS_BEARER_TOKEN_BEDROCK="b", AWS_SESSION_TOKEN="s", AZURE_API_KEY="k", GROQ_API_KEY="g"))
    assert found.names == ("bedrock/*", "groq/*")
    assert found.variables == {"AWS_BEARER_TOKEN_BEDROCK": "b", "AWS_SESSION_TOKEN": "s", "GROQ_API_KEY": "g"}
    tree = yaml.safe_load(found.text)
    assert tree["litellm_settings"]["telemetry"] is False
    assert all("model_info" not in entry for entry in tree["model_list"])
    assert "bedrock" in found.text
    assert "k" not in found.variables.values()


def test_nothing_to_offer_names_variables():
    with pytest.raises(SettingsError, match="VERTEXAI_PROJECT"):
        offered(lookup())


def test_a_file_of_the_owner_is_handed_on_as_it_is(tmp_path: Path):
    own = tmp_path / "litellm.yaml"
    own.write_text("model_list:\n- model_name: x\n  litellm_params: {model: foo/x, api_key: os.environ/MY_OWN_KEY}\n")
    found = offered(lookup(MY_OWN_KEY="secret", OTHER_KEY="no"), own)
    assert (found.text, found.names, found.variables) == (own.read_text(), ("x",), {"MY_OWN_KEY": "secret"})


@pytest.mark.parametrize("text", ["", "[]", "model_list: 5", "model_list: [{}]", "a: [", "\x00"])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text):
    own = tmp_path / "litellm.yaml"
    own.write_text(text)
    with pytest.raises(SettingsError, match="model_list"):
        offered(lookup(), own)


def test_the_shipped_file_runs_as_it_stands_and_holds_no_secret():
    tree = yaml.safe_load(SHIPPED.read_text())
    names = {entry["model_name"] for entry in tree["model_list"]}
    assert {"bedrock/*", "vertex_ai/*", "azure/*", "mistral/*", "groq/*", "cohere_chat/*"} <= names
    assert all(set(entry["litellm_params"]) == {"model"} for entry in tree["model_list"])
    assert tree["router_settings"]["num_retries"] == 0


def test_requirements_are_pinned_by_hash_and_name_no_index():
    text = environment.REQUIREMENTS.read_text()
    assert "://" not in text
    assert "--index" not in text
    blocks = [block for block in text.split("\n") if "==" in block and not block.startswith((" ", "#"))]
    assert len(blocks) > 80
    assert all(block.endswith("\\") for block in blocks)
    assert environment.version() == next(b for b in blocks if b.startswith("litellm==")).split("==")[1].split()[0]


def test_litellm_is_never_imported_by_the_gateway():
    code = (
        "import sys, pointsman.app, pointsman.app.litellm, pointsman.providers.litellm.supervisor\n"
        "assert 'litellm' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    root = environment.REQUIREMENTS.parents[2]
    for path in root.rglob("*.py"):
        assert "\nimport litellm" not in path.read_text()
        assert "from litellm" not in path.read_text()


def a_state() -> state.Running:
    return state.Running(base_url="http://127.0.0.1:1/v1", key="sk-of-the-moment", pid=1, started=1.0, offers=("x",))


def test_a_proxy_is_found_while_its_keeper_lives(tmp_path: Path):
    assert (state.running(tmp_path), state.keeper(tmp_path)) == (None, None)
    with state.keeping(tmp_path, "a test") as ours:
        assert ours
        with state.keeping(tmp_path, "another") as second:
            assert not second
        assert state.running(tmp_path) is None
        state.tell(tmp_path, a_state())
        assert state.running(tmp_path) == a_state()
        assert state.keeper(tmp_path) == state.Keeper(pid=os.getpid(), by="a test")
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "litellm").iterdir()}
        assert modes == {0o600}
    state.tell(tmp_path, a_state())  # a keeper that was killed leaves it so
    assert (state.running(tmp_path), state.keeper(tmp_path)) == (None, None)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"base_url": 5}'])
def test_a_state_that_cannot_be_read_is_none(tmp_path: Path, content):
    with state.keeping(tmp_path, "a test"):
        (tmp_path / "litellm" / "state.json").write_bytes(content)
        assert state.running(tmp_path) is None


def told(*entries: dict) -> bytes:
    return json.dumps({"data": list(entries)}).encode()


def entry(name: str, info: dict, identifier: str = "one") -> dict:
    return {"model_name": name, "litellm_params": {}, "model_info": {"id": identifier, **info}}


def test_what_it_tells_fills_the_card():
    info = json.loads(SAMPLE.read_text())["gpt-4o"]
    known = known_models(told(entry("mine", {**info, "supported_openai_params": ["logprobs"]})))["mine"]
    card = known.applied(card_for("litellm", "mine", local=False))
    assert (card.price_input, card.price_output, card.context_window) == (2_500_000, 10_000_000, 128_000)
    assert card.capabilities == {"chat", "tools", "vision", "json_object", "json_schema", "logprobs"}
    assert not card.routable  # nobody has said how good it is
    local = known.applied(card_for("litellm", "mine", local=True))
    assert (local.price_input, local.price_output) == (0, 0)


def test_a_price_of_nothing_is_no_price():
    info = {"mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0.0, "max_input_tokens": 1000}
    card = known_models(told(entry("m", info)))["m"].applied(card_for("litellm", "m", local=False))
    assert (card.price_input, card.context_window) == (None, 1000)


def test_of_several_deployments_the_dearest_counts():
    cheap = {"mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}
    dear = {"mode": "chat", "input_cost_per_token": 2e-6, "output_cost_per_token": 1e-6}
    for order in ([cheap, dear], [dear, cheap]):
        row = known_models(told(*(entry("m", info, str(index)) for index, info in enumerate(order))))["m"].row
        assert row.price_input == 2_000_000


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["mode", "max_input_tokens", "input_cost_per_token", "supported_openai_params", "id"])


@given(st.dictionaries(KEYS, JSON))
def test_whatever_it_tells_is_read(info):
    known = known_models(told({"model_name": "m", "model_info": info}))["m"]
    known.applied(card_for("litellm", "m", local=False))


async def test_wildcards_are_there_by_name_and_images_are_not():
    chat = json.loads(SAMPLE.read_text())["gpt-4o"]
    answer = told(
        entry("own", chat, "1"),
        entry("wild/gpt-4o", chat, "2"),
        entry("wild/gpt-4o-mini", chat, "2"),
        entry("wild/image", {"mode": "image_generation"}, "2"),
    )
    names = ("own", "wild/gpt-4o", "wild/gpt-4o-mini", "wild/image", "unknown")
    async with ScriptedUpstream(models=names) as upstream:
        upstream.pages["/v1/model/info"] = Page(answer, "application/json")
        for models, routable in (((), set()), (("wild/gpt-4o",), {"wild/gpt-4o"})):
            pool = Pool()
            provider = LiteLLM("litellm", base_url=upstream.base_url, api_key="sk-x", outbound=pool, models=models)
            cards = {card.name: card for card in await provider.discover()}
            assert {name for name in cards if cards[name].routable} == routable
            assert "wild/image" not in cards
            await pool.close()
        asked = [request.path for request in upstream.requests]
        assert asked.count("/v1/model/info") == 2


async def test_a_key_that_may_only_chat_is_no_hindrance():
    async with ScriptedUpstream(models=("gpt-4o",)) as upstream:
        upstream.pages["/v1/model/info"] = Status(403)
        pool = Pool()
        provider = LiteLLM("litellm", base_url=upstream.base_url, api_key="sk-x", outbound=pool)
        assert [card.price_input for card in await provider.discover()] == [2_500_000]
        await pool.close()


async def test_a_wrong_key_is_told_as_one():
    no_database = b'{"error":{"message":"No connected db.","type":"no_db_connection","param":null,"code":"400"}}'
    async with ScriptedUpstream() as upstream:
        upstream.pages["/v1/models"] = Status(400, body=no_database)
        pool = Pool()
        provider = LiteLLM("litellm", base_url=upstream.base_url, api_key="sk-wrong", outbound=pool)
        health = await provider.health()
        assert not health.ok
        assert "refuses the key" in health.detail
        with pytest.raises(UpstreamStatus) as raised:
            await provider.discover()
        assert raised.value.upstream_status == 401
        await pool.close()


async def test_a_proxy_that_moves_is_followed():
    where: list[tuple[str, str] | None] = [None]
    pool = Pool()
    provider = LiteLLM("litellm", outbound=pool, where=lambda: where[0])
    with pytest.raises(UpstreamConnectError, match="litellm up"):
        await provider.discover()
    assert not (await provider.health()).ok
    for key in ("sk-first", "sk-second"):
        async with ScriptedUpstream(models=("gpt-4o",)) as upstream:
            where[0] = (upstream.base_url, key)
            assert [card.name for card in await provider.discover()] == ["gpt-4o"]
            assert {request.headers["authorization"] for request in upstream.requests} == {f"Bearer {key}"}
    await pool.close()
