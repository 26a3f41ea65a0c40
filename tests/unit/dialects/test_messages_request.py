"""Anthropic's Messages bodies in the inner form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as rules
from hypothesis import strategies as st

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import ChatRequest
from pointsman.dialects.messages.request import read_messages

MARK = {"type": "ephemeral"}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}


def chat(**fields: Any) -> dict[str, Any]:
    """What a Messages body becomes, through the inner form's own checks."""
    body = {"model": "auto", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}], **fields}
    request = ChatRequest.build(read_messages(json.dumps(body).encode()), dialect="messages")
    return json.loads(request.render({}))


def said(*turns: tuple[str, Any], **fields: Any) -> list[dict[str, Any]]:
    return chat(messages=[{"role": role, "content": content} for role, content in turns], **fields)["messages"]


def refused(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        chat(**fields)
    return caught.value


def test_the_simplest_body():
    assert chat(temperature=0.5, top_k=4, top_p=0.9, stop_sequences=["END"], metadata={"user_id": "u"}) == {
        "model": "auto",
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "top_k": 4,
        "top_p": 0.9,
        "stop": ["END"],
        "metadata": {"user_id": "u"},
    }
    assert chat(stream=True)["stream_options"] == {"include_usage": True}


def test_system_as_text_and_as_blocks():
    assert said(("user", "hi"), system="Be brief.")[0] == {"role": "system", "content": "Be brief."}
    blocks = [{"type": "text", "text": "Be brief.", "cache_control": MARK}, {"type": "text", "text": "Be kind."}]
    assert said(("user", "hi"), system=blocks)[0] == {"role": "system", "content": blocks}
    assert len(said(("user", "hi"), system="")) == len(said(("user", "hi"), system=[])) == 1
    assert said(("user", "hi"), ("system", "Now in French."))[1] == {"role": "system", "content": "Now in French."}


def test_pictures_and_documents():
    picture = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    address = {"type": "url", "url": "https://a.io/b.png"}
    blocks = [
        {"type": "text", "text": "See"},
        {"type": "image", "source": picture, "cache_control": MARK},
        {"type": "image", "source": address},
        {"type": "document", "source": PDF, "title": "Plan"},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Words"}, "title": "T"},
    ]
    assert said(("user", blocks)) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See"},
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="},
                    "cache_control": MARK,
                },
                {"type": "image_url", "image_url": {"url": "https://a.io/b.png"}},
                {
                    "type": "file",
                    "file": {"filename": "Plan.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
                    "title": "Plan",
                },
                {"type": "file", "file": {"file_id": "file_1"}},
                {"type": "text", "text": "T"},
                {"type": "text", "text": "Words"},
            ],
        }
    ]


def test_what_only_anthropic_can_do_stays_as_it_came():
    cited = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "Words"},
        "citations": {"enabled": True},
    }
    found = {
        "type": "search_result",
        "title": "T",
        "source": "https://a.io",
        "content": [{"type": "text", "text": "Found"}],
    }
    asked = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "q"}}
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    messages = said(("user", [cited, found]), ("assistant", [asked, {"type": "text", "text": "So"}]))
    heading = {"type": "text", "text": "T\nhttps://a.io"}
    assert messages[0]["content"] == [cited, heading, {"type": "text", "text": "Found"}]
    assert messages[1]["content"] == [asked, {"type": "text", "text": "So"}]
    assert chat(tools=[search])["tools"] == [search]


def test_tools_and_the_choice_among_them():
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {
        "name": "weather",
        "description": "Tells it.",
        "input_schema": schema,
        "strict": True,
        "cache_control": MARK,
        "input_examples": [{"city": "Oslo"}],
        "defer_loading": True,
    }
    body = chat(tools=[tool, {"type": "custom", "name": "f", "input_schema": {"type": "object"}}])
    function = {"name": "weather", "description": "Tells it.", "parameters": schema, "strict": True}
    assert body["tools"] == [
        {
            "type": "function",
            "function": function,
            "cache_control": MARK,
            "input_examples": [{"city": "Oslo"}],
            "defer_loading": True,
        },
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
    ]
    for choice, expected in (
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "weather"}, {"type": "function", "function": {"name": "weather"}}),
    ):
        assert chat(tools=[tool], tool_choice=choice)["tool_choice"] == expected
    alone = chat(tools=[tool], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert alone["parallel_tool_calls"] is False
    assert "tool_choice" not in chat(tool_choice={"type": "auto"})
    assert "tools" not in chat(tools=[])


def test_a_tool_is_called_and_answers():
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1.50}, "cache_control": MARK}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "no"}]}
    picture = {"type": "image", "source": {"type": "url", "url": "https://a.io/b.png"}}
    turns = (
        ("user", "go"),
        ("assistant", [{"type": "text", "text": "I call."}, call, {**call, "id": "toolu_2"}]),
        ("user", [{"type": "text", "text": "and then?"}, {**result, "is_error": True, "cache_control": MARK}]),
        ("user", [{**result, "tool_use_id": "toolu_2", "content": [picture]}]),
    )
    assert said(*turns)[1:] == [
        {
            "role": "assistant",
            "content": "I call.",
            "tool_calls": [
                {
                    "id": name,
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"a": 1.5}'},
                    "cache_control": MARK,
                }
                for name in ("toolu_1", "toolu_2")
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "no", "is_error": True, "cache_control": MARK},
        {
            "role": "tool",
            "tool_call_id": "toolu_2",
            "content": [{"type": "image_url", "image_url": {"url": "https://a.io/b.png"}}],
        },
        {"role": "user", "content": "and then?"},
    ]


