"""Anthropic's Messages API through the real pool: the list of models, health, and what is asked of whom."""

from __future__ import annotations

import json

import pytest
from provider_calls import call_for, card, events_of, reasoning_of, text_of

from pointsman.core.errors import InvalidRequest, PrivacyWall, SettingsError, UpstreamLacks, UpstreamStatus
from pointsman.core.ports import ChatCall
from pointsman.core.request import ChatRequest
from pointsman.providers.anthropic import Anthropic
from pointsman.testing import Answer, Drip, Page, ScriptedUpstream, Status
from pointsman.transport.pool import Pool

KEY = "sk-ant-very-secret"
YES, NO = {"supported": True}, {"supported": False}


@pytest.fixture
def provider(upstream: ScriptedUpstream, pool: Pool) -> Anthropic:
    return Anthropic("anthropic", base_url=upstream.base_url, outbound=pool, api_key=KEY)


async def test_the_list_fills_the_cards(upstream, provider):
    upstream.models = ("claude-new-9", "claude-opus-4-5", "claude-gone")
    thinking = {"supported": True, "types": {"adaptive": NO, "enabled": YES, "disabled": YES, "between_tools": NO}}
    effort = {"supported": True, "low": YES, "medium": NO, "high": YES, "max": NO, "xhigh": None}
    can = {"thinking": thinking, "effort": effort, "image_input": NO, "structured_outputs": YES}
    upstream.described = {
        "claude-new-9": {"max_tokens": 5000, "max_input_tokens": 90_000, "capabilities": can},
        "claude-gone": {"lifecycle": "retired"},
    }
    new, known = await provider.discover()
    assert (new.id, new.max_output, new.context_window) == ("anthropic:claude-new-9", 5000, 90_000)
    assert ("vision" in new.capabilities, "json_schema" in new.capabilities) == (False, True)
    assert new.cache_write_percent == known.cache_write_percent == (125, 200)
    assert known.max_output == 64_000
    assert upstream.requests[0].path == "/v1/models?limit=1000"
    await events_of(provider, call_for(new, reasoning_effort="medium"))
    sent = upstream.chats[0].json
    assert (sent["max_tokens"], sent["thinking"]) == (5000, {"type": "enabled", "budget_tokens": 4999})
    assert "output_config" not in sent


async def test_pages_of_the_list_are_turned(upstream, provider):
    def page(name: str, more: bool) -> dict:
        return {"data": [{"id": name, "type": "model"}], "has_more": more, "last_id": name}

    class Pages:
        async def play(self, request, wire):
            body = page("b", False) if "after_id=a" in request.path else page("a", True)
            await Page(json.dumps(body).encode(), "application/json").play(request, wire)

    upstream.pages["/v1/models"] = Pages()
    assert [found.name for found in await provider.discover()] == ["a", "b"]


async def test_health(upstream, provider):
    assert (await provider.health()).ok
    upstream.pages["/v1/models"] = Status(401)
    report = await provider.health()
    assert (report.ok, "key" in report.mend) == (False, True)
    await upstream.refuse()
    assert not (await provider.health()).ok


async def test_what_must_stay_is_not_sent(upstream, provider):
    with pytest.raises(PrivacyWall):
        await events_of(provider, call_for(card("claude-opus-5"), local_only=True))
    assert not upstream.requests


async def test_a_slow_stream(upstream, provider):
    upstream.script(Drip(Answer(text="Grüße", reasoning="hm"), size=3))
    events = await events_of(provider, call_for(card("claude-opus-5"), stream=True))
    assert (text_of(events), reasoning_of(events)) == ("Grüße", "hm")


async def test_too_long_a_prompt_may_fit_the_next_model(upstream, provider):
    told = b'"message":"prompt is too long: 9 tokens > 8 maximum"'
    long = b'{"type":"error","error":{"type":"invalid_request_error",' + told + b"}}"
    upstream.script(Status(400, long), Status(400), Status(413))
    for retryable in (True, False, True):
        with pytest.raises(UpstreamStatus) as caught:
            await events_of(provider, call_for(card("claude-opus-5")))
        assert caught.value.retryable is retryable


async def test_a_header_of_another_form_is_refused(upstream, provider):
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    for header in ((b"anthropic-beta", b"536-90-4399"), (b"anthropic-version", b"new")):
        request = ChatRequest.build(body, dialect="messages", passed=(header,))
        call = call_for(card("claude-opus-5"))
        call = ChatCall(card=call.card, request=request, local_only=False, timeouts=call.timeouts)
        with pytest.raises(InvalidRequest):
            await events_of(provider, call)
    assert not upstream.requests


async def test_what_it_lacks_names_the_provider(upstream, provider):
    with pytest.raises(UpstreamLacks, match="anthropic has no `json_object`"):
        await events_of(provider, call_for(card("claude-opus-5"), response_format={"type": "json_object"}))


def test_a_bad_address(pool):
    with pytest.raises(SettingsError):
        Anthropic("anthropic", base_url="ftp://x", outbound=pool)
