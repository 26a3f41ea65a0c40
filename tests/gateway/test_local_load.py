"""A queue before a server that gives two answers at once: whose turn it is, who is refused, what is told of it.

The server answers when the test lets it, so that nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pointsman.testing import Answer, ScriptedUpstream
from pointsman.testing.answers import SeenRequest, Wire
from waiting import until

from .dialects_in import DIALECTS
from .running import Background, Gateway, Reply, running

ADMIN, FLOOD, OTHER = (f"pm-key-of-{who}-0123456789abcdef" for who in ("an-admin", "the-flood", "another"))
MODEL, SLOTS, QUEUE = "gpu:m", 2, 6
CHATS = [name for name, one in DIALECTS.items() if one.kind == "chat" and one.path != "/v1/completions"]


class Held:
    """Answers one request for each `let`, in the order in which they came."""

    def __init__(self, background: Background) -> None:
        self.begun: list[str] = []
        """What was asked, in the order in which it came."""
        self._background = background
        self._may = asyncio.Semaphore(0)

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        self.begun.append(request.json["messages"][-1]["content"])
        await self._may.acquire()
        await Answer(text="done").play(request, wire)

    def let(self, count: int = 1) -> None:
        async def release() -> None:
            for _ in range(count):
                self._may.release()

        self._background.run(release())


class Load:
    """Requests under way, each on a thread of its own."""

    def __init__(self, gateway: Gateway, held: Held) -> None:
        self.gateway = gateway
        self.held = held
        self.replies: dict[str, Reply] = {}
        self._threads: list[threading.Thread] = []
        self._asked = 0

    def ask(self, key: str, word: str, **fields: Any) -> None:
        def work() -> None:
            headers = {"authorization": f"Bearer {key}"}
            self.replies[word] = self.gateway.chat(word, headers=headers, model=MODEL, **fields)

        thread = threading.Thread(target=work)
        thread.start()
        self._threads.append(thread)
        self._asked += 1
        until(lambda: self.running + self.waiting + len(self.replies) >= self._asked)

    def flood(self, count: int = SLOTS + QUEUE) -> None:
        for number in range(count):
            self.ask(FLOOD, f"flood {number}")

    @property
    def waiting(self) -> int:
        return int(metric(self.gateway, "pointsman_queue_waiting")["gpu"])

    @property
    def running(self) -> int:
        return int(metric(self.gateway, "pointsman_queue_running")["gpu"])

    def end(self) -> None:
        self.held.let(1000)
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()
        until(lambda: self.running == 0)
        assert self.waiting == 0


def metric(gateway: Gateway, name: str) -> dict[str, float]:
    """Values of the labels, in the order of their names → the metric's value."""
    text = gateway.ask("GET", "/metrics").body.decode()
    return {
        " ".join(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


@pytest.fixture(scope="module")
def gateway(lan_server, cloud_server, tmp_path_factory) -> Iterator[Gateway]:
    tree: dict[str, Any] = {
        "providers": {
            "gpu": {
                "base_url": lan_server.base_url,
                "local": True,
                "models": [{"name": "m", "quality": 0.9}],
                "slots": SLOTS,
                "queue": QUEUE,
            },
            "openai": {"base_url": cloud_server.base_url, "api_key": "sk-planted", "models": ["gpt-4o-mini"]},
            "farm": {
                "instances": [{"url": cloud_server.base_url, "slots": 3}, lan_server.base_url],
                "models": ["m"],
                "slots": 2,
            },
            "ollama": {"enabled": False},
        },
        "server": {"admin_keys": [ADMIN], "api_keys": [FLOOD, OTHER]},
        "routing": {"fallbacks": {"gpu:m": ["openai:gpt-4o-mini"]}},
        "limits": {"first_byte_timeout": 60.0},
    }
    with running(tmp_path_factory.mktemp("load"), tree) as gateway:
        gateway.headers = {"authorization": f"Bearer {ADMIN}"}
        yield gateway


@pytest.fixture
def load(gateway: Gateway, lan: ScriptedUpstream, cloud: ScriptedUpstream, background: Background) -> Iterator[Load]:
    usual = lan.default
    lan.default = held = Held(background)
    load = Load(gateway, held)
    yield load
    load.end()
    lan.default = usual


@pytest.fixture
def alone(gateway: Gateway) -> Iterator[None]:
    """Nobody stands in for the model."""
    assert gateway.ask("POST", "/api/v1/config", {"routing": {"fallbacks": {}}}).status == 200
    yield
    assert gateway.ask("DELETE", "/api/v1/config").status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_key_that_asks_little_is_served_before_the_flood_of_another(load, stream):
    load.flood(7)
    load.ask(OTHER, "please", stream=stream)
    assert load.held.begun == ["flood 0", "flood 1"]
    load.held.let()
    until(lambda: len(load.held.begun) == 3)
    assert load.held.begun[2] == "please"
    load.held.let(7)
    until(lambda: len(load.replies) == 8)
    assert all(reply.status == 200 for reply in load.replies.values())
    record = load.gateway.decision(load.replies["please"])
    [attempt] = record["outcome"]["attempts"]
    assert 0 < attempt["queue_seconds"] <= attempt["seconds"]
    assert attempt["queue_seconds"] <= attempt["first_byte_seconds"]
    seen = metric(load.gateway, "pointsman_queue_seconds_count")
    assert seen[f"{MODEL} gpu"] >= 8


def test_a_full_queue_gives_the_last_place_of_who_has_most_to_who_has_less(load, alone):
    load.flood()
    load.ask(OTHER, "please")
    until(lambda: "flood 7" in load.replies)
    refused = load.replies["flood 7"]
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert metric(load.gateway, "pointsman_queue_refused_total")["gpu displaced"] >= 1
    load.held.let()
    until(lambda: "please" in load.held.begun)


def test_a_full_queue_is_told_in_every_dialect(load, alone):
    load.flood()
    for name in CHATS:
        dialect = DIALECTS[name]
        for stream in dialect.streams:
            body = dialect.asked(MODEL, "one more", stream=stream)
            refused = load.gateway.ask("POST", dialect.path, body, headers={"authorization": f"Bearer {FLOOD}"})
            assert refused.status == (529 if name == "messages" else 503), name
            assert int(refused.headers["retry-after"]) in range(1, 121)
            assert "2 answers are being written and 6 requests wait" in dialect.error(refused.json)
    assert load.held.begun == ["flood 0", "flood 1"]


def test_where_the_queue_is_full_the_plan_s_next_model_answers(load, cloud):
    load.flood()
    reply = load.gateway.chat("hi", model=MODEL, headers={"authorization": f"Bearer {FLOOD}"})
    assert reply.status == 200
    assert reply.headers["x-pointsman-model"] == "openai:gpt-4o-mini"
    attempts = load.gateway.decision(reply)["outcome"]["attempts"]
    assert [(one["model"], one["status"]) for one in attempts] == [(MODEL, "refused"), ("openai:gpt-4o-mini", "ok")]
    assert attempts[0]["error"].startswith("overloaded: ")


def test_who_cannot_be_answered_in_time_is_refused_at_once(load, alone):
    load.flood(5)
    time.sleep(1.0)  # what runs for so long is taken to run for as long again
    headers = {"authorization": f"Bearer {FLOOD}", "x-pointsman-timeout": "0.9"}
    reply = load.gateway.chat("hi", model=MODEL, headers=headers)
    assert reply.status == 503
    assert reply.json["error"]["message"].endswith("until this is begun, and 1 s may be waited.")
    assert int(reply.headers["retry-after"]) >= 1
    assert load.waiting == 3


def test_who_hangs_up_in_the_queue_makes_room(load):
    load.flood(3)
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "left"}]})
    connection = http.client.HTTPConnection("127.0.0.1", load.gateway.port)
    headers = {"authorization": f"Bearer {OTHER}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    until(lambda: load.waiting == 2)
    assert connection.sock is not None
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    until(lambda: load.waiting == 1)
    load.held.let(3)
    until(lambda: len(load.replies) == 3)
    assert load.held.begun == ["flood 0", "flood 1", "flood 2"]


def test_the_wait_counts_when_a_model_is_chosen(load):
    body = {"model": "auto", "messages": [{"role": "user", "content": "What is the capital of France?"}]}

    def candidate() -> dict[str, float]:
        reply = load.gateway.ask("POST", "/api/v1/route", body)
        assert reply.status == 200, reply.body
        [found] = [one for one in reply.json["candidates"] if one["model"] == MODEL]
        return found

    before = candidate()
    assert before["queue_seconds"] == 0
    load.flood(6)
    now = candidate()
    assert now["queue_seconds"] > 0
    assert now["latency_seconds"] == pytest.approx(before["latency_seconds"] + now["queue_seconds"], rel=0.01)


def test_a_pool_has_the_slots_of_its_servers(load):
    assert metric(load.gateway, "pointsman_queue_slots") == {"gpu": SLOTS, "farm": 5}


def test_slots_change_while_requests_wait(tmp_path, lan, background):
    def write(**fields: Any) -> None:
        gpu = {"name": "gpu", "base_url": lan.base_url, "models": ["m"], **fields}
        (tmp_path / "providers.new").write_text(yaml.safe_dump({"providers": [gpu]}))
        (tmp_path / "providers.new").replace(tmp_path / "providers.yaml")

    write(slots=1, queue=10)
    usual, lan.default = lan.default, Held(background)
    tree = {"providers": {"ollama": {"enabled": False}}, "server": {"admin_keys": [ADMIN], "api_keys": [FLOOD]}}
    with running(tmp_path, tree) as gateway:
        gateway.headers = {"authorization": f"Bearer {ADMIN}"}
        load = Load(gateway, lan.default)
        load.flood(6)
        assert (load.running, load.waiting) == (1, 5)
        write(slots=3, queue=10)
        until(lambda: load.running == 3)
        write()
        until(lambda: len(load.held.begun) == 6)
        assert metric(gateway, "pointsman_queue_waiting") == {}
        load.held.let(6)
        until(lambda: len(load.replies) == 6)
        assert all(reply.status == 200 for reply in load.replies.values())
    lan.default = usual
