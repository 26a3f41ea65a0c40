"""The gateway ends in good order, whenever and however it is told to."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway.dialects_in import DIALECTS, Dialect
from gateway.running import Gateway, Reply, running
from pointsman.testing.answers import Answer, Page, SeenRequest, Stall, Step, Wire
from pointsman.testing.upstream import ScriptedUpstream
from pointsman.transport.limits import LAST_REQUESTS_SECONDS
from waiting import until

from .http_client import SMOLLM2_GOES_ON, Client, Seen, ask_once, post
from .measures import eventually, rows

STREAM = json.dumps(
    {"model": "openai:gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "stream": True}
).encode()


def settings(upstream: ScriptedUpstream, data_plane: str = "native", *, grace: float = 5.0) -> dict[str, Any]:
    return {
        "providers": {
            "openai": {"base_url": upstream.base_url, "api_key": "sk-none", "models": ["gpt-4o-mini"]},
            "ollama": {"enabled": False},
        },
        "server": {"data_plane": data_plane, "shutdown_grace": grace},
    }


class ByWord:
    """Plays the first step whose word the request holds."""

    def __init__(self, steps: dict[str, Step]) -> None:
        self._steps = steps

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        step = next(step for word, step in self._steps.items() if word.encode() in request.body)
        await step.play(request, wire)


async def ended(gateway: Gateway, *, within: float) -> int:
    """The exit code, waited for without holding up the loop that the upstream lives in."""
    return await asyncio.to_thread(gateway.process.wait, within)


def refuses(port: int) -> bool:
    """Whether no connection is taken any more."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


@contextmanager
def stopping(gateway: Gateway) -> Iterator[list[psutil.Process]]:
    """What the gateway started: after the block none of it may be left."""
    children = psutil.Process(gateway.process.pid).children(recursive=True)
    yield children
    _, alive = psutil.wait_procs(children, timeout=3)
    assert not alive


async def test_streams_finish_and_new_connections_are_refused(upstream, data_plane, tmp_path):
    upstream.default = Answer(text="slow but whole " * 20, pieces=20, delay=0.05)
    with running(tmp_path, settings(upstream, data_plane)) as gateway:
        running_streams = [asyncio.create_task(ask_once(gateway.port, post(STREAM))) for _ in range(20)]
        await upstream.wait_until(lambda upstream: len(upstream.chats) == 20, timeout=30)
        gateway.process.send_signal(signal.SIGTERM)
        await eventually(lambda: refuses(gateway.port), within=0.7)
        assert not any(stream.done() for stream in running_streams)
        saw = await asyncio.gather(*running_streams)
        assert all(seen.answered and seen.text == "slow but whole " * 20 for seen in saw)
        assert await ended(gateway, within=3) == 0
    assert {row["status"] for row in rows(tmp_path / "data" / "pointsman.sqlite3")} == {"ok"}


async def test_no_request_is_lost_that_was_on_its_way(upstream, data_plane, tmp_path):
    """Whoever got a connection gets an answer; everybody else is refused one, and so knows that nothing was asked.

    Half of the clients keep their connections, the others make one for each request.
    """
    upstream.default = Answer(pieces=1)
    answered, lost = 0, []

    async def ask(*, kept: bool) -> None:
        nonlocal answered
        client = Client(gateway.port)
        while (seen := await client.ask(post(STREAM))).answered:
            answered += 1
            if not kept:
                await client.close()
        if seen.sent:
            lost.append(seen)

    with running(tmp_path, settings(upstream, data_plane)) as gateway:
        load = asyncio.gather(*(ask(kept=number % 2 > 0) for number in range(30)))
        await eventually(lambda: answered >= 60)
        gateway.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            await load
        assert lost == []
        assert await ended(gateway, within=10) == 0


STREAMED = {name: dialect for name, dialect in DIALECTS.items() if True in dialect.streams}
WHOLE = {name: dialect for name, dialect in DIALECTS.items() if dialect.kind == "chat" and False in dialect.streams}


