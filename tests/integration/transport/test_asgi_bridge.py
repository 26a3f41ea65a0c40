"""An ASGI application behind the seam, on both servers."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.responses import StreamingResponse
from transport_support import StartServer, connect, get, post

from pointsman.transport.asgi import AsgiBridge
from pointsman.transport.http import Handler, HttpRequest, Responder


def handler_of(bridge: AsgiBridge, state: dict[str, Any] | None = None) -> Handler:
    async def handler(request: HttpRequest, respond: Responder) -> None:
        await bridge(request, respond, state or {})

    return handler


def application(events: list[str]) -> FastAPI:
    app = FastAPI()

    @app.post("/echo/{name}")
    async def echo(name: str, request: Request) -> dict[str, Any]:
        body = await request.body()
        return {"name": name, "q": request.query_params.get("q"), "length": len(body), "key": request.state.key}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def blocks() -> Any:
            try:
                for number in range(3):
                    yield f"{number};"
                    await asyncio.sleep(0.01)
                events.append("streamed")
            except asyncio.CancelledError:
                events.append("cancelled")
                raise

        return StreamingResponse(blocks())

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def blocks() -> Any:
            try:
                while True:
                    yield "x"
                    await asyncio.sleep(0.01)
            finally:
                events.append("left")

        return StreamingResponse(blocks())

    @app.get("/later")
    async def later(tasks: BackgroundTasks) -> dict[str, str]:
        async def work() -> None:
            await asyncio.sleep(0.1)
            events.append("worked")

        tasks.add_task(work)
        return {}

    @app.get("/fail")
    async def fail() -> None:
        raise ValueError

    return app


async def test_fastapi_answers_as_it_does_elsewhere(start_server: StartServer) -> None:
    events: list[str] = []
    server = await start_server(handler_of(AsgiBridge(lambda: application(events)), {"key": "k1"}))
    async with connect(server.port) as client:
        client.send(post(b"abc", path="/echo/%C3%A9?q=1"))
        answer = await client.response()
        assert answer.headers["content-type"] == "application/json"
        assert answer.body.decode() == '{"name":"é","q":"1","length":3,"key":"k1"}'
        client.send(get("/stream"))
        assert (await client.response()).body == b"0;1;2;"
        assert events == ["streamed"]
        client.send(get("/nowhere"))
        assert (await client.response()).status == 404
        client.send(get("/fail"))
        assert (await client.response()).status == 500


async def test_the_application_is_loaded_once_and_off_the_loop(start_server: StartServer) -> None:
    threads: list[threading.Thread] = []

    def load() -> FastAPI:
        threads.append(threading.current_thread())
        return application([])

    bridge = AsgiBridge(load)
    server = await start_server(handler_of(bridge))
    assert threads == []

    async def ask() -> int:
        async with connect(server.port) as client:
            client.send(get("/stream"))
            return (await client.response()).status

    assert await asyncio.gather(*(ask() for _ in range(10))) == [200] * 10
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


async def test_a_load_that_fails_is_tried_again(start_server: StartServer) -> None:
    attempts = 0

    def load() -> FastAPI:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise OSError("disk")
        return application([])

    server = await start_server(handler_of(AsgiBridge(load)))
    async with connect(server.port) as client:
        client.send(get("/stream"))
        assert (await client.response()).status == 500
        client.send(get("/stream"))
        assert (await client.response()).status == 200


async def test_a_client_that_leaves_ends_the_stream(start_server: StartServer) -> None:
    events: list[str] = []
    server = await start_server(handler_of(AsgiBridge(lambda: application(events))))
    async with connect(server.port) as client:
        client.send(get("/endless"))
        await client.reader.readuntil(b"x")
    async with asyncio.timeout(30):
        while events != ["left"]:
            await asyncio.sleep(0.01)


async def test_background_work_outlives_the_client(start_server: StartServer) -> None:
    events: list[str] = []
    server = await start_server(handler_of(AsgiBridge(lambda: application(events))))
    async with connect(server.port) as client:
        client.send(get("/later"))
        await client.response()
    async with asyncio.timeout(30):
        while events != ["worked"]:
            await asyncio.sleep(0.01)


async def test_lifespan_runs_when_there_is_one(start_server: StartServer) -> None:
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                event = (await receive())["type"]
                events.append(event)
                scope["state"]["started"] = "yes"
                await send({"type": f"{event}.complete"})
                if event == "lifespan.shutdown":
                    return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["state"]["started"].encode()})

    bridge = AsgiBridge(lambda: app)
    server = await start_server(handler_of(bridge))
    async with connect(server.port) as client:
        client.send(get("/"))
        assert (await client.response()).body == b"yes"
    await bridge.close()
    assert events == ["lifespan.startup", "lifespan.shutdown"]


@pytest.mark.parametrize("messages", [[], [{"type": "http.response.start", "status": 200, "headers": []}]])
async def test_an_application_that_does_not_answer_is_a_500(
    start_server: StartServer, messages: list[dict[str, Any]]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        for message in messages:
            await send(message)

    server = await start_server(handler_of(AsgiBridge(lambda: app)))
    async with connect(server.port) as client:
        client.send(get("/"))
        assert (await client.response()).status == 500
