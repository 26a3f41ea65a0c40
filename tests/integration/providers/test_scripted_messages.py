"""The scripted upstream speaks Messages as Anthropic's own client understands it."""

from __future__ import annotations

import anthropic
import pytest

from pointsman.testing import Answer, Status, Tokens, ToolUse

HI = [{"role": "user", "content": "hi"}]
TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {}}}


@pytest.fixture
async def client(upstream):
    async with anthropic.AsyncAnthropic(base_url=upstream.root, api_key="k", max_retries=0) as client:
        yield client


async def test_an_answer(upstream, client):
    upstream.script(Answer(text="hello", reasoning="hm", usage=Tokens(prompt=9, completion=4, cached=3, written=2)))
    message = await client.messages.create(model="claude", max_tokens=10, messages=HI)
    thinking, text = message.content
    assert (thinking.thinking, text.text, message.stop_reason) == ("hm", "hello", "end_turn")
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (4, 3)
    assert message.usage.cache_creation.ephemeral_5m_input_tokens == 2


async def test_a_stream(upstream, client):
    upstream.script(
        Answer(text="hello you", reasoning="hm", tool_calls=[ToolUse("f", {"a": 1}), ToolUse("g", id="call_2")])
    )
    async with client.messages.stream(model="claude", max_tokens=10, messages=HI, tools=[TOOL]) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        message = await stream.get_final_message()
    thinking, _, first, second = message.content
    assert (text, message.stop_reason) == ("hello you", "tool_use")
    assert (thinking.thinking, thinking.signature) == ("hm", "c2lnbmF0dXJl")
    assert (first.input, second.input) == ({"a": 1}, {})
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 5)


async def test_errors(upstream, client):
    upstream.script(Status(529), Status(429, retry_after=3))
    with pytest.raises(anthropic.APIStatusError) as caught:
        await client.messages.create(model="claude", max_tokens=10, messages=HI)
    assert (caught.value.status_code, caught.value.body["error"]["type"]) == (529, "overloaded_error")
    with pytest.raises(anthropic.RateLimitError):
        await client.messages.create(model="claude", max_tokens=10, messages=HI)
    with pytest.raises(anthropic.BadRequestError, match="Extra inputs"):
        await client.messages.create(model="claude", max_tokens=10, messages=HI, extra_body={"seed": 1})


async def test_the_list_of_models(upstream, client):
    upstream.described["scripted-model"] = {"max_tokens": 77}
    assert [(model.id, model.max_tokens) async for model in client.models.list()] == [("scripted-model", 77)]
