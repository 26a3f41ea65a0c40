"""The official OpenAI SDK, pointed at the gateway by `base_url` alone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import openai
import pytest
from pydantic import BaseModel

from pointsman.testing.answers import Answer, HangUp, Page, Reset, Stall, Status, Tokens, ToolUse

pytestmark = pytest.mark.client

HI = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
def client(gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base_url, api_key="unused", max_retries=0, timeout=20) as client:
        yield client


PINNED = "openai:gpt-4o-mini"


@pytest.mark.shows("openai", "text")
def test_a_plain_answer(client, cloud):
    cloud.script(Answer(text="Hello there.", usage=Tokens(prompt=7, completion=3)))
    answer = client.chat.completions.create(model=PINNED, messages=HI)
    assert answer.choices[0].message.content == "Hello there."
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 3)
    assert answer.id == "chatcmpl-scripted"
    assert cloud.chats[0].json["model"] == "gpt-4o-mini"
    assert cloud.chats[0].headers["authorization"] == "Bearer sk-upstream-planted-key"


async def test_the_async_client(gateway, cloud):
    cloud.script(Answer(text="Hello."), Answer(text="Hello."))
    async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key="unused") as client:
        answers = await asyncio.gather(*(client.chat.completions.create(model=PINNED, messages=HI) for _ in range(2)))
        stream = await client.chat.completions.create(model=PINNED, messages=HI, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert [answer.choices[0].message.content for answer in answers] == ["Hello.", "Hello."]
    assert text == "Hello from upstream."


@pytest.mark.shows("openai", "stream")
def test_a_stream(client, cloud):
    cloud.script(Answer(text="one two three", pieces=5))
    chunks = list(client.chat.completions.create(model=PINNED, messages=HI, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "one two three"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


@pytest.mark.shows("openai", "usage in a stream")
def test_usage_in_a_stream_when_asked(client, cloud):
    cloud.script(Answer(usage=Tokens(prompt=11, completion=4, cached=2)))
    stream = client.chat.completions.create(
        model=PINNED, messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.prompt_tokens == 11
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 2


def test_usage_reaches_the_log_when_nobody_asked(client, cloud, gateway):
    cloud.script(Answer(usage=Tokens(prompt=1000, completion=100)))
    raw = client.chat.completions.with_raw_response.create(model=PINNED, messages=HI, stream=True)
    list(raw.parse())
    outcome = gateway.record(raw.headers["x-pointsman-decision"])["outcome"]
    assert (outcome["prompt_tokens"], outcome["completion_tokens"]) == (1000, 100)
    assert outcome["cost_micro_usd"] == 150 + 60  # gpt-4o-mini: 0.15 and 0.60 dollars a million


@pytest.mark.shows("openai", "parallel tool calls")
def test_parallel_tool_calls(client, cloud):
    calls = (ToolUse("get_weather", {"city": "Oslo"}, "call_a"), ToolUse("get_weather", {"city": "Rome"}, "call_b"))
    cloud.script(Answer(text="", tool_calls=calls), Answer(text="", tool_calls=calls))
    fields = {"model": PINNED, "messages": HI, "tools": [WEATHER], "tool_choice": "auto", "parallel_tool_calls": True}
    whole = client.chat.completions.create(**fields).choices[0]
    assert whole.finish_reason == "tool_calls"
    assert [json.loads(call.function.arguments)["city"] for call in whole.message.tool_calls] == ["Oslo", "Rome"]
    with client.chat.completions.stream(**fields) as stream:
        for _ in stream:
            pass
        streamed = stream.get_final_completion().choices[0]
    assert [call.function.arguments for call in streamed.message.tool_calls] == [
        call.function.arguments for call in whole.message.tool_calls
    ]
    assert cloud.chats[0].json["tools"] == [WEATHER]
    assert cloud.chats[0].json["parallel_tool_calls"] is True


@pytest.mark.shows("openai", "tools")
def test_tool_results_go_back(client, cloud):
    messages = [
        *HI,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "12 degrees"},
    ]
    client.chat.completions.create(model=PINNED, messages=messages, tools=[WEATHER])
    assert cloud.chats[0].json["messages"] == messages


class Point(BaseModel):
    x: int
    y: int


@pytest.mark.shows("openai", "structured output")
def test_structured_output(client, cloud):
    cloud.script(Answer(text='{"x": 1, "y": 2}'))
    answer = client.chat.completions.parse(model=PINNED, messages=HI, response_format=Point)
    assert answer.choices[0].message.parsed == Point(x=1, y=2)
    assert cloud.chats[0].json["response_format"]["json_schema"]["name"] == "Point"


def test_every_parameter_passes_through(client, cloud):
    fields = {
        "temperature": 0.3, "top_p": 0.9, "n": 2, "stop": ["END"], "seed": 7, "logprobs": True, "top_logprobs": 2,
        "max_tokens": 33, "presence_penalty": 0.1, "frequency_penalty": 0.2, "logit_bias": {"50256": -100},
        "user": "someone", "response_format": {"type": "json_object"},
    }  # fmt: skip
    cloud.script(Answer(n=2))
    answer = client.chat.completions.create(
        model=PINNED, messages=HI, extra_body={"invented_last_week": {"deep": [1, 2.50]}}, **fields
    )
    assert len(answer.choices) == 2
    sent = cloud.chats[0].json
    assert {name: sent[name] for name in fields} == fields
    assert b'"invented_last_week":{"deep":[1,2.5' in cloud.chats[0].body.replace(b" ", b"")


@pytest.mark.shows("openai", "images")
def test_images_pass_through(client, cloud):
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ]
    client.chat.completions.create(model="openai:gpt-4o", messages=[{"role": "user", "content": content}])
    assert cloud.chats[0].json["messages"][0]["content"] == content


@pytest.mark.shows("openai", "errors")
@pytest.mark.parametrize(
    ("step", "raised", "status"),
    [
        (Status(400), openai.BadRequestError, 400),
        (Status(422), openai.UnprocessableEntityError, 422),
        (Status(429, retry_after=1), openai.RateLimitError, 429),
        (Status(500), openai.InternalServerError, 502),
        (Status(401), openai.InternalServerError, 502),
        (Reset(), openai.InternalServerError, 502),
        (Page(b"<html>portal</html>"), openai.InternalServerError, 502),
        (Page(b'{"choi', content_type="application/json"), openai.InternalServerError, 502),
        (Stall(), openai.InternalServerError, 504),
    ],
    ids=lambda value: type(value).__name__ + str(getattr(value, "code", "")) if not isinstance(value, int) else "",
)
@pytest.mark.parametrize("stream", [False, True])
def test_upstream_errors_are_the_sdks_own(client, cloud, step, raised, status, stream):
    cloud.script(*[step] * 4)  # a reset of an idle connection is tried once more on a new one
    with pytest.raises(raised) as failed:
        client.chat.completions.create(model=PINNED, messages=HI, stream=stream)
    assert failed.value.status_code == status
    assert failed.value.body["message"]
    assert "planted" not in str(failed.value)


def test_retry_after_is_honoured(gateway, cloud):
    cloud.script(Status(429, retry_after=1), Answer(text="second try"))
    with openai.OpenAI(base_url=gateway.base_url, api_key="unused", max_retries=1) as client:
        started = time.monotonic()
        answer = client.chat.completions.create(model=PINNED, messages=HI)
    assert answer.choices[0].message.content == "second try"
    assert time.monotonic() - started >= 0.9


@pytest.mark.parametrize("step", [Reset(after_bytes=600), HangUp(after_bytes=600)], ids=["reset", "hang-up"])
def test_a_stream_that_breaks_raises(client, cloud, step):
    cloud.script(step)
    got = []
    with pytest.raises(openai.APIError) as failed:
        got.extend(client.chat.completions.create(model=PINNED, messages=HI, stream=True))
    assert got, "what came before the break reaches the caller"
    assert failed.value.code == "upstream_broken"


def test_the_clients_own_timeout(gateway, cloud, background):
    cloud.script(Stall())
    with (
        openai.OpenAI(base_url=gateway.base_url, api_key="unused", max_retries=0, timeout=0.3) as client,
        pytest.raises(openai.APITimeoutError),
    ):
        client.chat.completions.create(model=PINNED, messages=HI)
    background.run(cloud.wait_until(lambda upstream: upstream.abandoned == 1))


@pytest.mark.shows("openai", "list of models")
def test_models_are_listed(client):
    listed = {model.id for model in client.models.list()}
    assert {"auto", "openai:gpt-4o-mini", "openai:gpt-4o", "lan:llama3.1:8b"} <= listed
    assert client.models.retrieve("lan:llama3.1:8b").id == "lan:llama3.1:8b"


def test_an_unknown_model_names_close_ones(client):
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4o-mimi", messages=HI)
    assert missing.value.code == "model_not_found"
    assert missing.value.param == "model"
    assert "gpt-4o-mini" in missing.value.body["message"]


def test_a_bad_type_names_the_field(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=PINNED, messages=HI, temperature="hot")
    assert refused.value.param == "temperature"
