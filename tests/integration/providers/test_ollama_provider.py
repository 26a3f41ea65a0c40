"""An Ollama server through the real pool: translated both ways, contexts sized, cloud models kept apart."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import aclosing

import pytest
from provider_calls import call_for, card, events_of, raw, reasoning_of, text_of

from pointsman.core.catalog import FimTokens
from pointsman.core.errors import (
    InvalidRequest,
    PrivacyWall,
    UpstreamBroken,
    UpstreamClosed,
    UpstreamContextTooLong,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamStatus,
    UpstreamTimeout,
)
from pointsman.core.events import Body, ToolCallDelta, deltas
from pointsman.core.ports import ChatCall, Timeouts
from pointsman.core.request import ChatRequest
from pointsman.providers.ollama import Ollama
from pointsman.testing import (
    Answer,
    Drip,
    HangUp,
    Page,
    Reset,
    ScriptedUpstream,
    Stall,
    Status,
    Stream,
    Tokens,
    ToolUse,
    Truncated,
)
from pointsman.transport.pool import Pool

# The token tables' package opens its data in a way that Python 3.11 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:open_binary is deprecated:DeprecationWarning")

SHOWN = {
    "details": {"parameter_size": "8.0B", "family": "llama"},
    "model_info": {"llama.context_length": 8192},
    "capabilities": ["completion", "tools", "thinking"],
}


@pytest.fixture
def provider(upstream: ScriptedUpstream, pool: Pool) -> Ollama:
    return Ollama("ollama", base_url=upstream.root, outbound=pool, api_key="proxy-key-123", local=True)


def local(name: str = "llama3.2", **fields):
    return card(name, provider="ollama", local=True, **fields)


async def test_an_unstreamed_answer(upstream, provider):
    upstream.script(Answer(text="hello", reasoning="hm", tool_calls=[ToolUse("f", {"a": 1})], usage=Tokens(7, 2)))
    [event] = await events_of(provider, call_for(local(), temperature=0.5, max_tokens=5))
    assert isinstance(event, Body)
    choice = json.loads(event.raw)["choices"][0]
    assert choice["message"]["content"] == "hello"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}
    assert (event.usage.prompt_tokens, event.usage.completion_tokens) == (7, 2)
    assert event.answer_id.startswith("chatcmpl-")
    [seen] = upstream.requests
    assert (seen.path, seen.headers["authorization"]) == ("/api/chat", "Bearer proxy-key-123")
    assert seen.json["options"] == {"temperature": 0.5, "num_predict": 5, "num_ctx": 4096}
    assert (seen.json["model"], seen.json["stream"], seen.json["truncate"]) == ("llama3.2", False, False)


async def test_a_streamed_answer(upstream, provider):
    upstream.script(Drip(Answer(text="one two", reasoning="hm", tool_calls=[ToolUse("f", {"a": [1]})])))
    events = await events_of(provider, call_for(local(), stream=True, stream_options={"include_usage": True}))
    assert (text_of(events), reasoning_of(events)) == ("one two", "hm")
    [call] = [delta for event in events for delta in deltas(event) if isinstance(delta, ToolCallDelta)]
    assert (call.name, call.arguments) == ("f", '{"a":[1]}')
    assert b'"total_tokens":15' in raw(events)
    assert [event.finish_reason for event in events if event.finish_reason] == ["tool_calls"]


async def test_connections_are_used_again(upstream, provider):
    for stream in (True, False, True):
        await events_of(provider, call_for(local(), stream=stream))
    assert upstream.accepted == 1


@pytest.mark.parametrize(
    ("step", "stream", "error"),
    [
        (Reset(), True, UpstreamClosed),
        (Reset(after_bytes=20), False, UpstreamBroken),
        (HangUp(after_bytes=200), True, UpstreamBroken),
        (Truncated(after_bytes=200), True, UpstreamBroken),
        (Truncated(after_bytes=0), True, UpstreamBroken),
        (Stall(), False, UpstreamTimeout),
        (Stall(after_bytes=150), True, UpstreamTimeout),
        (Page(b"<html>hello</html>"), True, UpstreamProtocolError),
        (Page(b"hello", "text/plain"), False, UpstreamProtocolError),
        (Page(b'{"error": "no"}', "application/json"), False, UpstreamError),
        (Stream([b'{"error": "no"}\n'], "application/x-ndjson"), True, UpstreamError),
        (Stream([b"garbage\n"], "application/x-ndjson"), True, UpstreamProtocolError),
        (Status(404, b'{"error": "model not found: proxy-key-123"}'), True, UpstreamStatus),
        (Status(503, retry_after=2), False, UpstreamStatus),
    ],
)
async def test_every_failure_is_typed_and_leaks_nothing(upstream, provider, pool, step, stream, error):
    upstream.script(step)
    with pytest.raises(UpstreamError) as caught:
        await events_of(provider, call_for(local(), stream=stream))
    assert isinstance(caught.value, error)
    assert "proxy-key-123" not in f"{caught.value!r} {getattr(caught.value, 'body', b'')!r}"
    assert text_of(await events_of(provider, call_for(local(), stream=True))) == "Hello from upstream."
    assert all(stats.in_use == 0 for stats in pool.stats().values())


@pytest.mark.parametrize(("step", "stream"), [(Stall(), False), (Stall(after_bytes=150), True)])
async def test_cancelling_closes_the_upstream_connection(upstream, provider, pool, step, stream):
    upstream.script(step)
    task = asyncio.create_task(events_of(provider, call_for(local(), stream=stream)))
    await upstream.wait_until(lambda seen: len(seen.requests) == 1)
    begun = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await upstream.wait_until(lambda seen: seen.abandoned == 1)
    assert time.monotonic() - begun < 1.0
    assert not pool.stats()


async def contexts(upstream, provider, *prompts: str, **fields) -> list[int]:
    for prompt in prompts:
        await events_of(provider, call_for(local(**fields), messages=[{"role": "user", "content": prompt}]))
    return [request.json["options"]["num_ctx"] for request in upstream.chats]


async def test_the_context_grows_with_the_need_and_never_shrinks(upstream, provider):
    long = "The quick brown fox jumps over the lazy dog. " * 600  # 6,000 tokens and more
    assert await contexts(upstream, provider, "hi", long, "hi") == [4096, 16384, 16384]


async def test_the_context_is_counted_rather_than_guessed(upstream, provider):
    padding = "word " * 3000  # 3,000 tokens; by the bound of its 15,000 bytes it could be 8,500
    assert await contexts(upstream, provider, padding) == [8192]


async def test_the_context_stays_within_the_models(upstream, provider):
    long = "The quick brown fox jumps over the lazy dog. " * 600
    assert await contexts(upstream, provider, long, context_window=7000) == [7000]
    with pytest.raises(UpstreamContextTooLong):
        await contexts(upstream, provider, long * 2, context_window=7000)
    assert len(upstream.chats) == 1


async def test_a_refusal_for_length_lets_the_next_model_try(upstream, provider):
    upstream.script(Status(400, b'{"error":"the input length exceeds the context length"}'), Status(400))
    for retryable in (True, False):
        with pytest.raises(UpstreamStatus) as caught:
            await events_of(provider, call_for(local()))
        assert caught.value.retryable is retryable


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cut_prompt_is_told_of(upstream, provider, caplog, stream):
    long = "The quick brown fox jumps over the lazy dog. " * 600
    notes = []
    upstream.script(Answer(usage=Tokens(prompt=2050)), Answer(usage=Tokens(prompt=6010)))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            call = call_for(local(), messages=[{"role": "user", "content": long}], stream=stream)
            notes.append([event.note for event in await events_of(provider, call) if event.note])
    begun = "prompt_truncated: ollama:llama3.2 read 2050 tokens of a prompt of at least 5400 (num_ctx 16384)"
    assert [record.getMessage()[: len(begun)] for record in caplog.records] == [begun]
    assert notes == [[begun], []]
    assert "fox" not in caplog.text


async def test_discovers_what_ollama_tells(upstream, provider):
    upstream.models = ("llama3.2:latest", "gpt-oss:120b-cloud", "copied:latest", "bare:latest")
    upstream.tags["copied:latest"] = {"remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:120b"}
    upstream.tags["llama3.2:latest"] = {"digest": "d1", "details": {"parameter_size": "8.0B"}}
    upstream.shows["llama3.2:latest"] = SHOWN
    cards = {found.name: found for found in await provider.discover()}
    assert {name: found.local for name, found in cards.items()} == {
        "llama3.2:latest": True,
        "gpt-oss:120b-cloud": False,
        "copied:latest": False,
        "bare:latest": True,
    }
    llama = cards["llama3.2:latest"]
    assert (llama.id, llama.parameters, llama.context_window) == ("ollama:llama3.2:latest", "8.0B", 8192)
    assert "tools" in llama.capabilities
    assert "logprobs" not in llama.capabilities
    assert cards["copied:latest"].price_input != 0
    asked = [request.json["model"] for request in upstream.requests if request.path == "/api/show"]
    await provider.discover()
    again = [request.json["model"] for request in upstream.requests if request.path == "/api/show"][len(asked) :]
    assert "llama3.2:latest" in asked
    assert "llama3.2:latest" not in again


async def test_thinking_is_asked_of_models_that_can(upstream, provider):
    upstream.models = ("llama3.2",)
    upstream.shows["llama3.2"] = SHOWN
    await provider.discover()
    await events_of(provider, call_for(local(), reasoning_effort="low"))
    assert upstream.chats[-1].json["think"] == "low"


async def test_models_of_the_settings(upstream, pool):
    fixed = Ollama("box", base_url=f"{upstream.root}/", outbound=pool, models=("a",), default_model="b")
    assert [found.id for found in await fixed.discover()] == ["box:a", "box:b"]
    assert all(not found.local for found in await fixed.discover())
    listing = Ollama("box", base_url=upstream.root, outbound=pool, default_model="llama3.2")
    upstream.models = ("llama3.2:latest",)
    assert [found.name for found in await listing.discover()] == ["llama3.2:latest"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"models": [{"name": 5}]}'])
async def test_what_is_no_list_is_refused(upstream, provider, body):
    upstream.pages["/api/tags"] = Page(body, "application/json")
    with pytest.raises(UpstreamProtocolError):
        await provider.discover()


async def test_the_privacy_wall_asks_what_a_model_is(upstream, provider):
    upstream.shows["llama3.2"] = SHOWN
    upstream.shows["copied"] = {**SHOWN, "remote_host": "https://ollama.com:443"}
    assert await events_of(provider, call_for(local(), local_only=True))
    for name in ("copied", "gpt-oss:20b-cloud"):
        upstream.shows.setdefault(name, SHOWN)
        with pytest.raises(PrivacyWall):
            await events_of(provider, call_for(local(name), local_only=True))
    with pytest.raises(PrivacyWall):
        await events_of(provider, call_for(card("llama3.2", provider="ollama"), local_only=True))
    assert len(upstream.chats) == 1


async def test_what_ollama_cannot_take_is_refused_before_the_wire(upstream, provider):
    with pytest.raises(InvalidRequest):
        await events_of(provider, call_for(local(), n=2))
    assert upstream.accepted == 0


async def test_health(upstream, provider):
    report = await provider.health()
    assert report.ok
    assert "0.12.0" in report.detail
    upstream.pages["/api/version"] = Page(b"{}", "application/json")
    assert not (await provider.health()).ok
    await upstream.refuse()
    away = await provider.health()
    assert not away.ok
    assert "ollama serve" in away.mend


def other_call(kind, *texts, local_only=False, model=None, **fields):
    body = {"messages": [{"role": "user", "content": text} for text in texts], **fields}
    request = ChatRequest.build(body, kind=kind)
    return ChatCall(card=model or local(), request=request, local_only=local_only, timeouts=Timeouts(total=5.0))


@pytest.mark.parametrize("kind", ["completion", "embeddings"])
async def test_nothing_private_goes_to_a_cloud_model_in_any_kind_of_request(upstream, provider, kind):
    upstream.shows["copied"] = {"capabilities": ["completion"], "remote_host": "https://ollama.com"}
    asked = other_call(kind, "hi", local_only=True, model=local("copied"))
    answer = provider.complete(asked) if kind == "completion" else provider.embed(asked)
    with pytest.raises(PrivacyWall):
        await anext(answer)
    assert not [request for request in upstream.requests if request.path in ("/api/generate", "/api/embed")]


async def test_a_gap_by_the_models_own_tokens(upstream, provider):
    tokens = FimTokens(prefix="<PRE>", suffix="<SUF>", middle="<MID>", end=("<EOT>",))
    asked = other_call("completion", "a<PRE>b", suffix="c", stop=["x"], model=local(fim=tokens))
    async with aclosing(provider.complete(asked)) as events:
        [event] = [event async for event in events]
    assert json.loads(event.raw)["choices"][0]["text"] == "Hello from upstream."
    sent = upstream.requests[-1].json
    assert sent["prompt"] == "<PRE>a<\u200bPRE>b<SUF>c<MID>"
    assert (sent["raw"], sent["options"]["stop"], "suffix" in sent) == (True, ["x", "<EOT>"], False)
    with pytest.raises(InvalidRequest, match="one completion"):
        await anext(provider.complete(other_call("completion", "a", "b")))


async def test_embeddings_are_counted(upstream, provider):
    upstream.pages["/api/embed"] = Page(b'{"embeddings": [[0.5]]}', "application/json")
    with pytest.raises(UpstreamProtocolError, match="asked for 2"):
        await anext(provider.embed(other_call("embeddings", "a", "b")))
    upstream.pages["/api/embed"] = Page(b'{"error": "no memory"}', "application/json")
    with pytest.raises(UpstreamError):
        await anext(provider.embed(other_call("embeddings", "a")))


async def test_a_callers_own_context_holds_where_it_is_enough(upstream, provider):
    long = "The quick brown fox jumps over the lazy dog. " * 600
    for content, num_ctx in (("hi", 2500), ("hi", 9000), (long, 3000), ("hi", None)):
        options = {} if num_ctx is None else {"options": {"num_ctx": num_ctx}}
        await events_of(provider, call_for(local(), messages=[{"role": "user", "content": content}], **options))
    assert [request.json["options"]["num_ctx"] for request in upstream.chats] == [2500, 9000, 12_000, 4096]
