"""A pool whose servers' slots are known: nobody is asked for more than they give while another has room."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pointsman.testing import Answer, ScriptedUpstream, Stall
from pointsman.testing.answers import SeenRequest, Wire
from waiting import until

from .running import Background, Gateway, running

SHOWN = {"model_info": {"l.context_length": 8192}, "capabilities": ["completion"]}
HELD = [{"name": "m:1b", "model": "m:1b"}]


class Counting:
    """Answers, and counts how many it gives at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await Answer(text="quick", first_delay=0.2).play(request, wire)
        finally:
            self.now -= 1


@pytest.fixture
def servers(background: Background) -> Iterator[list[ScriptedUpstream]]:
    found = []
    for _ in range(2):
        server = ScriptedUpstream(models=("m:1b",))
        server.shows = {"m:1b": SHOWN}
        background.run(server.__aenter__())
        found.append(server)
    yield found
    for server in found:
        background.run(server.refuse())


def pooled(servers: list[ScriptedUpstream], folder: Path, *, slots: int):
    instances = [{"url": server.root, "slots": slots} for server in servers]
    tree = {"providers": {"ollama": {"instances": instances, "local": True, "queue": 50, "queue_seconds": 60}}}
    return running(folder, tree)


def ask(gateway: Gateway, word: str) -> int:
    return gateway.chat(word, model="ollama:m:1b").status


@pytest.mark.parametrize("told", ["many conversations, in memory at one", "one conversation, in memory at both"])
def test_no_server_is_asked_for_more_than_its_slots(servers: list[ScriptedUpstream], tmp_path: Path, told: str):
    same = told.startswith("one")
    counters = [Counting() for _ in servers]
    for server, counter in zip(servers, counters, strict=True):
        server.default = counter
        server.loaded = HELD if same or server is servers[0] else []
    with pooled(servers, tmp_path, slots=2) as gateway, ThreadPoolExecutor(12) as callers:
        assert ask(gateway, "hi") == 200
        words = ["hi" if same else f"hi {number}" for number in range(12)]
        assert set(callers.map(lambda word: ask(gateway, word), words)) == {200}
    assert [counter.most for counter in counters] == [2, 2]
    assert min(len(server.chats) for server in servers) >= 3


def test_a_server_that_is_back_takes_whoever_waits(
    servers: list[ScriptedUpstream], tmp_path: Path, background: Background
):
    busy, away = servers
    busy.default, away.default = Stall(), Answer(text="back")
    background.run(away.refuse())
    with pooled(servers, tmp_path, slots=1) as gateway, ThreadPoolExecutor(2) as callers:
        first = callers.submit(gateway.chat, "long", model="ollama:m:1b", headers={"x-pointsman-timeout": "20"})
        until(lambda: busy.chats)
        second = callers.submit(gateway.chat, "waits", model="ollama:m:1b")
        until(lambda: b'pointsman_queue_waiting{engine="ollama"} 1' in gateway.ask("GET", "/metrics").body)
        background.run(away.listen())
        reply = second.result(30)
        assert (reply.status, reply.json["choices"][0]["message"]["content"]) == (200, "back")
        assert not first.done()
        background.run(busy.refuse())
        first.result(30)
