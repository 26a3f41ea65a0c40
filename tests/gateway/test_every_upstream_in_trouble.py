"""Every fault of every kind of upstream, asked in every dialect: a typed error in the caller's words, a decision that
says how it ended, and nothing left open."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from pointsman.testing import ScriptedUpstream
from waiting import until

from .dialects_in import DIALECTS, Dialect, text_of, trouble_of
from .running import Gateway, running
from .upstreams_in_trouble import FAULTS, HELLO, SHOWS, STREAMS_ALONE, UPSTREAMS, ByWord, Upstream, providers

AT_ONCE = 12
OPENAI = ("openai", "gemini", "litellm")
RELAYS = {
    **dict.fromkeys(("/v1/chat/completions", "/api/v1/chat/completions", "/api/v1/chat/streaming"), OPENAI),
    "/api/v1/chat/hybrid": OPENAI,
    "/v1/completions": ("openai",),
    "/v1/messages": ("anthropic",),
}
"""Path → the kinds of upstream whose bytes pass through."""
PASSED_ON = frozenset(fault for fault in FAULTS if fault.startswith(("odd-", "usage-")))
INTERNAL = ("went wrong inside", "internal_error")


@pytest.fixture(scope="module")
def upstream(background) -> Iterator[ScriptedUpstream]:
    upstream = ScriptedUpstream(default=ByWord(), models=tuple(SHOWS))
    upstream.shows = SHOWS
    background.run(upstream.__aenter__())
    yield upstream
    background.run(upstream.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def gateway(upstream: ScriptedUpstream, tmp_path_factory) -> Iterator[Gateway]:
    tree = {
        "providers": providers(upstream.root),
        "limits": {"first_byte_timeout": 0.5, "between_bytes_timeout": 0.5, "connect_timeout": 2.0},
    }
    with running(tmp_path_factory.mktemp("troubled"), tree) as gateway:
        yield gateway


NO_FAULT = "nothing"
ASKED = {name: dialect for name, dialect in DIALECTS.items() if dialect.kind != "nothing"}
PAIRS = [
    pytest.param(dialect, upstream, id=f"{name}-{kind}")
    for name, dialect in ASKED.items()
    for kind, upstream in UPSTREAMS.items()
    if upstream.model(dialect.kind)
]


@pytest.mark.parametrize(("dialect", "kind"), PAIRS)
def test_every_fault(gateway: Gateway, dialect: Dialect, kind: Upstream):
    """All at once, so that those who wait wait together; whatever has no fault alone, for a machine that has so much to
    do at once may keep a good answer waiting for longer than is allowed."""
    model = kind.model(dialect.kind)
    cases = [(fault, stream) for fault in FAULTS for stream in dialect.streams if stream or fault not in STREAMS_ALONE]

    def one(case: tuple[str, bool]) -> str | None:
        fault, stream = case
        body = dialect.asked(model, f"fault={fault}", stream=stream)
        reply = gateway.ask("POST", dialect.path, body)
        try:
            _judge(gateway, dialect, fault, stream, reply)
        except Exception as error:
            told = f"{type(error).__name__} {str(error)[:160]!r} {reply.status} {reply.body[-160:]!r}"
            return f"{fault}, stream={stream}: {told}"
        return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = [*pool.map(one, [case for case in cases if case[0] != NO_FAULT])]
    told += [one(case) for case in cases if case[0] == NO_FAULT]
    wrong = [each for each in told if each is not None]
    assert not wrong, "\n".join(wrong)


def _judge(gateway: Gateway, dialect: Dialect, fault: str, stream: bool, reply: Any) -> None:
    expected, _ = FAULTS[fault]
    relayed = reply.headers.get("x-pointsman-provider") in RELAYS.get(dialect.path, ())
    if relayed and fault in PASSED_ON and reply.status == 200 and b'"error"' not in reply.body:
        trouble = None  # what fields of a relayed answer hold is the upstream's affair; that it is JSON is checked
    else:
        trouble = trouble_of(dialect, reply)
    assert trouble is None or not any(word in trouble for word in INTERNAL), trouble
    assert reply.status in (200, 400, 401, 404, 409, 413, 422, 429, 502, 504), reply.status
    outcome = gateway.decision(reply)["outcome"]
    last = outcome["attempts"][-1]
    if expected == "answer":
        assert trouble is None, trouble
        assert (relayed and fault in PASSED_ON) or text_of(dialect, reply) in (HELLO, "vector")
        assert reply.status == 200
    if fault.startswith("usage-"):  # what was told is not believed
        assert dialect.kind == "embeddings" or last["estimated"], last
        assert all(0 <= (last[name] or 0) < 1000 for name in ("prompt_tokens", "completion_tokens")), last
    if expected == "error":
        assert trouble is not None, "an error is expected"
    if trouble is None:
        assert (outcome["status"], last["status"], outcome["http_status"]) == ("ok", "ok", 200), outcome
    else:
        assert (outcome["status"], last["status"]) == ("error", "error"), outcome
        assert last["error"].partition(":")[0].strip(), last
        assert outcome["http_status"] != 200, outcome


LEAVING = [
    pytest.param(dialect, upstream, stream, id=f"{name}-{kind}-{'stream' if stream else 'whole'}")
    for name, dialect in ASKED.items()
    for kind, upstream in UPSTREAMS.items()
    for stream in dialect.streams
    if upstream.model(dialect.kind) and kind in ("openai", "anthropic", "ollama")
]


@pytest.mark.parametrize(("dialect", "kind", "stream"), LEAVING)
def test_a_client_that_leaves(gateway: Gateway, upstream: ScriptedUpstream, background, dialect, kind, stream):
    """In the middle of a stream, or while it waits for a whole answer: the upstream's call ends within a second."""
    body = dialect.asked(kind.model(dialect.kind), "hi fault=slow", stream=stream)
    before, begun = upstream.abandoned, len(upstream.requests)

    async def ask_and_leave() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request_bytes(dialect.path, body))
        if stream:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            assert b" 200 " in head.partition(b"\r\n")[0], head
            await asyncio.wait_for(reader.read(1), 10)
        else:
            async with asyncio.timeout(60):
                while len(upstream.requests) == begun:
                    await asyncio.sleep(0.01)
        writer.transport.abort()

    asyncio.run(ask_and_leave())
    left = time.monotonic()
    background.run(upstream.wait_until(lambda seen: seen.abandoned > before, timeout=1.0))
    assert time.monotonic() - left < 1.0
    latest = gateway.ask("GET", "/api/v1/decisions?limit=1").json["data"][0]["id"]
    outcome = gateway.record(latest)["outcome"]
    assert (outcome["status"], outcome["attempts"][-1]["status"]) == ("cancelled", "cancelled"), outcome


def request_bytes(path: str, body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    return f"{head}\r\n\r\n".encode() + data


def test_nothing_is_left(gateway: Gateway, upstream: ScriptedUpstream, background):
    """Behind all of that: no answer under way, no connection but those that wait to be used again."""
    kept = upstream.open_connections
    assert kept <= AT_ONCE * 2
    until(lambda: not gateway.ask("GET", "/api/v1/health/details").json["active_requests"])
    out = [
        found
        for found in psutil.Process(gateway.process.pid).net_connections()
        if found.raddr and found.raddr.port == upstream.port
    ]
    assert len([found for found in out if found.status == "ESTABLISHED"]) <= AT_ONCE * 2
    assert not [found for found in out if found.status == "CLOSE_WAIT"]
    log = gateway.log_text
    assert "Traceback" not in log
    assert "in the handler of" not in log
    assert "failed unexpectedly" not in log