async def test_what_outlasts_the_grace_is_ended_with_an_error_in_every_dialect(upstream, data_plane, tmp_path):
    """Streams that have begun end with the error, those that have not are a 503, as is what is not streamed."""

    def asked(dialect: Dialect, text: str, *, stream: bool) -> asyncio.Task[Seen]:
        model = "openai:gpt-3.5-turbo-instruct" if dialect.kind == "completion" else "openai:gpt-4o-mini"
        body = json.dumps(dialect.asked(model, text, stream=stream)).encode()
        return asyncio.create_task(ask_once(gateway.port, post(body, dialect.path)))

    upstream.default = ByWord({"begins": Stall(400, Answer(pieces=20)), "waits": Stall()})
    tree = settings(upstream, data_plane, grace=0.5)
    tree["providers"]["openai"]["models"].append("gpt-3.5-turbo-instruct")
    with running(tmp_path, tree) as gateway:
        begun = {name: asked(dialect, "begins", stream=True) for name, dialect in STREAMED.items()}
        waiting = {name: asked(dialect, "waits", stream=True) for name, dialect in STREAMED.items()}
        whole = {name: asked(dialect, "waits", stream=False) for name, dialect in WHOLE.items()}
        everything = [*begun.values(), *waiting.values(), *whole.values()]
        await upstream.wait_until(lambda upstream: len(upstream.chats) == len(everything), timeout=30)
        await asyncio.sleep(0.3)  # the first pieces are with their callers
        gateway.process.send_signal(signal.SIGTERM)
        assert await ended(gateway, within=10) == 0
        await asyncio.gather(*everything)
        for name, task in begun.items():
            seen = task.result()
            assert (seen.status, seen.whole) == (200, True), (name, seen)
            assert "stopping" in (DIALECTS[name].stream_error(seen.body) or ""), (name, seen)
        for name, task in [*waiting.items(), *whole.items()]:
            seen = task.result()
            assert (seen.status, seen.headers.get("retry-after")) == (503, "1"), (name, seen)
            assert "stopping" in DIALECTS[name].error(json.loads(seen.body)), (name, seen)
    ends = rows(tmp_path / "data" / "pointsman.sqlite3")
    assert len(ends) == len(everything)
    assert {(row["status"], row["error"], row["http_status"]) for row in ends} == {("cancelled", "shutting_down", 503)}


async def test_whoever_asks_is_told_first_that_no_more_requests_are_wanted(upstream, data_plane, tmp_path):
    tree = settings(upstream, data_plane)
    tree["server"]["shutdown_delay"] = 15
    with running(tmp_path, tree) as gateway:
        assert gateway.ask("GET", "/ready").status == 200
        client = Client(gateway.port)
        assert (await client.ask(post(STREAM))).answered
        gateway.process.send_signal(signal.SIGTERM)
        ready = Reply(200, {}, b"")
        async with asyncio.timeout(5):
            while ready.status == 200:
                ready = await asyncio.to_thread(gateway.ask, "GET", "/ready")
        assert (ready.status, ready.json, ready.headers["retry-after"]) == (503, {"status": "stopping"}, "1")
        assert (await asyncio.to_thread(gateway.ask, "GET", "/api/health")).status == 200
        seen = await client.ask(post(STREAM))
        assert seen.answered, "requests are taken still"
        assert seen.headers["connection"] == "close"
        gateway.process.send_signal(signal.SIGTERM)  # told again it does not wait for others to notice
        assert await ended(gateway, within=5) == 0
        await client.close()


async def test_a_request_behind_one_that_runs_is_refused(upstream, tmp_path):
    """It came over a connection that is open still, when no more are taken."""
    upstream.default = Answer(text="slow but whole " * 20, pieces=20, delay=0.15)
    with running(tmp_path, settings(upstream)) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(post(STREAM))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        gateway.process.send_signal(signal.SIGTERM)
        await eventually(lambda: refuses(gateway.port))
        await asyncio.sleep(LAST_REQUESTS_SECONDS + 0.2)
        writer.write(post(STREAM, "/v1/messages"))
        async with asyncio.timeout(5):
            rest = await reader.read()
        first, _, second = rest.partition(b"0\r\n\r\n")
        assert b"[DONE]" in first
        head, _, body = second.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 "), second
        assert b"retry-after: 1" in head
        assert "stopping" in DIALECTS["messages"].error(json.loads(body))
        writer.close()
    (row,) = rows(tmp_path / "data" / "pointsman.sqlite3")
    assert row["status"] == "ok"