def test_thinking_of_earlier_answers():
    signed = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
    hidden = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    assistant = said(("user", "hi"), ("assistant", [signed, hidden, call]))[1]
    assert assistant["thinking_blocks"] == [signed, hidden]
    assert assistant["content"] is None
    assert "reasoning_content" not in assistant
    assert "block_order" not in assistant
    mixed = said(("user", "hi"), ("assistant", [signed, call, hidden]))[1]
    assert mixed["block_order"] == ["thinking", "tool_use", "thinking"]
    other = said(("user", "hi"), ("assistant", [{**signed, "signature": ""}, {"type": "text", "text": "So"}]))[1]
    assert other == {"role": "assistant", "content": "So", "reasoning_content": "Hm"}
    settings = chat(thinking={"type": "enabled", "budget_tokens": 2000}, context_management={"edits": []})
    assert settings["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert settings["context_management"] == {"edits": []}


def test_the_form_of_the_answer():
    form = {"type": "json_schema", "schema": {"type": "object"}}
    body = chat(output_config={"effort": "low", "format": form})
    assert body["output_config"] == {"effort": "low"}
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert chat(output_format=form)["response_format"] == body["response_format"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "wat"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": []}]}, "messages[0].tool_calls"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]}]},
            "messages[0].content[0].type",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": 1}]}
                ]
            },
            "messages[0].content[0].input",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}
                ]
            },
            "messages[0].content[0].source.type",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image", "source": {"type": "base64", "media_type": "image/svg+xml", "data": "a"}}
                        ],
                    }
                ]
            },
            "messages[0].content[0].source.media_type",
        ),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"system": 5}, "system"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ({"stream": "yes"}, "stream"),
        ({"n": 3}, "n"),
        ({"stop": ["END"]}, "stop"),
        ({"fallbacks": ["claude"]}, "fallbacks"),
    ],
)
def test_what_cannot_be_taken_is_named(fields, param):
    assert refused(**fields).param == param


def test_a_type_that_is_no_name_is_not_repeated():
    secret = "AKIAQ3EGRT5YUIO7PLKJ"
    assert secret not in refused(messages=[{"role": "user", "content": [{"type": secret}]}]).message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"messages": [', b'"x"', b"\xff", b'{"messages": "\xff"}'])
def test_bodies_that_are_none(body):
    with pytest.raises(InvalidRequest):
        read_messages(body)


def test_a_deep_body_is_refused_not_crashed_on():
    deep = b'{"max_tokens": 1, "messages": [{"role": "user", "content": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]}"
    with pytest.raises(InvalidRequest):
        ChatRequest.build(read_messages(deep))


WORDS = st.sampled_from(
    ["text", "image", "document", "tool_use", "tool_result", "thinking", "search_result", "source", "base64", "content"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=4) | WORDS
KEYS = st.sampled_from(
    ["type", "text", "source", "content", "input", "id", "name", "tool_use_id", "data", "media_type", "title", "role"]
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20
)


@given(
    st.fixed_dictionaries(
        {"max_tokens": st.just(5), "messages": VALUES | st.lists(st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "assistant", "system"]), "content": VALUES}), max_size=3)},
        optional=dict.fromkeys(("system", "tools", "tool_choice", "output_config", "stop_sequences"), VALUES),
    )
)  # fmt: skip
@rules(deadline=None)
def test_any_body_is_read_or_refused(body):
    try:
        request = ChatRequest.build(read_messages(json.dumps(body).encode()))
    except InvalidRequest:
        return
    assert request.params.messages


def test_no_conversation_is_kept_between_turns():
    assert "thread" not in chat(thread={"type": "create"})
    assert "thread" not in chat(thread=None)
    error = refused(thread={"type": "continue", "previous_message_id": "msg_1"})
    assert (error.param, error.code) == ("thread", "thread_not_found")
    for odd in ("create", {}, {"type": 1}):
        assert refused(thread=odd).param.startswith("thread")
