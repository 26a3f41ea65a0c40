"""An OpenAI-compatible upstream through the real pool: good answers, every failure typed, nothing leaked."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from provider_calls import QUICK, call_for, card, events_of, raw, reasoning_of, text_of

from pointsman.core.errors import (
    PrivacyWall,
    SettingsError,
    UpstreamBroken,
    UpstreamClosed,
    UpstreamConnectError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamStatus,
    UpstreamTimeout,
)
from pointsman.core.events import Body, Frames, ToolCallDelta, deltas
from pointsman.providers.openai_compatible import OpenAICompatible
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
    Stream,
    Tokens,
    ToolUse,
    Truncated,
)
from pointsman.transport.pool import Pool

KEY = "sk-very-secret-key"


@pytest.fixture
def provider(upstream: ScriptedUpstream, pool: Pool) -> OpenAICompatible:
    return OpenAICompatible(
        "up", base_url=upstream.base_url, outbound=pool, api_key=KEY, organization="org-1", headers={"X-Team": "blue"}
    )


async def test_an_unstreamed_answer(upstream, provider):
    upstream.script(Answer(text="hello", usage=Tokens(prompt=7, completion=2, cached=3), n=2))
    [event] = await events_of(provider, call_for(card("gpt"), temperature=0.5, top_k=7, n=2))
    assert isinstance(event, Body)
    assert json.loads(event.raw)["choices"][1]["message"]["content"] == "hello"
    assert (event.usage.prompt_tokens, event.usage.cached_tokens) == (7, 3)
    assert (event.answer_id, event.finish_reason) == ("chatcmpl-scripted", "stop")
    [seen] = upstream.requests
    assert (seen.method, seen.path) == ("POST", "/v1/chat/completions")
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["openai-organization"] == "org-1"
    assert seen.headers["x-team"] == "blue"
    assert seen.headers["content-type"] == "application/json"
    assert {"model": "gpt", "temperature": 0.5, "top_k": 7}.items() <= seen.json.items()
    assert "stream_options" not in seen.json


async def test_our_own_fields_stay_here(upstream, provider):
    await events_of(provider, call_for(card(), routing_preferences={"privacy_level": "high"}))
    assert "routing_preferences" not in upstream.requests[0].json


async def test_a_streamed_answer_is_the_bytes_that_came(upstream, provider):
    answer = Answer(text="one two three", reasoning="hm", tool_calls=[ToolUse("f", {"a": [1]})], pieces=4)
    upstream.script(answer)
    events = await events_of(provider, call_for(card("gpt"), stream=True))
    frames = answer.openai_frames({"model": "gpt"})
    assert raw(events) == b"".join(frames[:-1])
    assert (text_of(events), reasoning_of(events)) == ("one two three", "hm")
    calls = [delta for event in events for delta in deltas(event) if isinstance(delta, ToolCallDelta)]
    assert (calls[0].name, "".join(call.arguments for call in calls)) == ("f", '{"a":[1]}')
    usages = [event.usage for event in events if event.usage is not None]
    assert [usage.prompt_tokens for usage in usages] == [10]
    assert next(event.answer_id for event in events if event.answer_id) == "chatcmpl-scripted"
    assert [event.finish_reason for event in events if event.finish_reason] == ["tool_calls"]
    assert upstream.requests[0].json["stream_options"] == {"include_usage": True}


async def test_usage_reaches_a_caller_who_asks(upstream, provider):
    options = {"include_usage": True, "include_obfuscation": False}
    events = await events_of(provider, call_for(card(), stream=True, stream_options=options))
    assert b'"choices":[],"usage":{' in raw(events)
    assert upstream.requests[0].json["stream_options"] == options


async def test_an_upstream_that_knows_no_usage_is_not_asked_for_it(upstream, provider):
    call = call_for(card(stream_usage=False), stream=True, stream_options={"include_usage": True})
    events = await events_of(provider, call)
    assert "stream_options" not in upstream.requests[0].json
    assert all(event.usage is None for event in events)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(text="abc", line_end="\r\n"),
        Answer(text="abc", comments=True, bom=True),
        Answer(text="abc", done=2),
        Answer(text="abc", done=0),
        Drip(Answer(text="abc")),
        Answer(text="abc", usage=None),
        Answer(text="abc", unstreamed=True),
        Answer(text="abc", headers={"content-type": "text/plain"}),
    ],
)
async def test_streams_with_quirks(upstream, provider, answer):
    upstream.script(answer)
    assert text_of(await events_of(provider, call_for(card(), stream=True))) == "abc"


async def test_an_unstreamed_answer_to_a_streamed_request_becomes_frames(upstream, provider):
    upstream.script(Answer(text="abc", tool_calls=[ToolUse("f")], unstreamed=True))
    [event] = await events_of(provider, call_for(card(), stream=True))
    assert isinstance(event, Frames)
    assert event.usage.prompt_tokens == 10
    assert b'"index":0' in event.raw
    assert b'"usage"' not in event.raw


async def test_a_huge_line_goes_through(upstream, provider):
    text = "x" * 3_000_000
    upstream.script(Answer(text=text, pieces=1))
    assert text_of(await events_of(provider, call_for(card(), stream=True))) == text


async def test_connections_are_used_again(upstream, provider, pool):
    for stream in (True, False, True):
        await events_of(provider, call_for(card(), stream=stream))
    assert upstream.accepted == 1


async def test_a_stream_that_does_not_end_behind_done_holds_nobody_up(upstream, provider):
    asked = {"model": "m", "stream_options": {"include_usage": True}}
    upstream.script(Stall(after_bytes=len(b"".join(Answer().openai_frames(asked))), answer=Answer()))
    begun = time.monotonic()
    assert text_of(await events_of(provider, call_for(card(), stream=True))) == "Hello from upstream."
    assert time.monotonic() - begun < QUICK.between_bytes
    await upstream.wait_until(lambda seen: seen.open_connections == 0)


BROKEN_JSON = Page(b'{"choices": [', "application/json")
NOT_UTF8 = Page(b'{"choices": [{"message": {"content": "\xff"}}]}', "application/json")
STATED = Page(b'{"choices": [], "error": {"message": "boom", "type": "server_error"}}', "application/json")
FRAME = b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
STATED_FRAME = b'data: {"error": {"message": "boom"}}\n\n'


@pytest.mark.parametrize(
    ("step", "stream", "error"),
    [
        (Reset(), False, UpstreamClosed),
        (Reset(), True, UpstreamClosed),
        (Reset(after_bytes=20), False, UpstreamBroken),
        (Reset(after_bytes=200), True, UpstreamBroken),
        (HangUp(after_bytes=20), False, UpstreamBroken),
        (HangUp(after_bytes=200), True, UpstreamBroken),
        (Truncated(after_bytes=200), True, UpstreamBroken),
        (Truncated(after_bytes=0), True, UpstreamProtocolError),
        (Stall(), False, UpstreamTimeout),
        (Stall(), True, UpstreamTimeout),
        (Stall(after_bytes=20), False, UpstreamTimeout),
        (Stall(after_bytes=200), True, UpstreamTimeout),
        (Page(b"<html>hello</html>"), False, UpstreamProtocolError),
        (Page(b"<html>hello</html>"), True, UpstreamProtocolError),
        (Page(b"hello", "text/plain"), False, UpstreamProtocolError),
        (Page(b"hello", "text/plain"), True, UpstreamBroken),
        (BROKEN_JSON, False, UpstreamProtocolError),
        (BROKEN_JSON, True, UpstreamProtocolError),
        (NOT_UTF8, False, UpstreamProtocolError),
        (STATED, False, UpstreamStatus),
        (STATED, True, UpstreamStatus),
        (Stream([FRAME.replace(b"hi", b"\xff")]), True, UpstreamProtocolError),
        (Stream([FRAME]), False, UpstreamProtocolError),
        (Stream([FRAME]), True, UpstreamBroken),
        (Stream([b"garbage\n\n"]), True, UpstreamProtocolError),
        (Stream([STATED_FRAME]), True, UpstreamError),
        (Raw(b"SSH-2.0-OpenSSH_9\r\n"), False, UpstreamProtocolError),
        (Raw(b"HTTP/1.1 200 OK\r\nconte"), False, UpstreamBroken),
        (Status(302, headers={"location": "http://127.0.0.1:1/"}), False, UpstreamProtocolError),
        (Status(204), False, UpstreamProtocolError),
        (Page(b"\x1f\x8b", "application/json", headers={"content-encoding": "gzip"}), False, UpstreamProtocolError),
        (Status(500), True, UpstreamStatus),
        (Status(401, b'{"error": {"message": "bad key sk-very-secret-key"}}'), False, UpstreamStatus),
    ],
)
async def test_every_failure_is_typed_and_leaks_nothing(upstream, provider, pool, step, stream, error):
    upstream.script(step)
    with pytest.raises(UpstreamError) as caught:
        await events_of(provider, call_for(card(), stream=stream))
    assert isinstance(caught.value, error)
    assert KEY not in f"{caught.value!r} {caught.value.message} {getattr(caught.value, 'body', b'')!r}"
    assert text_of(await events_of(provider, call_for(card(), stream=True))) == "Hello from upstream."
    assert all(stats.in_use == 0 for stats in pool.stats().values())


async def test_an_unreachable_upstream(upstream, provider):
    await upstream.refuse()
    with pytest.raises(UpstreamConnectError):
        await events_of(provider, call_for(card()))


async def test_what_came_before_a_break_is_given_first(upstream, provider):
    upstream.script(Stream([FRAME, FRAME + STATED_FRAME + FRAME], delay=0.05))
    events = provider.chat(call_for(card(), stream=True))
    assert (await anext(events)).raw == FRAME
    assert (await anext(events)).raw == FRAME
    with pytest.raises(UpstreamError):
        await anext(events)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (3, 3.0),
        ("0.5", 0.5),
        ("in half a minute", 30.0),
        ("in half a month", 300.0),
        (86_400, 300.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", None),
        (1e9, None),
        ("soon", None),
        ("-3", None),
    ],
)
async def test_retry_after(upstream, provider, given, seconds):
    ahead = {"in half a minute": timedelta(seconds=30), "in half a month": timedelta(days=15)}.get(given)
    if ahead is not None:
        given = format_datetime(datetime.now(UTC) + ahead, usegmt=True)
    upstream.script(Status(429, retry_after=given))
    with pytest.raises(UpstreamStatus) as caught:
        await events_of(provider, call_for(card(), stream=True))
    assert caught.value.upstream_status == 429
    assert caught.value.retryable
    assert json.loads(caught.value.body)["error"]["message"] == "scripted 429"
    if seconds is None:
        assert caught.value.retry_after is None
    else:
        assert caught.value.retry_after == pytest.approx(seconds, abs=5)


async def test_an_error_body_is_read_up_to_a_bound(upstream, provider):
    upstream.script(Status(400, b"x" * 2_000_000))
    with pytest.raises(UpstreamStatus) as caught:
        await events_of(provider, call_for(card()))
    assert len(caught.value.body) == 64 * 1024


async def test_closing_the_iterator_closes_the_upstream_connection(upstream, provider, pool):
    upstream.script(Answer(text="x" * 100, pieces=100, delay=0.05))
    events = provider.chat(call_for(card(), stream=True))
    await anext(events)
    begun = time.monotonic()
    await events.aclose()
    await upstream.wait_until(lambda seen: seen.abandoned == 1)
    assert time.monotonic() - begun < 1.0
    assert not pool.stats()


@pytest.mark.parametrize(("step", "stream"), [(Stall(), False), (Stall(), True), (Stall(after_bytes=200), True)])
async def test_cancelling_closes_the_upstream_connection(upstream, provider, pool, step, stream):
    upstream.script(step)
    task = asyncio.create_task(events_of(provider, call_for(card(), stream=stream)))
    await upstream.wait_until(lambda seen: len(seen.requests) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await upstream.wait_until(lambda seen: seen.abandoned == 1)
    assert not pool.stats()


async def test_the_privacy_wall_stands_before_the_wire(upstream, provider):
    with pytest.raises(PrivacyWall):
        await events_of(provider, call_for(card(local=False), local_only=True))
    assert upstream.accepted == 0
    assert await events_of(provider, call_for(card(local=True), local_only=True))


async def test_azure_takes_its_key_and_query_its_own_way(upstream, pool):
    azure = OpenAICompatible(
        "azure",
        base_url=f"{upstream.root}/openai/deployments/d?api-version=2024-10-21",
        outbound=pool,
        api_key=KEY,
        auth="api-key",
    )
    await events_of(azure, call_for(card()))
    [seen] = upstream.requests
    assert seen.path == "/openai/deployments/d/chat/completions?api-version=2024-10-21"
    assert seen.headers["api-key"] == KEY
    assert "authorization" not in seen.headers


async def test_discovers_models(upstream, provider):
    upstream.models = ("gpt-4o", "odd-one")
    cards = {card.name: card for card in await provider.discover()}
    assert list(cards) == ["gpt-4o", "odd-one"]
    assert cards["gpt-4o"].id == "up:gpt-4o"
    assert not cards["gpt-4o"].local


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'[{"id": "a"}, {"name": "b"}]', ["a", "b"]),
        (b'{"models": [{"name": "models/gemini"}]}', ["gemini"]),
        (b'{"data": [{"id": ""}, {"id": null}, {"id": 5}, {"id": "a\\u0000"}, {"id": "ok"}]}', ["ok"]),
        (b'{"data": []}', []),
    ],
)
async def test_lists_of_several_shapes(upstream, provider, body, names):
    upstream.pages["/v1/models"] = Page(body, "application/json")
    assert [card.name for card in await provider.discover()] == names


async def test_a_context_window_that_the_upstream_tells_counts(upstream, provider):
    upstream.pages["/v1/models"] = Page(b'{"data": [{"id": "a", "max_model_len": 12345}]}', "application/json")
    assert (await provider.discover())[0].context_window == 12345


@pytest.mark.parametrize("body", [b"{}", b"5", b'{"data": 5}', b"<html>", b"", b"[" * 100_000])
async def test_what_is_no_list_is_refused(upstream, provider, body):
    upstream.pages["/v1/models"] = Page(body, "application/json")
    with pytest.raises(UpstreamProtocolError):
        await provider.discover()


async def test_models_of_the_settings_need_no_list(upstream, pool):
    fixed = OpenAICompatible(
        "up", base_url=upstream.base_url, outbound=pool, models=("a", "b"), default_model="c", local=True
    )
    assert [(card.id, card.local) for card in await fixed.discover()] == [
        ("up:a", True),
        ("up:b", True),
        ("up:c", True),
    ]
    assert upstream.accepted == 0


async def test_health(upstream, provider):
    assert (await provider.health()).ok
    upstream.pages["/v1/models"] = Status(401)
    refused = await provider.health()
    assert not refused.ok
    assert "providers.up.api_key" in refused.mend
    await upstream.refuse()
    away = await provider.health()
    assert not away.ok
    assert "base_url" in away.mend
    assert KEY not in f"{refused}{away}"


@pytest.mark.parametrize(
    ("base_url", "headers"),
    [
        ("http://user:pass@host/v1", {}),
        ("ftp://host/v1", {}),
        ("http://host:99999/v1", {}),
        ("http:///v1", {}),
        ("http://host/a b", {}),
        ("http://host/v1", {"x-bad": "a\r\nx: y"}),
        ("http://host/v1", {"x bad": "a"}),
        ("http://host/v1", {"x-bad": "é"}),
    ],
)
async def test_settings_that_cannot_be_used(pool, base_url, headers):
    with pytest.raises(SettingsError):
        OpenAICompatible("up", base_url=base_url, outbound=pool, headers=headers)