@pytest.mark.parametrize(("data_plane", "first"), [("native", signal.SIGINT), ("asgi", signal.SIGTERM)])
async def test_told_twice_it_does_not_wait_for_answers(upstream, data_plane, tmp_path, first):
    upstream.default = Stall(200)
    with running(tmp_path, settings(upstream, data_plane, grace=15)) as gateway:
        stream = asyncio.create_task(ask_once(gateway.port, post(STREAM)))
        await upstream.wait_until(lambda upstream: len(upstream.chats) == 1, timeout=30)
        gateway.process.send_signal(first)
        await asyncio.sleep(0.5)
        assert gateway.process.poll() is None
        gateway.process.send_signal(signal.SIGINT)
        assert await ended(gateway, within=3) == 0
        assert not (await stream).answered
    (row,) = rows(tmp_path / "data" / "pointsman.sqlite3")
    assert row["status"] == "cancelled"


async def test_a_request_that_arrives_too_slowly_is_refused_at_the_end(upstream, tmp_path):
    with running(tmp_path, settings(upstream, grace=1.0)) as gateway:
        whole = post(STREAM)
        body = await asyncio.open_connection("127.0.0.1", gateway.port)
        body[1].write(whole[:-10])
        head = await asyncio.open_connection("127.0.0.1", gateway.port)
        head[1].write(whole[:30])
        await asyncio.sleep(0.2)
        gateway.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(8):
            for reader, writer in (body, head):
                answer = await reader.read()
                assert answer.startswith(b"HTTP/1.1 503 "), answer
                assert b'"shutting_down"' in answer
                writer.close()
        assert await ended(gateway, within=5) == 0


async def test_told_three_times_it_waits_for_nothing(upstream, tmp_path):
    upstream.default = Stall(200)
    with running(tmp_path, settings(upstream, grace=15)) as gateway:
        stream = asyncio.create_task(ask_once(gateway.port, post(STREAM)))
        await upstream.wait_until(lambda upstream: len(upstream.chats) == 1, timeout=30)
        gateway.process.send_signal(signal.SIGTERM)
        await eventually(lambda: refuses(gateway.port))
        gateway.process.send_signal(signal.SIGSTOP)  # so that it is told of the others at the same time
        gateway.process.send_signal(signal.SIGTERM)
        gateway.process.send_signal(signal.SIGINT)
        gateway.process.send_signal(signal.SIGCONT)
        assert await ended(gateway, within=3) == 130
        assert not (await stream).answered
    assert rows(tmp_path / "data" / "pointsman.sqlite3", "PRAGMA integrity_check") == [{"integrity_check": "ok"}]


@pytest.mark.parametrize(("data_plane", "number"), [("native", signal.SIGTERM), ("asgi", signal.SIGINT)])
async def test_an_idle_gateway_ends_at_once(upstream, data_plane, tmp_path, number):
    with running(tmp_path, settings(upstream, data_plane)) as gateway:
        client = Client(gateway.port)  # an idle connection is no reason to wait
        assert (await client.ask(post(STREAM))).answered
        started = time.monotonic()
        gateway.process.send_signal(number)
        assert await ended(gateway, within=5) == 0
        assert time.monotonic() - started < 2.0
        await client.close()


async def test_a_stop_while_weights_are_fetched_leaves_no_pip(tmp_path, silent_index):
    tree = {"embedded": {"models": ["smollm2:135m"]}, "providers": {"ollama": {"enabled": False}}}
    with running(tmp_path, tree, env={"PIP_INDEX_URL": silent_index}) as gateway:
        process = psutil.Process(gateway.process.pid)

        def fetching() -> bool:
            return any("pip" in child.cmdline() for child in process.children(recursive=True))

        await eventually(fetching)
        await asyncio.sleep(1.0)
        with stopping(gateway) as children:
            assert children
            gateway.process.send_signal(signal.SIGTERM)
            assert await ended(gateway, within=5) == 0


