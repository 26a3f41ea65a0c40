"""The scripted upstream speaks Responses as OpenAI's own client understands it."""

from __future__ import annotations

import openai
import pytest

from pointsman.testing import Answer, Status, Tokens, ToolUse

LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": False}
PATCH = {"type": "custom", "name": "patch"}


@pytest.fixture
async def client(upstream):
    async with openai.AsyncOpenAI(base_url=upstream.base_url, api_key="k", max_retries=0) as client:
        yield client


async def test_an_answer(upstream, client):
    upstream.script(Answer(text="hello", reasoning="hm", usage=Tokens(prompt=9, completion=4, cached=3)))
    answer = await client.responses.create(model="m", input="hi", include=["reasoning.encrypted_content"])
    thought, _ = answer.output
    assert (thought.summary[0].text, answer.output_text, answer.status) == ("hm", "hello", "completed")
    assert thought.encrypted_content.startswith("gAAAAA")
    assert (answer.usage.input_tokens, answer.usage.input_tokens_details.cached_tokens) == (9, 3)


async def test_a_stream(upstream, client):
    calls = [ToolUse("look", {"a": 1}), ToolUse("patch", {"input": "*** Begin"}, id="call_2")]
    upstream.script(Answer(text="hello you", reasoning="hm", tool_calls=calls))
    pieces, patch = "", ""
    async with client.responses.stream(model="m", input="hi", tools=[LOOK, PATCH]) as stream:
        async for event in stream:
            pieces += event.delta if event.type == "response.output_text.delta" else ""
            patch += event.delta if event.type == "response.custom_tool_call_input.delta" else ""
        answer = await stream.get_final_response()
    assert (pieces, patch) == ("hello you", "*** Begin")
    assert [item.type for item in answer.output] == ["reasoning", "message", "function_call", "custom_tool_call"]
    assert (answer.output[2].arguments, answer.output[3].input) == ('{"a":1}', "*** Begin")


async def test_an_answer_that_is_cut(upstream, client):
    upstream.script(Answer(text="cut", finish="length"))
    answer = await client.responses.create(model="m", input="hi")
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")


async def test_errors(upstream, client):
    upstream.script(Status(429, retry_after=3))
    with pytest.raises(openai.RateLimitError):
        await client.responses.create(model="m", input="hi")
    with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'seed'"):
        await client.responses.create(model="m", input="hi", extra_body={"seed": 1})
    for item in (
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAA-scripted"},
        {"type": "function_call_output", "call_id": "c1", "output": "x"},
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
    ):
        with pytest.raises(openai.BadRequestError):
            await client.responses.create(model="m", input=[item])
