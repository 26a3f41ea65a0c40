"""The official Anthropic SDK, pointed at the gateway by `base_url` alone; behind it an upstream that speaks chat."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import anthropic
import pytest
from pydantic import BaseModel

from pointsman.testing.answers import Answer, HangUp, Reset, Stall, Status, Tokens, ToolUse

pytestmark = pytest.mark.client

PINNED = "openai:gpt-4o-mini"
HI = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def client(gateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key="unused", max_retries=0, timeout=20) as client:
        yield client


def ask(client: anthropic.Anthropic, **fields):
    return client.messages.create(**{"model": PINNED, "max_tokens": 100, "messages": HI, **fields})


@pytest.mark.shows("anthropic", "text")
def test_a_plain_answer(client, cloud, gateway):
    cloud.script(Answer(text="Hello there.", usage=Tokens(prompt=100, completion=3, cached=40)))
    raw = client.messages.with_raw_response.create(model=PINNED, max_tokens=100, messages=HI, system="Be brief.")
    answer = raw.parse()
    assert [block.text for block in answer.content] == ["Hello there."]
    assert (answer.stop_reason, answer.role, answer.model) == ("end_turn", "assistant", PINNED)
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (60, 40, 3)
    decision = raw.headers["x-pointsman-decision"]
    assert answer.id == f"msg_{decision.removeprefix('dec_')}"
    assert gateway.record(decision)["outcome"]["prompt_tokens"] == 100
    sent = cloud.chats[0].json
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, *HI]
    assert (sent["model"], sent["max_completion_tokens"]) == ("gpt-4o-mini", 100)


async def test_the_async_client(gateway, cloud):
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="unused") as client:
        fields = {"model": PINNED, "max_tokens": 10, "messages": HI}
        answers = await asyncio.gather(*(client.messages.create(**fields) for _ in range(2)))
        async with client.messages.stream(**fields) as stream:
            text = "".join([piece async for piece in stream.text_stream])
    assert [answer.content[0].text for answer in answers] == ["Hello from upstream."] * 2
    assert text == "Hello from upstream."


@pytest.mark.shows("anthropic", "stream")
def test_a_stream(client, cloud):
    cloud.script(Answer(text="one two three", pieces=5, usage=Tokens(prompt=11, completion=4, cached=1)))
    with client.messages.stream(model=PINNED, max_tokens=100, messages=HI) as stream:
        assert "".join(stream.text_stream) == "one two three"
        final = stream.get_final_message()
    assert final.stop_reason == "end_turn"
    assert (final.usage.input_tokens, final.usage.cache_read_input_tokens, final.usage.output_tokens) == (10, 1, 4)
    kinds = [event.type for event in ask(client, stream=True)]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]


@pytest.mark.shows("anthropic", "parallel tool calls")
@pytest.mark.shows("anthropic", "tools")
def test_a_loop_with_parallel_tools(client, cloud):
    calls = (ToolUse("get_weather", {"city": "Oslo"}, "call_a"), ToolUse("get_weather", {"city": "Rome"}, "call_b"))
    cloud.script(Answer(text="I look.", tool_calls=calls), Answer(text="Cold and warm."))
    messages = list(HI)
    with client.messages.stream(model=PINNED, max_tokens=100, messages=messages, tools=[WEATHER]) as stream:
        first = stream.get_final_message()
    assert first.stop_reason == "tool_use"
    used = [block for block in first.content if block.type == "tool_use"]
    assert [(block.id, block.input) for block in used] == [("call_a", {"city": "Oslo"}), ("call_b", {"city": "Rome"})]
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": f"in {block.input['city']}"} for block in used
    ]
    results[1]["is_error"] = True
    messages += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [*results, {"type": "text", "text": "And?"}]},
    ]
    last = ask(client, messages=messages, tools=[WEATHER], tool_choice={"type": "any"})
    assert last.content[0].text == "Cold and warm."
    sent = cloud.chats[1].json
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "tool", "tool", "user"]
    assert [call["id"] for call in sent["messages"][1]["tool_calls"]] == ["call_a", "call_b"]
    assert [message["tool_call_id"] for message in sent["messages"][2:4]] == ["call_a", "call_b"]
    assert sent["tool_choice"] == "required"
    function = {"name": "get_weather", "description": "Tells the weather.", "parameters": WEATHER["input_schema"]}
    assert sent["tools"] == [{"type": "function", "function": function}]


def test_an_unstreamed_call(client, cloud):
    cloud.script(Answer(text="", tool_calls=[ToolUse("get_weather", {"city": "Oslo"}, "call_a")]))
    answer = ask(client, tools=[WEATHER])
    assert [(block.type, block.input) for block in answer.content] == [("tool_use", {"city": "Oslo"})]
    assert answer.stop_reason == "tool_use"


@pytest.mark.shows("anthropic", "images")
def test_pictures(client, cloud):
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    blocks = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    ask(client, messages=[{"role": "user", "content": blocks}])
    part = cloud.chats[0].json["messages"][0]["content"][0]
    assert part == {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


@pytest.mark.shows("anthropic", "thinking")
def test_thinking(client, cloud):
    cloud.script(Answer(text="So.", reasoning="Hm, let me see."), Answer(text="Again."))
    thinking = {"type": "enabled", "budget_tokens": 1024}
    with client.messages.stream(model=PINNED, max_tokens=2000, messages=HI, thinking=thinking) as stream:
        answer = stream.get_final_message()
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.content[0].thinking == "Hm, let me see."
    ask(client, messages=[*HI, {"role": "assistant", "content": answer.content}, {"role": "user", "content": "?"}])
    assert cloud.chats[1].json["messages"][1]["content"] == "So."


class Point(BaseModel):
    x: int
    y: int


@pytest.mark.shows("anthropic", "structured output")
def test_structured_output(client, cloud):
    cloud.script(Answer(text='{"x": 1, "y": 2}'))
    answer = client.messages.parse(model=PINNED, max_tokens=100, messages=HI, output_format=Point)
    assert answer.parsed_output == Point(x=1, y=2)
    sent = cloud.chats[0].json["response_format"]
    assert sent["type"] == "json_schema"
    assert set(sent["json_schema"]["schema"]["properties"]) == {"x", "y"}


def test_what_only_anthropic_knows_does_not_reach_others(client, cloud):
    marked = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    tools = [{**WEATHER, "cache_control": {"type": "ephemeral"}}]
    ask(client, system=marked, tools=tools, metadata={"user_id": "u"}, extra_body={"context_management": {"edits": []}})
    sent = cloud.chats[0].body
    for word in (b"cache_control", b"context_management", b"user_id"):
        assert word not in sent


def test_beta_paths(client, cloud):
    answer = client.beta.messages.create(
        model=PINNED, max_tokens=10, messages=HI, betas=["interleaved-thinking-2025-05-14", "context-1m-2025-08-07"]
    )
    assert answer.content[0].text == "Hello from upstream."


@pytest.mark.shows("anthropic", "token counts")
def test_counting_tokens(client, cloud, lan):
    text = "The quick brown fox jumps over the lazy dog. " * 100
    short = client.messages.count_tokens(model="auto", messages=HI).input_tokens
    long = client.messages.count_tokens(model="auto", messages=[{"role": "user", "content": text}]).input_tokens
    whole = client.messages.count_tokens(model="auto", messages=HI, system=text, tools=[WEATHER]).input_tokens
    assert 3 <= short <= 40
    assert 700 <= long <= 1400  # 1,000 tokens
    assert whole > long
    assert not cloud.chats
    assert not lan.chats


@pytest.mark.shows("anthropic", "errors")
def test_typed_errors(client, cloud):
    with pytest.raises(anthropic.NotFoundError) as missing:
        ask(client, model="gpt-4o-mni")
    assert missing.value.error_code == "model_not_found"
    assert "gpt-4o-mini" in missing.value.message
    assert missing.value.type == "not_found_error"
    assert missing.value.request_id == missing.value.body["request_id"]
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\]\.content\[0\]\.type.*wat"):
        ask(client, messages=[{"role": "user", "content": [{"type": "wat"}]}])
    cloud.script(Status(429, retry_after=7))
    with pytest.raises(anthropic.RateLimitError) as limited:
        ask(client)
    assert limited.value.response.headers["retry-after"] == "7"
    cloud.script(Status(500))
    with pytest.raises(anthropic.InternalServerError) as failed:
        ask(client)
    assert failed.value.type == "api_error"
    cloud.script(Status(400, body=b'{"error": {"message": "too hot", "type": "invalid_request_error"}}'))
    with pytest.raises(anthropic.BadRequestError, match="too hot"):
        ask(client, extra_body={"temperature": 1.0})


@pytest.mark.parametrize("fault", [Reset(after_bytes=600), HangUp(after_bytes=600)], ids=["reset", "hang-up"])
def test_a_stream_that_breaks_ends_in_an_error_event(client, cloud, fault):
    cloud.script(fault)
    seen = []
    with pytest.raises(anthropic.APIStatusError) as broken:
        seen.extend(event.type for event in ask(client, stream=True))
    assert broken.value.type == "api_error"
    assert "message_stop" not in seen


def test_who_leaves_cancels_the_upstream_call(client, cloud, background):
    cloud.script(Stall(after_bytes=600))
    stream = ask(client, stream=True)
    next(iter(stream))
    stream.close()
    background.run(cloud.wait_until(lambda upstream: upstream.abandoned == 1, timeout=1.0))


def test_the_model_may_be_an_alias(client, lan):
    assert ask(client, model="fast").model == "lan:llama3.1:8b"
    assert json.loads(lan.chats[0].body)["model"] == "llama3.1:8b"


def test_private_content_stays(client, cloud, lan):
    secret = "AKIAQ3EGRT5YUIO7PLKJ"  # a key, as AWS makes them
    asked = [*HI, {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}]
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": f"key={secret}"}]}
    for fields in (
        {"system": [{"type": "text", "text": f"Use {secret}"}]},
        {"messages": [*asked, result]},
        {"tools": [{**WEATHER, "description": f"Needs {secret}"}]},
    ):
        answer = ask(client, **{"model": "auto", "tools": [WEATHER], **fields})
        assert answer.model == "lan:llama3.1:8b"
        with pytest.raises(anthropic.PermissionDeniedError) as wall:
            ask(client, **{"model": PINNED, **fields})
        assert wall.value.error_code == "privacy_local_only"
        assert secret not in str(wall.value.body)
    assert not cloud.chats


@pytest.mark.shows("anthropic", "tool runner")
def test_a_run_of_tools_sends_the_whole_conversation(client, cloud):
    """The SDK asks the server to keep the conversation between the turns, and heeds that it did not."""

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """Tells the weather."""
        return f"Rain in {city}."

    def call(number: int) -> Answer:
        return Answer(text=None, tool_calls=[ToolUse("get_weather", {"city": "Riga"}, f"toolu_{number}")])

    cloud.script(call(1), call(2), Answer(text="It rains."))
    runner = client.beta.messages.tool_runner(
        model=PINNED, max_tokens=100, system="Be brief.", messages=HI, tools=[get_weather]
    )
    assert runner.until_done().content[0].text == "It rains."
    last = cloud.chats[-1].json
    assert [message["role"] for message in last["messages"]] == [
        *("system", "user", "assistant", "tool", "assistant", "tool")
    ]
    assert "tools" in last
    assert "thread" not in last
    assert len(cloud.chats) == 3
