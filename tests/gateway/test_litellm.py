"""The real LiteLLM, run by the gateway, in front of an upstream of OpenAI's shape and one of Anthropic's."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
import yaml

from pointsman.testing.answers import Answer, Reset, Status, Tokens, ToolUse
from waiting import until

from .litellm_proxy import installed
from .running import running

pytestmark = [pytest.mark.client, pytest.mark.timeout(600)]  # the first run on a machine installs LiteLLM
STARTS = 120.0
"""Seconds that LiteLLM may take to start, or to start again."""

HI = [{"role": "user", "content": "Say hello."}]
BOTH = ["litellm:small", "litellm:opus"]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PLANTED = "planted-secret-of-the-provider"


def ids(gateway) -> set[str]:
    return {model["id"] for model in gateway.ask("GET", "/v1/models").json["data"]}


def proxy_of(gateway) -> psutil.Process | None:
    for child in psutil.Process(gateway.process.pid).children():
        with contextlib.suppress(psutil.Error):  # it may end just now
            if "litellm.proxy.proxy_cli" in child.cmdline():
                return child
    return None


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def beside(cloud_server, lan_server, tmp_path_factory) -> dict[str, Any]:
    """Settings of a gateway that runs LiteLLM with a configuration of its owner's."""
    openai_shaped = {"api_base": cloud_server.base_url, "api_key": "os.environ/SOME_PROVIDERS_KEY"}
    anthropic_shaped = {"api_base": lan_server.root, "api_key": "os.environ/SOME_PROVIDERS_KEY"}
    tree = {
        "model_list": [
            {"model_name": "small", "litellm_params": {"model": "openai/gpt-4o-mini", **openai_shaped}},
            {"model_name": "opus", "litellm_params": {"model": "anthropic/claude-opus-5-5", **anthropic_shaped}},
            {"model_name": "groq/*", "litellm_params": {"model": "groq/*", **openai_shaped}},
        ],
        "litellm_settings": {"num_retries": 0},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
    }
    config = tmp_path_factory.mktemp("litellm") / "litellm.yaml"
    config.write_text(yaml.safe_dump(tree))
    return {
        "cache_dir": str(installed()),
        "litellm": {"enabled": True, "config": str(config)},
        "providers": {"ollama": {"enabled": False}},
    }


@pytest.fixture(scope="module")
def gateway(beside, tmp_path_factory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("gateway")
    with running(folder, beside, env={"SOME_PROVIDERS_KEY": PLANTED, "ANOTHER_KEY": "not-for-litellm"}) as gateway:
        until(lambda: "litellm:small" in ids(gateway), seconds=STARTS)
        yield gateway


@pytest.fixture
def client(gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base_url, api_key="unused", max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def upstream(request, cloud, lan):
    return cloud if request.getfixturevalue("model") == "litellm:small" else lan


@pytest.mark.parametrize("model", BOTH)
def test_a_plain_answer(client, model, upstream):
    upstream.script(Answer(text="Hello there.", usage=Tokens(prompt=7, completion=3)))
    answer = client.chat.completions.create(model=model, messages=HI)
    assert answer.choices[0].message.content == "Hello there."
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 3)
    sent = upstream.chats[0].headers
    assert PLANTED in (sent.get("x-api-key"), sent.get("authorization", "").removeprefix("Bearer "))


@pytest.mark.parametrize("model", BOTH)
def test_a_stream_with_usage(client, model, upstream):
    upstream.script(Answer(text="one two three", pieces=5, usage=Tokens(prompt=11, completion=4)))
    stream = client.chat.completions.create(
        model=model, messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == "one two three"
    assert [(c.usage.prompt_tokens, c.usage.completion_tokens) for c in chunks if c.usage] == [(11, 4)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", BOTH)
def test_tool_calls_there_and_back(client, model, upstream, stream):
    upstream.script(Answer(text="", tool_calls=[ToolUse("get_weather", {"city": "Bern"})]), Answer(text="Sunny."))
    if stream:
        chunks = list(client.chat.completions.create(model=model, messages=HI, tools=[WEATHER], stream=True))
        calls = [call for c in chunks for choice in c.choices for call in choice.delta.tool_calls or ()]
        name, identifier = calls[0].function.name, calls[0].id
        arguments = "".join(call.function.arguments or "" for call in calls)
    else:
        answer = client.chat.completions.create(model=model, messages=HI, tools=[WEATHER])
        call = answer.choices[0].message.tool_calls[0]
        name, identifier, arguments = call.function.name, call.id, call.function.arguments
    assert (name, json.loads(arguments)) == ("get_weather", {"city": "Bern"})
    turn = [
        *HI,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}},
            ],
        },
        {"role": "tool", "tool_call_id": identifier, "content": "sunny"},
    ]
    assert client.chat.completions.create(model=model, messages=turn, tools=[WEATHER]).choices[0].message.content


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status(429, retry_after=7), openai.RateLimitError),
        (Status(500), openai.APIStatusError),
        (Status(401), openai.APIStatusError),
    ],
    ids=["429", "500", "401"],
)
@pytest.mark.parametrize("model", BOTH)
def test_errors_of_the_provider_behind_it(client, model, upstream, status, expected):
    upstream.script(*[status] * 8)
    with pytest.raises(expected) as raised:
        client.chat.completions.create(model=model, messages=HI)
    assert PLANTED not in str(raised.value)
    if raised.value.status_code == 429:
        assert float(raised.value.response.headers["retry-after"]) <= 7
    assert len(upstream.chats) == 1  # neither LiteLLM nor the gateway tried again behind the caller's back


