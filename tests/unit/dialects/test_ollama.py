"""Between Ollama's words and OpenAI's, with the shapes of Ollama's documented API."""

from __future__ import annotations

import itertools
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import InvalidRequest, UpstreamBroken, UpstreamError, UpstreamProtocolError
from pointsman.core.events import Finish, Frames, Reasoning, Text, ToolCallDelta, Usage, chunks, deltas
from pointsman.core.request import ChatRequest
from pointsman.dialects.ollama.answer import OllamaStream, read_whole
from pointsman.dialects.ollama.models import Listed, Shown, Version, completed, runs_elsewhere, show_decoder
from pointsman.dialects.ollama.request import to_ollama

STAMP = {"model": "llama3.2", "created_at": "2026-08-04T08:52:19.385406455-07:00"}
LAST = {
    **STAMP,
    "message": {"role": "assistant", "content": ""},
    "done_reason": "stop",
    "done": True,
    "total_duration": 4883583458,
    "load_duration": 1334875,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 342546000,
    "eval_count": 282,
    "eval_duration": 4535599000,
}


def line(message: dict | None = None, **extra: object) -> bytes:
    return json.dumps({**STAMP, "message": {"role": "assistant", **(message or {})}, "done": False, **extra}).encode()


def last(**extra: object) -> bytes:
    return json.dumps({**LAST, **extra}).encode()


def relay(*blocks: bytes, wants_usage: bool = False) -> list[Frames]:
    stream = OllamaStream(model="m", answer_id="chatcmpl-7", created=5, wants_usage=wants_usage)
    events = [event for block in blocks if (event := stream.feed(block)) is not None]
    final = stream.end()
    return [*events, final] if final is not None else events


def said(events: list[Frames]) -> list[object]:
    return [delta for event in events for delta in deltas(event)]


@given(
    st.lists(st.text(max_size=10), max_size=6),
    st.text(max_size=10),
    st.lists(st.integers(0, 5000), max_size=30),
    st.booleans(),
    st.booleans(),
)
def test_any_split_says_the_same(
    texts: list[str], thought: str, cuts: list[int], wants_usage: bool, ended: bool
) -> None:
    lines = [line({"content": "", "thinking": thought}), *(line({"content": text}) for text in texts), last()]
    stream = b"\n".join(lines) + (b"\n" if ended else b"")
    places = sorted({cut % len(stream) for cut in cuts} | {0, len(stream)})
    events = relay(*(stream[a:b] for a, b in itertools.pairwise(places)), wants_usage=wants_usage)
    deltas_ = said(events)
    assert "".join(delta.text for delta in deltas_ if isinstance(delta, Text)) == "".join(texts)
    assert "".join(delta.text for delta in deltas_ if isinstance(delta, Reasoning)) == thought
    assert [delta for delta in deltas_ if isinstance(delta, Finish)] == [Finish("stop")]
    assert [delta.completion_tokens for delta in deltas_ if isinstance(delta, Usage)] == [282] * wants_usage
    assert [event.usage.prompt_tokens for event in events if event.usage] == [26]
    assert [event.answer_id for event in events if event.answer_id] == ["chatcmpl-7"]
    assert [event.finish_reason for event in events if event.finish_reason] == ["stop"]


def test_chunks_are_openai_chunks() -> None:
    events = relay(line({"content": "hi"}) + b"\n" + last() + b"\n", wants_usage=True)
    payloads = [json.loads(text[6:]) for text in events[0].raw.decode().split("\n\n") if text]
    assert all((p["id"], p["object"], p["created"], p["model"]) == ("chatcmpl-7", "chat.completion.chunk", 5, "m")
               for p in payloads)  # fmt: skip
    assert payloads[0]["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": None}
    ]
    assert payloads[-1]["usage"] == {"prompt_tokens": 26, "completion_tokens": 282, "total_tokens": 308}


def test_tool_calls_get_strings_ids_and_indexes() -> None:
    first = line({"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": {"b": [1]}}}}]})
    second = line({"tool_calls": [{"id": "own", "function": {"name": "g", "arguments": {}}}]})
    events = relay(first + b"\n", second + b"\n", last() + b"\n")
    calls = [delta for delta in said(events) if isinstance(delta, ToolCallDelta)]
    assert [(call.index, call.name, call.arguments) for call in calls] == [(0, "f", '{"a":{"b":[1]}}'), (1, "g", "{}")]
    assert calls[0].id
    assert calls[1].id == "own"
    assert events[-1].finish_reason == "tool_calls"


