"""A gateway in front of pools: two Ollamas under one name, and two servers that speak OpenAI's chat."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pointsman.testing import Answer, Pulling, ScriptedUpstream
from pointsman.testing.answers import SeenRequest, Wire
from waiting import until

from .running import Background, Gateway, running

ADMIN, MEMBER = "pm-key-of-an-admin-0123456789abcdef", "pm-key-of-a-member-0123456789abcdef"
SHOWN = {"model_info": {"l.context_length": 8192}, "capabilities": ["completion"]}
CARD = "4539 5787 6362 1486"


@pytest.fixture(scope="module")
def servers(background: Background) -> Iterator[list[ScriptedUpstream]]:
    found = []
    for letter in "ab":
        server = ScriptedUpstream(default=Answer(text=letter), models=("m:1b",))
        server.shows = {"m:1b": SHOWN, "fresh:1b": SHOWN}
        server.loaded = [{"name": "m:1b", "model": "m:1b"}]
        background.run(server.__aenter__())
        found.append(server)
    yield found
    for server in found:
        background.run(server.refuse())


@pytest.fixture(scope="module")
def gateway(servers, tmp_path_factory) -> Iterator[Gateway]:
    tree: dict[str, Any] = {
        "providers": {
            "ollama": {"instances": [servers[0].root, {"url": servers[1].root, "slots": 2}], "local": True},
            "gpus": {"instances": [server.base_url for server in servers], "models": ["m:1b"]},
        },
        "server": {"admin_keys": [ADMIN], "api_keys": [MEMBER]},
        "limits": {"first_byte_timeout": 10.0, "between_bytes_timeout": 10.0, "connect_timeout": 2.0},
    }
    with running(tmp_path_factory.mktemp("pools"), tree) as gateway:
        gateway.headers = {"authorization": f"Bearer {ADMIN}"}
        yield gateway


@pytest.fixture(autouse=True)
def _fresh(servers) -> None:
    for server, letter in zip(servers, "ab", strict=True):
        server.reset()
        server.pages.clear()
        server.default = Answer(text=letter)


class Traffic:
    """Four callers who ask one question after another until they are stopped, every other one streamed."""

    def __init__(self, gateway: Gateway) -> None:
        self.bad: list[tuple[int, bytes]] = []
        self.good = 0
        self._gateway = gateway
        self._over = threading.Event()
        self._callers = [threading.Thread(target=self._ask, args=(number,)) for number in range(4)]

    def _ask(self, caller: int) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            reply = self._gateway.chat(f"{caller}, {number}", model="ollama:m:1b", stream=number % 2 == 0)
            whole = reply.status == 200 and (number % 2 or b"data: [DONE]" in reply.body)
            if whole and b'"error"' not in reply.body:
                self.good += 1
            else:
                self.bad.append((reply.status, reply.body))

    def __enter__(self) -> Traffic:
        for caller in self._callers:
            caller.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for caller in self._callers:
            caller.join(30)


class AtOnce:
    """An answer that takes a while to begin and then comes in one piece, streamed or not: no part of it goes out before
    its server dies, so that no caller may notice."""

    def __init__(self) -> None:
        self.status, self.headers, self.data = 0, {}, b""

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await asyncio.sleep(0.02)
        held = AtOnce()
        await Answer(text="x").play(request, held)
        await wire.head(held.status, held.headers, length=len(held.data))
        await wire.body(held.data)

    async def head(self, status: int, headers: dict[str, str], *, length: int | None) -> None:
        self.status, self.headers = status, headers

    async def body(self, data: bytes) -> None:
        self.data += data

    async def end(self) -> None: ...


def test_a_server_dies_and_comes_back_in_the_midst_of_traffic(servers, gateway, background):
    first, second = servers
    for server in servers:
        server.default = AtOnce()
    with Traffic(gateway) as traffic:
        until(lambda: len(first.chats) > 5 and len(second.chats) > 5)
        background.run(first.refuse())
        died, answered = len(first.chats), traffic.good
        until(lambda: traffic.good > answered + 20)
        assert len(first.chats) == died
        background.run(first.listen())
        until(lambda: len(first.chats) > died + 5)
    assert not traffic.bad
    assert f"{first.root} is away" in gateway.log_text
    assert f"{first.root} is back" in gateway.log_text


def test_what_is_told_of_instances(servers, gateway, background):
    first, second = servers
    until(lambda: gateway.ask("GET", "/api/v1/health").json["status"] == "ok")
    told = gateway.ask("GET", "/api/v1/health").json["providers"]["ollama"]
    assert told["detail"] == "2 of 2 instances answer."
    wanted = {"connected": True, "reason": "", "models": 1, "loaded": ["m:1b"], "in_flight": 0, "others": 0}
    assert told["instances"] == [
        {"url": first.root, "slots": 1, **wanted},
        {"url": second.root, "slots": 2, **wanted},
    ]
    member = gateway.ask("GET", "/api/v1/health", headers={"authorization": f"Bearer {MEMBER}"}).json
    assert (member["providers"]["ollama"]["instances"], first.root in json.dumps(member)) == (None, False)
    background.run(second.refuse())
    health = gateway.ask("GET", "/api/v1/health").json
    assert (health["status"], health["providers"]["ollama"]["connected"]) == ("degraded", True)
    assert [one["connected"] for one in health["providers"]["ollama"]["instances"]] == [True, False]
    told = gateway.ask("GET", "/metrics").body.decode()
    found = {
        (sample.name, sample.labels["provider"], sample.labels["instance"]): sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
        if "instance" in sample.labels
    }
    assert found["pointsman_instance_up", "ollama", first.root] == 1
    assert found["pointsman_instance_up", "ollama", second.root] == 0
    assert found["pointsman_instance_in_flight", "ollama", first.root] == 0
    assert len(found) == 8
    background.run(second.listen())
    until(lambda: gateway.ask("GET", "/api/v1/health").json["status"] == "ok")


def test_private_content_stays_in_the_pool_that_may_have_it(servers, gateway):
    private = f"My card is {CARD}, is it valid?"
    assert gateway.chat(private, model="auto").headers["x-pointsman-provider"] == "ollama"
    assert gateway.chat(private, model="gpus:m:1b").status == 403
    seen = [request for server in servers for request in server.chats]
    assert {request.path for request in seen if CARD.encode() in request.body} == {"/api/chat"}


def events(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: ")]


def test_a_model_is_ensured(servers, gateway):
    path = "/api/v1/models/ensure"
    there = gateway.ask("POST", path, {"model": "m:1b", "provider": "ollama", "stream": False}).json
    assert (there["model"], there["pulled"], there["instance"]) == ("ollama:m:1b", False, servers[0].root)
    assert gateway.ask("POST", path, {"model": "gpus:m:1b", "stream": False}).json["pulled"] is False
    assert gateway.chat(model="ollama:fresh:1b").status == 404
    for server in servers:
        server.pages["/api/pull"] = _Fetching(server)
    told = events(gateway.ask("POST", path, {"model": "ollama:fresh:1b"}).body)
    assert [event["completed"] for event in told if event.get("completed")] == [500, 1000]
    last = told[-1]
    assert (last["status"], last["model"], last["pulled"]) == ("success", "ollama:fresh:1b", True)
    [pulling] = [server for server in servers if "fresh:1b" in server.models]
    assert last["instance"] == pulling.root
    assert gateway.chat(model="ollama:fresh:1b").status == 200
    again = gateway.ask("POST", path, {"model": "ollama:fresh:1b", "stream": False}).json
    assert (again["pulled"], again["instance"]) == (False, pulling.root)
    assert sum(request.path == "/api/pull" for server in servers for request in server.requests) == 1
    kept = gateway.ask("GET", "/api/v1/models/ollama").json["data"]
    assert sorted(model["id"] for model in kept) == ["ollama:fresh:1b", "ollama:m:1b"]
    pulling.models = ("m:1b",)


def test_what_cannot_be_ensured(servers, gateway):
    path = "/api/v1/models/ensure"
    lacking = gateway.ask("POST", path, {"model": "gpus:big"})
    assert (lacking.status, lacking.json["error"]["details"]["reason"]) == (400, "cannot_fetch")
    assert "it cannot fetch models" in lacking.json["error"]["message"]
    assert gateway.ask("POST", path, {"model": "m", "provider": "nobody"}).status == 404
    for body in ({}, {"model": ""}, {"model": "a\nb"}, {"model": "x" * 300}, {"model": "m", "provider": 3}, b"[]"):
        assert gateway.ask("POST", path, body).status == 400, body
    refused = gateway.ask("POST", path, {"model": "x"}, headers={"authorization": f"Bearer {MEMBER}"})
    assert refused.status == 403
    for server in servers:
        server.pages["/api/pull"] = Pulling(error="pull model manifest: file does not exist")
    assert gateway.ask("POST", path, {"model": "ollama:nothing:1b", "stream": False}).status == 404


class _Fetching:
    """A pull at whose end the server has the model."""

    def __init__(self, server: ScriptedUpstream) -> None:
        self._server = server

    async def play(self, request, wire) -> None:
        self._server.models = (*self._server.models, request.json["model"])
        await Pulling(steps=2).play(request, wire)


def test_servers_join_and_leave_a_running_gateway(servers, background, tmp_path):
    first, second = servers
    file = tmp_path / "providers.yaml"

    def say(*urls: str, local: bool) -> None:
        farm = {"name": "farm", "type": "ollama-compatible", "instances": [*urls], "local": local}
        file.write_text(yaml.safe_dump({"providers": [farm]}))

    def standing() -> list[str]:
        farm = gateway.ask("GET", "/api/v1/health").json["providers"].get("farm", {})
        return [one["url"] for one in farm.get("instances") or ()]

    say(first.root, local=True)
    with running(tmp_path / "gateway", {"providers_file": str(file)}) as gateway:
        until(lambda: standing() == [first.root])
        say(first.root, second.root, local=True)
        until(lambda: standing() == [first.root, second.root])
        assert gateway.chat(f"My card is {CARD}.", model="auto").status == 200
        answers = {gateway.chat(f"{number}", model="farm:m:1b").json["choices"][0]["message"]["content"]
                   for number in range(4)}  # fmt: skip
        assert answers == {"a", "b"}
        say(second.root, first.root, local=False)
        until(lambda: standing() == [second.root, first.root])
        until(lambda: gateway.ask("GET", "/v1/models/farm:m:1b").status == 200)  # what it has is asked anew
        assert gateway.chat(f"My card is {CARD}.", model="farm:m:1b").status == 403
        say(second.root, local=False)
        until(lambda: standing() == [second.root])
        first.reset()
        for number in range(3):
            assert gateway.chat(f"{number}", model="farm:m:1b").status == 200
        assert not first.chats