@pytest.mark.parametrize("model", BOTH)
def test_a_refused_request_is_the_callers_400(client, model, upstream):
    upstream.script(Status(400))
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=model, messages=HI)


@pytest.mark.parametrize("model", BOTH)
def test_a_stream_that_breaks_off_ends_in_an_error(client, model, upstream):
    upstream.script(Reset(after_bytes=2000, answer=Answer(text="word " * 50, pieces=50)))
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model=model, messages=HI, stream=True))


def test_a_caller_who_hangs_up_frees_the_provider(client, gateway, cloud, background):
    cloud.script(Answer(text="word " * 400, pieces=400, delay=0.05))
    stream = client.chat.completions.create(model="litellm:small", messages=HI, stream=True)
    next(iter(stream))
    stream.close()
    background.run(cloud.wait_until(lambda upstream: upstream.abandoned == 1, timeout=10))


def test_what_litellm_knows_stands_on_the_cards(gateway):
    models = {model["id"]: model for model in gateway.ask("GET", "/v1/models").json["data"]}
    command = [sys.executable, "-m", "pointsman", "--url", gateway.url, "models", "--json"]
    listed = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    rows = {row["id"]: row for row in json.loads(listed)["models"]}
    small, opus = rows["litellm:small"], rows["litellm:opus"]
    assert (small["context_window"], small["max_output"]) == (128_000, 16_384)
    assert (small["price_input"], small["price_output"]) == (0.15, 0.6)
    assert {"tools", "vision", "json_schema"} <= set(small["capabilities"])
    assert opus["context_window"] == 1_000_000
    assert not small["local"]
    # A wildcard's models are there by name; what LiteLLM lists beside chat and embedding models is not.
    assert any(name.startswith("litellm:groq/") for name in models)
    assert not any("whisper" in name for name in models)


def test_private_content_stays(client, gateway, cloud):
    secret = [{"role": "user", "content": "My card is 4111 1111 1111 1111, is it valid?"}]
    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(model="litellm:small", messages=secret)
    assert raised.value.status_code in (400, 403)
    assert not cloud.chats


