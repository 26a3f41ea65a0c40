"""A fault of our own is a 500 in the words of whoever asked, on both data planes, and tells nothing of itself."""

from __future__ import annotations

import asyncio
import http.client
import json

import pytest

from pointsman.surfaces.errors import tell
from pointsman.transport.asgi_server import serve_asgi
from pointsman.transport.http import HttpRequest, Responder
from pointsman.transport.server import serve

SECRET = "what-stood-in-the-request"
SHAPES = {
    "/v1/chat/completions": {"message", "type", "param", "code"},
    "/v1/responses": {"message", "type", "param", "code"},
    "/api/v1/chat/completions": {"code", "message", "details", "remediation"},
    "/nowhere": {"message", "type", "param", "code"},
}


async def failing(request: HttpRequest, respond: Responder) -> None:
    raise RuntimeError(SECRET)


def _ask(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", path, b"{}")
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("plane", [serve, serve_asgi], ids=["native", "asgi"])
async def test_every_shape(plane, caplog):
    server = await plane(failing, host="127.0.0.1", port=0, tells=tell)
    try:
        for path, names in SHAPES.items():
            status, body = await asyncio.to_thread(_ask, server.port, path)
            assert status == 500
            assert set(json.loads(body)["error"]) == names
            assert SECRET.encode() not in body
        status, body = await asyncio.to_thread(_ask, server.port, "/v1/messages")
        told = json.loads(body)
        assert (status, told["type"], told["error"]["type"]) == (500, "error", "api_error")
        assert told["request_id"]
        for path in ("/api/chat", "/api/generate", "/api/embed", "/api/tags"):
            status, body = await asyncio.to_thread(_ask, server.port, path)
            assert (status, json.loads(body)) == (500, {"error": "Something went wrong inside the gateway."})
    finally:
        await server.close(1.0)
    assert "RuntimeError in the handler of POST /v1/messages" in caplog.text
    assert SECRET not in caplog.text