@pytest.mark.engine
@pytest.mark.parametrize("after", [0.0, 0.3])
async def test_a_stop_while_the_engine_loads_leaves_none(tmp_path, weights_cache, after):
    tree = {
        "cache_dir": str(weights_cache),
        "embedded": {"models": ["smollm2:135m"], "context": 512, "pulled": False},
        "providers": {"ollama": {"enabled": False}},
    }
    with running(tmp_path, tree) as gateway:
        await asyncio.sleep(after)
        with stopping(gateway):
            gateway.process.send_signal(signal.SIGTERM)
            assert await ended(gateway, within=10) == 0


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_stop_in_the_middle_of_an_embedded_answer_leaves_no_engine(tmp_path, weights_cache, number):
    tree = {
        "cache_dir": str(weights_cache),
        "server": {"shutdown_grace": 0.5},
        "embedded": {"models": ["smollm2:135m"], "context": 1024, "pulled": False},
        "providers": {"ollama": {"enabled": False}},
    }
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": "Count."}],
        "stream": True,
        "max_tokens": 900,
        "logit_bias": SMOLLM2_GOES_ON,
    }
    with running(tmp_path, tree) as gateway:
        assert gateway.chat("hi", max_tokens=1).status == 200  # waits for the engine
        stream = asyncio.create_task(ask_once(gateway.port, post(json.dumps(body).encode())))
        await asyncio.sleep(0.5)
        assert not stream.done()
        with stopping(gateway) as children:
            assert children
            gateway.process.send_signal(number)
            code = await ended(gateway, within=10)
        assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        assert not (await stream).answered


async def test_the_folder_of_a_gateway_that_was_stopped_holds_no_leftovers(tmp_path: Path, upstream):
    with running(tmp_path, settings(upstream)):
        pass
    left = {path.name for path in (tmp_path / "data").iterdir()}
    assert left == {"pointsman.sqlite3", "secret.key"}, left


IN_A_TERMINAL = """
import os, pty, signal, sys
out, err = os.dup(1), os.dup(2)
child, terminal = pty.fork()
if not child:
    os.dup2(out, 1), os.dup2(err, 2)
    os.execvp(sys.argv[1], sys.argv[1:])
signal.signal(signal.SIGTERM, lambda *_: os.close(terminal))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""Runs a command with a terminal for its input, which is closed at SIGTERM."""


async def test_the_end_of_its_terminal_stops_it_in_good_order(upstream, tmp_path):
    upstream.default = Answer(text="slow but whole " * 20, pieces=20, delay=0.05)
    with running(tmp_path, settings(upstream), under=(sys.executable, "-c", IN_A_TERMINAL)) as gateway:
        stream = asyncio.create_task(ask_once(gateway.port, post(STREAM)))
        await upstream.wait_until(lambda upstream: len(upstream.chats) == 1, timeout=30)
        gateway.process.send_signal(signal.SIGTERM)
        assert b"data: [DONE]" in (await stream).body
        assert await ended(gateway, within=30) == 0


async def test_a_hangup_alone_has_the_settings_read_and_ends_nothing(upstream, tmp_path):
    upstream.default = Answer(text="slow but whole " * 20, pieces=20, delay=0.05)
    with running(tmp_path, settings(upstream)) as gateway:
        stream = asyncio.create_task(ask_once(gateway.port, post(STREAM)))
        await upstream.wait_until(lambda upstream: len(upstream.chats) == 1, timeout=30)

        def loaded_at() -> float:
            return float(gateway.ask("GET", "/api/v1/health").json["configuration"]["loaded_at"])

        before = await asyncio.to_thread(loaded_at)
        gateway.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(until, lambda: loaded_at() > before)
        assert b"data: [DONE]" in (await stream).body


async def test_a_hangup_at_its_start_ends_nothing_and_has_the_settings_read(upstream, tmp_path):
    """What says that the start is under way is the listing that it asks for, which waits until the signal was sent."""
    asked, told = threading.Event(), asyncio.Event()

    class Held:
        async def play(self, request: SeenRequest, wire: Wire) -> None:
            asked.set()
            await told.wait()
            await Page(b'{"object":"list","data":[{"id":"gpt-4o-mini"}]}', "application/json").play(request, wire)

    upstream.pages["/v1/models"] = Held()
    tree = settings(upstream)
    del tree["providers"]["openai"]["models"]
    sent = []

    def hang_up() -> None:
        assert asked.wait(60)
        of_ours = [one for one in psutil.Process().children() if str(tmp_path) in " ".join(one.cmdline())]
        (process,) = of_ours
        process.send_signal(signal.SIGHUP)
        sent.append(time.time())

    async def hang_up_and_tell() -> None:
        await asyncio.to_thread(hang_up)
        await asyncio.sleep(0.3)
        told.set()

    telling = asyncio.create_task(hang_up_and_tell())

    def serves() -> None:
        with running(tmp_path, tree) as gateway:
            until(lambda: gateway.ask("GET", "/api/v1/health").json["configuration"]["loaded_at"] > sent[0])

    await asyncio.to_thread(serves)
    await telling