def test_length_and_logprobs() -> None:
    probable = [{"token": "hi", "logprob": -0.1, "top_logprobs": []}]
    events = relay(line({"content": "hi"}, logprobs=probable) + b"\n" + last(done_reason="length") + b"\n")
    assert events[0].finish_reason == "length"
    assert json.loads(events[0].raw.split(b"\n\n")[0][6:])["choices"][0]["logprobs"] == {"content": probable}


def test_counts_that_are_missing_are_not_invented() -> None:
    bare = {key: value for key, value in LAST.items() if not key.endswith("count")}
    assert relay(json.dumps(bare).encode() + b"\n", wants_usage=True)[0].usage is None


@pytest.mark.parametrize("end", [b"", b'{"message": {"cont', b"\n\n"])
def test_a_stream_that_stops_is_broken(end: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        relay(line({"content": "hi"}) + b"\n", end)


@pytest.mark.parametrize(
    "text", [b"hello", b"[]", b"{}", b'{"message": {"content": 5}}', b'{"message": {"content": "\xff"}}']
)
def test_lines_that_are_no_answer(text: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        relay(text + b"\n")


def test_an_error_behind_text_comes_after_it() -> None:
    stream = OllamaStream(model="m", answer_id="a", created=1, wants_usage=False)
    stream.feed(line({"content": "a"}) + b"\n")
    event = stream.feed(line({"content": "b"}) + b'\n{"error": "runner stopped"}\n')
    assert event is not None
    assert [delta.text for delta in deltas(event)] == ["b"]
    assert isinstance(stream.failure, UpstreamError)
    with pytest.raises(UpstreamError):
        relay(line({"content": ""}) + b'\n{"error": "runner stopped"}\n')


@pytest.mark.parametrize("fault", [b'{"error": "runner stopped"}\n', b"hello\n"])
def test_where_a_failing_stream_is_cut_changes_nothing(fault: bytes) -> None:
    whole = line({"content": "a"}) + b"\n" + line({"content": "b"}) + b"\n" + fault
    for at in range(len(whole)):
        stream, said = OllamaStream(model="m", answer_id="a", created=1, wants_usage=False), ""
        with pytest.raises(UpstreamError) as caught:  # noqa: PT012
            for block in (whole[:at], whole[at:]):
                if (event := stream.feed(block)) is not None:
                    said += "".join(delta.text for delta in deltas(event) if isinstance(delta, Text))
                if stream.failure is not None:
                    raise stream.failure
        assert said == "ab", at
        assert isinstance(caught.value, UpstreamProtocolError) is (fault == b"hello\n")


def test_a_whole_answer() -> None:
    raw = last(message={"role": "assistant", "content": "", "thinking": "hm",
                        "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]})  # fmt: skip
    body = read_whole(raw, model="m", answer_id="chatcmpl-7", created=5)
    choice = json.loads(body.raw)["choices"][0]
    assert choice["message"]["content"] is None
    assert choice["message"]["reasoning_content"] == "hm"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"x":1}'}
    assert choice["finish_reason"] == body.finish_reason == "tool_calls"
    assert body.usage == Usage(26, 282)
    assert chunks(body)[0].id == "chatcmpl-7"


@pytest.mark.parametrize("raw", [b"", b"<html>", b"{}", line({"content": "a"})])
def test_a_whole_answer_that_is_none(raw: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        read_whole(raw, model="m", answer_id="a", created=1)


def translated(*messages: dict, **fields: object) -> dict:
    request = ChatRequest.build({"messages": messages or [{"role": "user", "content": "hi"}], **fields})
    return json.loads(to_ollama(request, can_think=True).render(name="llama3.2", num_ctx=4096, stream=True))


def test_the_request_in_ollamas_words() -> None:
    body = translated(
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "look"},
                                     {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}]},
        temperature=0, top_p=0.5, seed=7, stop="END", max_completion_tokens=9, top_k=3, logit_bias={"1": 2},
        reasoning_effort="high", keep_alive="10m", user="u",
    )  # fmt: skip
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "look", "images": ["QUJD"]},
    ]
    assert body["options"] == {
        "temperature": 0.0, "top_p": 0.5, "seed": 7, "stop": ["END"], "num_predict": 9, "top_k": 3, "num_ctx": 4096,
    }  # fmt: skip
    assert (body["model"], body["stream"], body["truncate"], body["think"]) == ("llama3.2", True, False, "high")
    assert body["keep_alive"] == "10m"
    assert body.keys() == {"messages", "options", "model", "stream", "truncate", "think", "keep_alive"}


