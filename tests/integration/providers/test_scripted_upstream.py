"""The scripted upstream itself, seen through aiohttp: it must misbehave exactly as told."""

from __future__ import annotations

import json

import aiohttp
import pytest

from pointsman.testing import (
    Answer,
    Drip,
    HangUp,
    Page,
    Raw,
    Reset,
    ScriptedUpstream,
    Stall,
    Status,
    ToolUse,
    Truncated,
)

ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def client():
    async with aiohttp.ClientSession() as session:
        yield session


async def ask(client: aiohttp.ClientSession, upstream: ScriptedUpstream, **fields: object) -> aiohttp.ClientResponse:
    return await client.post(f"{upstream.base_url}/chat/completions", json={**ASK, **fields})


async def test_plays_the_script_in_order_and_then_the_default(upstream, client):
    upstream.script(Status(429, retry_after=1), Answer(text="first"))
    refused = await ask(client, upstream)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    texts = [(await (await ask(client, upstream)).json())["choices"][0]["message"]["content"] for _ in range(3)]
    assert texts == ["first", "Hello from upstream.", "Hello from upstream."]
    assert [request.json for request in upstream.chats] == [ASK] * 4


async def test_streams_in_frames_with_usage_when_asked(upstream, client):
    upstream.script(Answer(text="abc", pieces=3), Answer(text="abc", tool_calls=[ToolUse("f", {"a": 1})]))
    body = await (await ask(client, upstream, stream=True, stream_options={"include_usage": True})).text()
    chunks = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]) == "abc"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["prompt_tokens"] == 10
    assert body.endswith("data: [DONE]\n\n")
    called = await (await ask(client, upstream, stream=True)).text()
    assert '"usage"' not in called
    assert '"finish_reason":"tool_calls"' in called


async def test_speaks_ollama_by_path(upstream, client):
    upstream.tags["scripted-model"] = {"digest": "d1"}
    response = await client.post(f"{upstream.root}/api/chat", json=ASK)
    lines = [json.loads(line) for line in (await response.text()).splitlines()]
    assert lines[-1]["done"] is True
    assert "".join(line["message"]["content"] for line in lines) == "Hello from upstream."
    tags = await (await client.get(f"{upstream.root}/api/tags")).json()
    assert tags["models"][0]["digest"] == "d1"
    assert (await client.post(f"{upstream.root}/api/show", json={"model": "none"})).status == 404


async def test_reset_hang_up_and_truncation(upstream, client):
    upstream.script(Reset(), Reset(after_bytes=40), HangUp(after_bytes=40), Truncated(after_bytes=40), Raw(b"not HTTP"))
    with pytest.raises(aiohttp.ClientError):
        await ask(client, upstream)
    for _ in range(2):
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await (await ask(client, upstream, stream=True)).read()
    assert len(await (await ask(client, upstream, stream=True)).read()) == 40
    with pytest.raises(aiohttp.ClientError):
        await ask(client, upstream)


async def test_drip_keeps_every_byte(upstream, client):
    upstream.script(Answer(text="é" * 20), Drip(Answer(text="é" * 20), size=3, delay=0))
    whole, dripped = [await (await ask(client, upstream, stream=True)).read() for _ in range(2)]
    assert whole == dripped


async def test_counts_clients_that_leave(upstream, client):
    upstream.script(Stall(after_bytes=10))
    response = await ask(client, upstream, stream=True)
    assert await response.content.readexactly(10)
    assert upstream.abandoned == 0
    response.close()
    await upstream.wait_until(lambda seen: seen.abandoned == 1)
    await upstream.wait_until(lambda seen: seen.open_connections == 0)


async def test_refuses_and_listens_again(upstream, client):
    await upstream.refuse()
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(client, upstream)
    await upstream.listen()
    assert (await ask(client, upstream)).status == 200


async def test_wait_until_gives_up(upstream):
    with pytest.raises(TimeoutError):
        await upstream.wait_until(lambda seen: seen.abandoned == 1, timeout=0.02)


async def test_a_page_of_ones_own(upstream, client):
    upstream.pages["/v1/models"] = Page(b"<html>")
    upstream.script(Page(b"<html>"))
    listed = await client.get(f"{upstream.base_url}/models")
    assert (listed.content_type, await listed.read()) == ("text/html", b"<html>")
    assert (await ask(client, upstream)).content_type == "text/html"
