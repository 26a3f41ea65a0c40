"""An Anthropic upstream, asked by OpenAI's own client through the gateway."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import openai
import pytest

from pointsman.testing import Answer, HangUp, Page, Stall, Status, Stream, Tokens, ToolUse

pytestmark = pytest.mark.client

PINNED = "anthropic:claude-opus-5-5"
HI = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture(scope="module")
def data_plane():
    return "native"


@pytest.fixture(scope="module")
def settings(cloud_server, lan_server):
    return {
        "providers": {
            "anthropic": {
                "base_url": cloud_server.root,
                "api_key": "sk-ant-planted-key",
                "models": ["claude-opus-5-5", "claude-opus-4-5", "claude-sonnet-4-5"],
            },
            "quiet": {
                "type": "anthropic",
                "base_url": cloud_server.base_url,
                "api_key": "sk-ant-planted-key",
                "models": ["claude-opus-5-5"],
                "drop_unsupported": True,
                "timeouts": {"first_byte": 0.4},
            },
            "lan": {"base_url": lan_server.base_url, "local": True, "models": ["llama3.1:8b"]},
            "ollama": {"enabled": False},
        },
        "routing": {"fallbacks": {"anthropic:claude-opus-4-5": ["lan:llama3.1:8b"], PINNED: ["quiet:none"]}},
        "limits": {"first_byte_timeout": 3.0, "between_bytes_timeout": 3.0, "connect_timeout": 2.0},
    }


@pytest.fixture
def client(gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base_url, api_key="unused", max_retries=0, timeout=20) as client:
        yield client


def test_a_plain_answer(client, cloud, gateway):
    cloud.script(Answer(text="Hello.", id="msg_1", usage=Tokens(prompt=700, completion=30, cached=100, written=200)))
    raw = client.chat.completions.with_raw_response.create(
        model=PINNED,
        messages=[{"role": "system", "content": "Be brief."}, *HI],
        stop=["END"],
        user="u1",
        temperature=0.5,
        presence_penalty=0,
        n=1,
    )
    answer = raw.parse()
    assert (answer.id, answer.choices[0].message.content, answer.choices[0].finish_reason) == (
        "msg_1",
        "Hello.",
        "stop",
    )
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (700, 30, 730)
    assert answer.usage.prompt_tokens_details.cached_tokens == 100
    [seen] = cloud.chats
    assert seen.path == "/v1/messages"
    assert seen.headers["x-api-key"] == "sk-ant-planted-key"
    assert seen.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in seen.headers
    assert seen.json == {
        "model": "claude-opus-5-5",
        "max_tokens": 128_000,
        "messages": HI,
        "system": "Be brief.",
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u1"},
    }
    attempt = gateway.record(raw.headers["x-pointsman-decision"])["outcome"]["attempts"][0]
    # 400 new, 100 read, 200 written at a quarter more, 30 answered: dollars per million of 4, 0.2, 5 and 20.
    assert attempt["cost_micro_usd"] == 400 * 4 + 20 + 200 * 5 + 30 * 20


def test_a_stream_with_thoughts_and_calls(client, cloud):
    cloud.script(
        Answer(
            text="Let me see.",
            reasoning="The city?",
            tool_calls=[ToolUse("get_weather", {"city": "Ulm"}), ToolUse("now")],
        )
    )
    with client.chat.completions.stream(
        model=PINNED, messages=HI, tools=[WEATHER], reasoning_effort="high", stream_options={"include_usage": True}
    ) as stream:
        chunks = [event.chunk for event in stream if event.type == "chunk"]
        answer = stream.get_final_completion()
    message = answer.choices[0].message
    assert message.content == "Let me see."
    assert message.reasoning_content == "The city?"
    assert message.thinking_blocks == [{"type": "thinking", "thinking": "The city?", "signature": "c2lnbmF0dXJl"}]
    assert [json.loads(call.function.arguments) for call in message.tool_calls] == [{"city": "Ulm"}, {}]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 15)
    [seen] = cloud.chats
    assert (seen.json["thinking"], seen.json["output_config"]) == ({"type": "adaptive"}, {"effort": "high"})


def test_the_loop_of_a_tool(client, cloud):
    cloud.script(
        Answer(text="", reasoning="hm", tool_calls=[ToolUse("get_weather", {"city": "Ulm"})], id="msg_1"),
        Answer(text="Rain."),
    )
    first = client.chat.completions.create(model=PINNED, messages=HI, tools=[WEATHER], tool_choice="required")
    said = first.choices[0].message.model_dump()
    result = {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "rain"}
    second = client.chat.completions.create(model=PINNED, messages=[*HI, said, result], tools=[WEATHER])
    assert second.choices[0].message.content == "Rain."
    sent = cloud.chats[1].json
    assert cloud.chats[0].json["tool_choice"] == {"type": "any"}
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
    thinking, call = sent["messages"][1]["content"]
    assert thinking == {"type": "thinking", "thinking": "hm", "signature": "c2lnbmF0dXJl"}
    assert call == {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"city": "Ulm"}}
    assert sent["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "call_1", "content": "rain"}]


def test_pictures_and_documents(client, cloud):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    document = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}}
    client.chat.completions.create(model=PINNED, messages=[{"role": "user", "content": [picture, document]}])
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    assert cloud.chats[0].json["messages"][0]["content"] == [
        {"type": "image", "source": source},
        {"type": "document", "source": pdf, "title": "a.pdf"},
    ]


def test_a_schema(client, cloud):
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}
    client.chat.completions.create(model=PINNED, messages=HI, response_format=form)
    assert cloud.chats[0].json["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


@pytest.mark.parametrize(
    ("field", "value"), [("seed", 7), ("logit_bias", {"1": 2}), ("n", 2), ("frequency_penalty", 0.5), ("speed", "fast")]
)
def test_what_it_does_not_take_is_refused_by_name_or_dropped(client, cloud, gateway, field, value):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=PINNED, messages=HI, extra_body={field: value})
    assert (caught.value.param, caught.value.code) == (field, "unsupported_parameter")
    assert "anthropic" in caught.value.message
    assert not cloud.chats
    client.chat.completions.create(model="quiet:claude-opus-5-5", messages=HI, extra_body={field: value})
    assert field not in cloud.chats[0].json
    assert f"quiet does not take {field}" in gateway.log_text


def test_another_model_steps_in_for_what_it_does_not_take(client, cloud, lan):
    raw = client.chat.completions.with_raw_response.create(model="anthropic:claude-opus-4-5", messages=HI, seed=7)
    assert raw.headers["x-pointsman-provider"] == "lan"
    assert lan.chats[0].json["seed"] == 7
    assert not cloud.chats


def test_errors_are_typed_and_tell_no_key(client, cloud):
    quoted = b'{"type":"error","error":{"type":"invalid_request_error","message":"no sk-ant-planted-key here"}}'
    cloud.script(Status(429, retry_after=7), Status(529), Status(400, quoted), Status(401), Status(413))
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model=PINNED, messages=HI)
    assert caught.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model=PINNED, messages=HI)
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=PINNED, messages=HI)
    assert "no [removed] here" in caught.value.message
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model=PINNED, messages=HI)
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=PINNED, messages=HI)
    assert caught.value.status_code == 413


def test_overloaded_before_the_first_word_lets_another_step_in(client, cloud, lan):
    begin = Answer().messages_frames({"model": "m"})[0]
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    cloud.script(Stream([begin + error]))
    chunks = list(client.chat.completions.create(model="anthropic:claude-opus-4-5", messages=HI, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello from upstream."
    assert len(lan.chats) == 1


def _listen(client: openai.OpenAI, heard: list[str]) -> None:
    chunks = client.chat.completions.create(model=PINNED, messages=HI, stream=True)
    heard.extend(chunk.choices[0].delta.content or "" for chunk in chunks)


@pytest.mark.parametrize(
    "step",
    [
        HangUp(after_bytes=900),
        Stream([b"".join(Answer().messages_frames({})[:4])]),
        Stream(
            [
                *Answer().messages_frames({})[:4],
                b'event: error\ndata: {"type":"error","error":{"type":"api_error"}}\n\n',
            ]
        ),
        Stream([*Answer().messages_frames({})[:4], b'data: {"type":"content_block_delta","x":"\xff"}\n\n'], delay=0.1),
        Stream([*Answer().messages_frames({})[:4], b"data: {nonsense\n\n"], delay=0.1),
    ],
    ids=["hang-up", "no end", "error", "not UTF-8", "no JSON"],
)
def test_a_stream_that_breaks_says_so(client, cloud, step):
    cloud.script(step)
    heard: list[str] = []
    with pytest.raises(openai.APIError):
        _listen(client, heard)
    assert "".join(heard)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "page",
    [
        Page(b"<html>captive</html>"),
        Page(b'{"type":"message"', "application/json"),
        Page(b"\xff\xfe", "application/json"),
        Page(b"[]", "application/json"),
        Page(b'{"type":"message","content":[3]}', "application/json"),
        Page(b'data: {"type":"content_block_stop"}\n\n', "text/event-stream"),
    ],
)
def test_what_is_no_answer_is_a_bad_gateway(client, cloud, page, stream):
    cloud.script(page)
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=PINNED, messages=HI, stream=stream)
    assert caught.value.status_code == 502


def test_a_client_that_leaves_ends_the_call(client, cloud, background):
    cloud.script(Stall(after_bytes=900))
    stream = client.chat.completions.create(model=PINNED, messages=HI, stream=True)
    next(iter(stream))
    stream.close()
    background.run(cloud.wait_until(lambda server: server.abandoned == 1, timeout=3))


def test_its_own_timeouts(client, cloud):
    cloud.script(Answer(first_delay=2))
    started = time.monotonic()
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="quiet:claude-opus-5-5", messages=HI)
    assert caught.value.status_code == 504
    assert time.monotonic() - started < 1.9


def test_a_stream_that_was_answered_whole(client, cloud):
    cloud.script(Answer(text="whole", unstreamed=True))
    chunks = list(client.chat.completions.create(model=PINNED, messages=HI, stream=True))
    assert chunks[0].choices[0].delta.content == "whole"


PATCH = {"type": "custom", "custom": {"name": "patch", "description": "Apply a patch.", "format": {"type": "text"}}}


@pytest.mark.parametrize("stream", [False, True])
def test_a_custom_tool_is_a_function_of_one_text(gateway, cloud, stream):
    text = "*** Begin\n+ö\n"
    cloud.script(Answer(text="", tool_calls=[ToolUse("patch", {"input": text})]), Answer())
    body = {"model": PINNED, "messages": HI, "tools": [PATCH, WEATHER], "stream": stream}
    choice = {"type": "custom", "custom": {"name": "patch"}}
    reply = gateway.ask("POST", "/v1/chat/completions", {**body, "tool_choice": choice})
    if stream:
        chunks = [json.loads(line[6:]) for line in reply.body.splitlines() if line.startswith(b"data: {")]
        told = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
        assert (told[0]["type"], told[0]["custom"]["name"]) == ("custom", "patch")
        assert "".join(call["custom"]["input"] for call in told) == text
        call = {"id": told[0]["id"], "type": "custom", "custom": {"name": "patch", "input": text}}
    else:
        call = reply.json["choices"][0]["message"]["tool_calls"][0]
        assert call == {"id": "call_1", "type": "custom", "custom": {"name": "patch", "input": text}}
    tool = cloud.chats[0].json["tools"][0]
    assert (tool["name"], tool["input_schema"]["required"]) == ("patch", ["input"])
    assert cloud.chats[0].json["tool_choice"] == {"type": "tool", "name": "patch"}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "done"}
    history = [*HI, {"role": "assistant", "content": None, "tool_calls": [call]}, result]
    assert gateway.ask("POST", "/v1/chat/completions", {**body, "messages": history}).status == 200
    assert cloud.chats[1].json["messages"][1]["content"][0]["input"] == {"input": text}


def test_responses_with_a_custom_tool(client, cloud):
    cloud.script(Answer(text="", tool_calls=[ToolUse("patch", {"input": "p"})]))
    tool = {"type": "custom", "name": "patch", "description": "Apply a patch."}
    answer = client.responses.create(model=PINNED, input="go", tools=[tool], store=False)
    [call] = [item for item in answer.output if item.type == "custom_tool_call"]
    assert (call.name, call.input) == ("patch", "p")