def test_its_files_are_private_and_its_environment_is_bare(gateway):
    folder = gateway.folder / "data" / "litellm"
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert PLANTED not in "".join(path.read_text(errors="replace") for path in folder.iterdir())
    assert PLANTED not in gateway.log_text
    environment = proxy_of(gateway).environ()
    assert environment["SOME_PROVIDERS_KEY"] == PLANTED
    assert environment["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    assert "ANOTHER_KEY" not in environment
    assert {c.laddr.ip for c in proxy_of(gateway).net_connections("tcp") if c.status == "LISTEN"} == {"127.0.0.1"}


def test_the_command_tells_of_it_and_leaves_it_alone(gateway):
    environ = {**os.environ, "POINTSMAN_DATA_DIR": str(gateway.folder / "data")}
    command = [sys.executable, "-m", "pointsman", "litellm"]
    told = json.loads(subprocess.run([*command, "--json"], env=environ, capture_output=True, check=True).stdout)
    assert (told["kept_by"], told["keeper"]) == ("the gateway", gateway.process.pid)
    assert told["offers"] == ["small", "opus", "groq/*"]
    refused = subprocess.run([*command, "down"], env=environ, capture_output=True, check=False)
    assert refused.returncode == 1
    assert b"kept by the gateway" in refused.stderr


def test_it_is_started_again_when_it_dies_and_dies_with_a_gateway_that_is_killed(gateway, client, cloud):
    first = proxy_of(gateway)
    first.kill()
    second = until(lambda: (found := proxy_of(gateway)) and found.pid != first.pid and found, seconds=STARTS)
    until(lambda: _answers(client, cloud), seconds=STARTS)
    assert not _running(first)
    gateway.process.send_signal(signal.SIGKILL)
    gateway.process.wait(10)
    until(lambda: not _running(second))


def _answers(client: openai.OpenAI, cloud) -> bool:
    cloud.reset()
    try:
        return bool(client.chat.completions.create(model="litellm:small", messages=HI).id)
    except openai.APIError:
        return False


def _running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _by_its_address(folder: Path) -> None:
    """A gateway that knows nothing of the data folder uses the proxy by address and key, as it would any other."""
    state = json.loads((folder / "data" / "litellm" / "state.json").read_text())
    settings = {"providers": {"ollama": {"enabled": False}}}
    for key, fine in ((state["key"], True), ("sk-wrong", False)):
        environ = {"LITELLM_URL": state["base_url"], "LITELLM_MASTER_KEY": key}
        with running(folder / f"by-address-{fine}", settings, env=environ) as gateway:
            if fine:
                until(
                    lambda: any(name.startswith("litellm:cohere_chat/command") for name in ids(gateway)), seconds=STARTS
                )
            else:
                health = gateway.ask("GET", "/api/v1/health").json["providers"]["litellm"]
                assert "refuses the key" in health["detail"]


def test_the_command_runs_one_without_a_gateway(tmp_path: Path, cloud_server):
    environ = {
        **{name: value for name, value in os.environ.items() if not name.endswith("_KEY")},
        "POINTSMAN_DATA_DIR": str(tmp_path / "data"),
        "POINTSMAN_CACHE_DIR": str(installed()),
        "COHERE_API_KEY": PLANTED,
    }

    def pointsman(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pointsman", "litellm", *words]
        return subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)

    up = pointsman("up")
    try:
        assert up.returncode == 0, up.stderr
        assert "cohere_chat/*" in up.stdout
        told = json.loads(pointsman("--json").stdout)
        assert told["kept_by"] == "pointsman litellm up"
        again = pointsman("up")
        assert (again.returncode, "kept running here" in again.stderr) == (1, True)
        settings = {"data_dir": environ["POINTSMAN_DATA_DIR"], "providers": {"ollama": {"enabled": False}}}
        with running(tmp_path / "gateway", settings) as gateway:
            until(lambda: any(name.startswith("litellm:cohere_chat/command") for name in ids(gateway)), seconds=STARTS)
        _by_its_address(tmp_path)
    finally:
        down = pointsman("down")
    assert down.stdout == "LiteLLM is stopped.\n", down.stderr
    assert not psutil.pid_exists(told["pid"]) or not _running(psutil.Process(told["pid"]))
    assert pointsman("down").stdout == "No LiteLLM runs here.\n"
