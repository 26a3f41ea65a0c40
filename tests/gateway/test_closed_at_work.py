"""An upstream that reads a request, works on it and closes the connection without a word: it may be billed, it is asked
again by retries alone, and nobody else is kept from it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from pointsman.testing import Answer, HangUp, ScriptedUpstream, Status
from pointsman.testing.answers import SeenRequest, Wire
from waiting import until

from .running import Background, Gateway, running

POISON = "what the reader dies of"
PAID, NEIGHBOUR = "openai:paid", "openai:neighbour"
OUTPUT = 1_000
EACH = 10_000
"""Millionths of a dollar: the worst case of a call."""
RETRIES = 1
POOL = 3


@dataclass(frozen=True)
class Dies:
    """Of one request, after a while at work; it answers all others."""

    by: Literal["reset", "hang_up"] = "hang_up"

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        if POISON.encode() not in request.body:
            await Answer(text="fine").play(request, wire)
            return
        await asyncio.sleep(0.3)
        getattr(wire, self.by)()


@pytest.fixture(scope="module")
def farm(background: Background) -> Iterator[list[ScriptedUpstream]]:
    servers = [ScriptedUpstream(default=Dies(), models=("m",)) for _ in range(POOL)]
    for server in servers:
        background.run(server.__aenter__())
    yield servers
    for server in servers:
        background.run(server.refuse())


@pytest.fixture(scope="module")
def gateway(cloud_server, farm, tmp_path_factory) -> Iterator[Gateway]:
    prices = {"input": 0, "output": 10}
    tree: dict[str, Any] = {
        "providers": {
            "openai": {
                "base_url": cloud_server.base_url, "api_key": "k", "models": ["paid", "neighbour"],
                "prices": {"paid": prices, "neighbour": prices},
            },
            "farm": {"instances": [server.base_url for server in farm], "local": True, "models": ["m"]},
            "ollama": {"enabled": False},
        },
        "budgets": {"monthly": 100},
        "execution": {"retries": RETRIES},
    }  # fmt: skip
    with running(tmp_path_factory.mktemp("closed"), tree) as gateway:
        yield gateway


def ask(gateway: Gateway, content: str, model: str):
    return gateway.chat(content, model=model, max_tokens=OUTPUT)


def charged(gateway: Gateway) -> int:
    def settled() -> dict[str, int] | None:
        [row] = gateway.ask("GET", "/api/v1/budgets").json["budgets"]
        return row if row["reserved_micro_usd"] == 0 else None

    return until(settled)["used_micro_usd"]


def circuits(gateway: Gateway) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gateway.ask("GET", "/api/v1/health").json["circuits"]
    return found


@pytest.mark.parametrize("by", ["reset", "hang_up"])
def test_every_sending_is_an_attempt_that_may_be_billed_and_others_are_answered_meanwhile(gateway, cloud, by):
    cloud.default = Dies(by)
    for model in (PAID, NEIGHBOUR):
        assert ask(gateway, "hello", model).status == 200  # and its connection is idle now
    before, asked = charged(gateway), len(cloud.chats)
    reply = ask(gateway, POISON, PAID)
    assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_broken")
    attempts = gateway.decision(reply)["outcome"]["attempts"]
    assert [one["status"] for one in attempts] == ["error"] * (1 + RETRIES)
    assert len(cloud.chats) - asked == len(attempts)
    assert charged(gateway) - before == len(attempts) * EACH
    for model in (NEIGHBOUR, PAID):
        assert ask(gateway, "hello", model).status == 200
    assert circuits(gateway) == []


def test_a_pool_s_servers_are_attempts_too_and_stay_in_it(gateway, farm):
    for number in range(2 * POOL):
        assert ask(gateway, f"hello {number}", "farm:m").status == 200
    reply = ask(gateway, POISON, "farm:m")
    assert reply.status == 502
    assert len(gateway.decision(reply)["outcome"]["attempts"]) == 1 + RETRIES
    reached = [sum(POISON.encode() in request.body for request in server.requests) for server in farm]
    assert sorted(reached) == [0] * (POOL - 1 - RETRIES) + [1] * (1 + RETRIES)
    for number in range(POOL):
        assert ask(gateway, f"hello again {number}", "farm:m").status == 200
    assert circuits(gateway) == []
    assert "is away: 127.0.0.1:" not in gateway.log_text


def test_what_is_sent_twice_on_its_way_is_one_attempt_that_says_so(gateway, cloud):
    """A machine that is slow for a moment takes the closing for one at work: then it is another attempt, and so tried
    again."""

    def sent_twice() -> bool:
        cloud.reset()
        cloud.script(Answer(text="first"), HangUp(), Answer(text="second"))
        first = gateway.decision(ask(gateway, "hello", PAID))["outcome"]
        reply = ask(gateway, "hello", PAID)
        assert (reply.status, len(cloud.chats)) == (200, 3)
        assert [one["resent"] for one in first["attempts"]] == [False]
        attempts = gateway.decision(reply)["outcome"]["attempts"]
        assert [one["resent"] for one in attempts] in ([True], [False, False])
        return len(attempts) == 1

    until(sent_twice)


def test_a_month_s_wait_is_told_as_no_longer_than_it_is_believed(gateway, cloud):
    cloud.script(Status(429, retry_after=30 * 86_400))
    assert int(ask(gateway, "hello", PAID).headers["retry-after"]) in range(290, 301)