def test_a_callers_own_context_size_wins() -> None:
    assert translated(options={"num_gpu": 9, "mirostat": 1})["options"] == {
        "num_gpu": 9, "mirostat": 1, "num_ctx": 4096,
    }  # fmt: skip


def test_tool_turns() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    odd = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "not json"}}
    body = translated(
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": [call, odd], "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "42"}]},
    )
    assert body["messages"][1] == {
        "role": "assistant",
        "content": "",
        "thinking": "hm",
        "tool_calls": [
            {"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}},
            {"id": "c2", "function": {"name": "g", "arguments": {"arguments": "not json"}}},
        ],
    }
    assert body["messages"][2] == {"role": "tool", "content": "42", "tool_name": "f", "tool_call_id": "c1"}


TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("f", "g")]


@pytest.mark.parametrize(
    ("choice", "names"),
    [("auto", ["f", "g"]), ("none", None), ({"type": "function", "function": {"name": "g"}}, ["g"])],
)
def test_tool_choice(choice: object, names: list[str] | None) -> None:
    sent = translated(tools=TOOLS, tool_choice=choice).get("tools")
    assert (sent and [tool["function"]["name"] for tool in sent]) == names


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, "json"),
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}, {"type": "object"}),
    ],
)
def test_response_format(wanted: dict, sent: object) -> None:
    assert translated(response_format=wanted).get("format") == sent


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/a.png"}}]}]},
         "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 5}}]}]},
         "messages[0].content.url"),
        ({"messages": [{"role": "nobody"}]}, "messages[0].role"),
        ({"options": 5}, "options"),
    ],
)  # fmt: skip
def test_what_ollama_cannot_take_is_named(fields: dict, param: str) -> None:
    request = ChatRequest.build({"messages": [{"role": "user", "content": "hi"}], **fields})
    with pytest.raises(InvalidRequest) as caught:
        to_ollama(request)
    assert caught.value.param == param


def test_thinking_is_asked_only_of_models_that_can() -> None:
    request = ChatRequest.build({"messages": [{"role": "user", "content": "hi"}], "reasoning_effort": "low"})
    assert "think" not in to_ollama(request).fields


SHOWN = show_decoder.decode(
    json.dumps({
        "details": {"parameter_size": "3.2B", "family": "llama"},
        "model_info": {"general.architecture": "llama", "llama.context_length": 131072, "llama.block_count": 28},
        "capabilities": ["completion", "tools", "vision", "insert", "thinking", "something-new"],
    })
)  # fmt: skip


def test_a_card_is_completed_by_what_ollama_tells() -> None:
    assumed = ModelCard(id="ollama:x", provider="ollama", name="x", local=True)
    card = completed(assumed, Listed("x"), SHOWN, Version("0.12.11"))
    assert (card.context_window, card.parameters) == (131072, "3.2B")
    assert card.capabilities == {"chat", "tools", "vision", "completion", "json_object", "json_schema", "logprobs"}
    assert SHOWN.thinks
    assert "logprobs" not in completed(assumed, Listed("x"), SHOWN, Version("0.12.3")).capabilities
    embeds = completed(assumed, Listed("x"), Shown(capabilities=["embedding"]), None)
    assert (embeds.capabilities, embeds.routable) == ({"embeddings"}, False)
    assert completed(assumed, Listed("x"), None, None) == assumed


@pytest.mark.parametrize(
    ("name", "told", "elsewhere"),
    [
        ("gpt-oss:120b-cloud", None, True),
        ("qwen3-coder:480B-CLOUD", None, True),
        ("glm-4.6:cloud", None, True),
        ("mine", Listed("mine", remote_host="https://ollama.com:443"), True),
        ("mine", Shown(remote_model="gpt-oss:120b"), True),
        ("mine", Listed("mine"), False),
        ("cloudy:7b", Shown(), False),
    ],
)
def test_cloud_models_are_told(name: str, told: Listed | Shown | None, elsewhere: bool) -> None:
    assert runs_elsewhere(name, told) is elsewhere


@pytest.mark.parametrize(("version", "gives"), [("0.12.11", True), ("0.13.0-rc1", True), ("0.9", False), ("", False)])
def test_versions(version: str, gives: bool) -> None:
    assert Version(version).gives_logprobs is gives


def test_raw_fields_are_not_decoded_on_the_way() -> None:
    tools = msgspec.Raw(b'{"type":"function",  "function":{"name":"f"}}')
    request = ChatRequest.build({"messages": [{"role": "user", "content": "hi"}], "tools": [tools]})
    assert b'{"type":"function",  "function"' in to_ollama(request).render(name="m", num_ctx=None, stream=False)
