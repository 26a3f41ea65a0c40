"""What a caller may not learn, look up or hold up, by the ways in beside OpenAI's chat."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pointsman.testing.upstream import ScriptedUpstream

from .running import Gateway, running

MINE = "openai:gpt-4o-mini"
HI = {"role": "user", "content": "hi"}


@pytest.fixture(scope="module")
def cloud(background) -> Iterator[ScriptedUpstream]:
    server = ScriptedUpstream()
    background.run(server.__aenter__())
    try:
        yield server
    finally:
        background.run(server.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, cloud) -> Iterator[Gateway]:
    keyed = {"base_url": cloud.base_url, "api_key": "sk-x"}
    tree = {
        "providers": {
            "openai": {**keyed, "models": ["gpt-4o-mini", "gpt-3.5-turbo-instruct"]},
            "codex": {**keyed, "models": ["gpt-5-codex"], "responses": True},
            "lan": {"base_url": cloud.base_url, "models": ["hidden:latest", "unknown"]},
        },
    }
    with running(tmp_path_factory.mktemp("held"), tree) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def confined(gateway) -> dict[str, str]:
    made = gateway.ask("POST", "/api/v1/keys", {"name": "owner", "role": "admin"})
    assert made.status == 201, made.body
    gateway.headers["authorization"] = f"Bearer {made.json['token']}"
    made = gateway.ask("POST", "/api/v1/keys", {"name": "one", "models": [MINE]})
    assert made.status == 201, made.body
    return {"authorization": f"Bearer {made.json['token']}"}


def held_up(gateway: Gateway, path: str, body: Any) -> tuple[int, float]:
    """The status, and how long others waited at most meanwhile, in seconds."""
    longest, over = 0.0, threading.Event()

    def knock() -> None:
        nonlocal longest
        while not over.is_set():
            asked = time.monotonic()
            gateway.ask("GET", "/api/health", timeout=100)
            longest = max(longest, time.monotonic() - asked)
            time.sleep(0.01)

    knocking = threading.Thread(target=knock)
    knocking.start()
    try:
        status = gateway.ask("POST", path, body, timeout=100).status
    finally:
        over.set()
        knocking.join()
    return status, longest


CALLED = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
FUNCTIONS = [{"type": "function", "name": f"f{number}"} for number in range(20_000)]
FOUND = {"type": "tool_search_output", "call_id": "a", "tools": []}
ASKED = {"role": "assistant", "tool_calls": [{"function": {"name": "a"}}] * 20_000}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", {"messages": [ASKED, *[{"role": "tool", "tool_name": "b", "content": ""}] * 20_000]}),
        ("/v1/responses", {"input": [CALLED, *[{"role": "assistant", "content": "x"}] * 60_000], "store": False}),
        ("/v1/responses", {"input": [HI, *[FOUND] * 20_000], "tools": FUNCTIONS, "store": False}),
    ],
    ids=["results of no call", "answers behind a call", "searches among many tools"],
)
def test_two_megabytes_hold_nobody_up(gateway, confined, path, body):
    """They took half a minute each where a translator compared everything with everything."""
    status, longest = held_up(gateway, path, {"model": "lan:unknown", **body})
    assert status in (200, 400)
    assert longest < 4  # on a machine that does much else


@pytest.mark.parametrize("stands", [True, False])
def test_a_confined_key_cannot_tell_whether_another_model_is_there(gateway, confined, stands):
    """Of a model that is there and one that is not, the same is said, apart from the name that was sent."""
    completes = "gpt-3.5-turbo-instruct" if stands else "gpt-3.5-turbo-instrukt"
    reply = gateway.ask("POST", "/v1/completions", {"model": completes, "prompt": ["a", "b"]}, headers=confined)
    assert (reply.status, reply.json["error"]["param"]) == (400, "prompt")
    name = "hidden:latest" if stands else "hiddem:latest"
    for path in ("/api/chat", "/api/show"):
        reply = gateway.ask("POST", path, {"model": name, "messages": [HI]}, headers=confined)
        assert reply.status in (403, 404)
        assert b":latest" not in reply.body
    body = {"model": "gpt-5-codex" if stands else "gpt-5-kodex", "input": "hi", "tools": [{"type": "web_search"}]}
    reply = gateway.ask("POST", "/v1/responses", body, headers=confined)
    assert (reply.status, reply.json["error"]["code"]) == (400, "unsupported_tool")


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "prompt", "background", "input"])
def test_a_chat_has_an_upstream_look_nothing_up(gateway, confined, cloud, field):
    """A model that speaks Responses alone is asked in them, and chat has no such fields."""
    cloud.requests.clear()
    asked = {"model": "codex:gpt-5-codex", "messages": [HI], field: "resp_of_somebody_else"}
    assert gateway.ask("POST", "/v1/chat/completions", asked).status == 400
    assert cloud.chats == []


def test_an_item_with_an_id_that_is_no_text_can_be_continued_from(gateway, confined):
    item = {"type": "message", "role": "user", "content": "hi", "id": ["odd"]}
    first = gateway.ask("POST", "/v1/responses", {"model": MINE, "input": [item]})
    assert first.status == 200, first.body
    again = {"model": MINE, "input": "go on", "previous_response_id": first.json["id"]}
    assert gateway.ask("POST", "/v1/responses", again).status == 200


def test_results_belong_to_the_earliest_call_that_fits(gateway, confined, cloud):
    cloud.requests.clear()
    calls = [{"id": f"c{number}", "function": {"name": name}} for number, name in enumerate("abab")]
    told: list[dict[str, str]] = [
        {"tool_name": "b"},
        {"tool_call_id": "c0"},
        {},
        {"tool_name": "b"},
        {"tool_name": "b"},
    ]
    results = [{"role": "tool", "content": "x", **each} for each in told]
    body = {"model": MINE, "messages": [HI, {"role": "assistant", "tool_calls": calls}, *results], "stream": False}
    gateway.ask("POST", "/api/chat", body)
    sent = [message["tool_call_id"] for message in cloud.chats[0].json["messages"] if message["role"] == "tool"]
    assert sent == ["c1", "c0", "c2", "c3", "call_6"]


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/messages", "/v1/messages/count_tokens", "/v1/responses", "/v1/completions", "/v1/embeddings"),
        *("/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show", "/api/pull"),
        *("/api/v1/chat/completions", "/api/v1/models/ollama/pull", "/api/v1/models/ensure", "/api/v1/config"),
    ],
)
def test_pages_of_other_sites_cannot_ask(gateway, confined, cloud, path):
    """Neither by what a form can send without a preflight, nor by a name that was bent to this machine."""
    cloud.requests.clear()
    body = b'{"model": "openai:gpt-4o-mini", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}'
    json = {"content-type": "application/json"}
    form = {"origin": gateway.url}  # browsers say where every POST comes from
    for foreign in (
        {**form, "content-type": "text/plain"},
        {**form, "content-type": "application/x-www-form-urlencoded"},
        {**form, "content-type": "text/plain; a=application/json"},
        {**json, "origin": "http://evil.example"},
        {**json, "origin": "null"},
        {**json, "sec-fetch-site": "cross-site"},
        {**json, "host": "evil.example"},
    ):
        assert gateway.ask("POST", path, body, headers=foreign).status in (400, 403), foreign
    assert cloud.chats == []
