"""What becomes of calls when the engine dies under them. In place of llama.cpp, a server that dies when it is told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pointsman.core.errors import EngineDied, UpstreamBroken
from pointsman.core.events import Event, Text, deltas
from pointsman.core.ports import ChatCall, Timeouts
from pointsman.core.request import ChatRequest
from pointsman.providers.llamacpp.engine import Engine, EngineState, Patience
from pointsman.providers.llamacpp.provider import LlamaCppProvider, card_of
from pointsman.transport.pool import Pool

from .conftest import MakeEngine

SERVER = """
import json, os, socket, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

__version__ = "0"


def CommonParams():
    return SimpleNamespace(model=SimpleNamespace(), cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *parts):
        pass

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = asked["messages"][-1]["content"]
        if said == "die":
            os.kill(os.getpid(), 9)
        if said == "drop":
            return self.leave()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.tell({"content": "one "}, None)
        if said == "begin":
            time.sleep(60)
        if said == "cease":  # nobody can reach it any more, and its process is there for a while
            self.server.socket.shutdown(socket.SHUT_RDWR)  # whoever watches it would keep it open
            self.server.socket.close()
            threading.Timer(0.5, os._exit, (3,)).start()
        self.tell({"content": "two"}, "stop")
        self.wfile.write(b"data: [DONE]\\n\\n")
        self.close_connection = True

    def tell(self, delta, reason):
        chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\\n\\n")
        self.wfile.flush()

    def leave(self):
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True


class Server:
    def __init__(self, p):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.listening_address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
"""


class Asked:
    """A provider whose one engine is the server above."""

    def __init__(self, engine: Engine, pool: Pool) -> None:
        self.engine = engine
        self.provider = LlamaCppProvider(outbound=pool)
        self.provider.add(engine)

    async def ask(self, content: str, events: list[Event] | None = None) -> str:
        """The answer's text; what comes of it is added to `events` as it comes."""
        fields: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": content}], "stream": True}
        events = [] if events is None else events
        request = ChatRequest.build(fields)
        call = ChatCall(card=card_of(self.engine), request=request, local_only=True, timeouts=Timeouts())
        async for event in self.provider.chat(call):
            events.append(event)
        return "".join(delta.text for event in events for delta in deltas(event) if isinstance(delta, Text))


@pytest.fixture
async def asked(tmp_path: Path, make_engine: MakeEngine, pool: Pool) -> Asked:
    (tmp_path / "xllamacpp.py").write_text(SERVER)
    patience = Patience(first_delay=0.1, longest_delay=0.2, doubt=5.0)
    asked = Asked(make_engine(tmp_path / "m.gguf", python_path=tmp_path, patience=patience), pool)
    assert await asked.ask("hi") == "one two"
    return asked


async def test_who_is_refused_by_a_dead_engine_is_answered_by_the_next(asked: Asked) -> None:
    assert await asked.ask("cease") == "one two"
    assert asked.engine.state is EngineState.READY, "nobody knows yet"
    assert await asyncio.gather(*(asked.ask("hi") for _ in range(6))) == ["one two"] * 6
    assert asked.engine.restarts == 1


async def test_one_death_counts_once_and_is_known_at_once(asked: Asked) -> None:
    begun: list[list[Event]] = [[] for _ in range(3)]
    broken = [asyncio.create_task(asked.ask("begin", events)) for events in begun]
    while not all(begun):
        await asyncio.sleep(0.01)
    broken.append(asyncio.create_task(asked.ask("die")))
    errors = await asyncio.gather(*broken, return_exceptions=True)
    died = [error for error in errors if isinstance(error, EngineDied)]
    assert len(died) == 4, errors
    assert sum(error.counts for error in died) == 1
    assert all(error.retry_after for error in died)
    assert asked.engine.state is not EngineState.READY
    assert await asked.ask("hi") == "one two"
    with pytest.raises(EngineDied) as caught:
        await asked.ask("die")
    assert caught.value.counts, "the next death is another one"


async def test_what_kills_the_engine_is_not_asked_for_ever(asked: Asked) -> None:
    for _ in range(2):
        with pytest.raises(EngineDied):
            await asked.ask("die")
    await asked.engine.ready()
    assert asked.engine.restarts <= 4, "two for each call at most"


async def test_a_connection_that_a_living_engine_drops_says_nothing_of_its_death(
    tmp_path: Path, make_engine: MakeEngine, pool: Pool
) -> None:
    (tmp_path / "xllamacpp.py").write_text(SERVER)
    asked = Asked(make_engine(tmp_path / "m.gguf", python_path=tmp_path, patience=Patience(doubt=0.1)), pool)
    with pytest.raises(UpstreamBroken):
        await asked.ask("drop")
    assert asked.engine.state is EngineState.READY
    assert await asked.ask("hi") == "one two"
    assert asked.engine.restarts == 0
