"""Responses bodies as chat bodies: what each thing becomes, that nothing is lost, and what is refused by name."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.errors import InvalidRequest
from pointsman.dialects.responses.fields import read_fields
from pointsman.dialects.responses.names import Known, flat_name
from pointsman.dialects.responses.request import ResponsesRequest, response_of, to_chat


def read(body: dict[str, Any], before: list[Any] = (), kept: dict[str, Any] | None = None) -> ResponsesRequest:
    asked, rest = read_fields(json.dumps(body).encode())
    return to_chat(asked, rest, before=before, kept=kept or {}, owner="")


def chat(body: dict[str, Any], **more: Any) -> dict[str, Any]:
    return json.loads(read(body, **more).render({}))


def said(*items: Any, **more: Any) -> list[Any]:
    return chat({"input": list(items)}, **more)["messages"]


def refusal(body: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read(body)
    return caught.value


USER = {"role": "user", "content": "hi"}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "look", "arguments": '{"at": 1}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "seen"}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": True, "description": "Looks."}


def test_a_text_and_its_instructions():
    body = chat({"model": "m", "input": "hi", "instructions": "Be brief."})
    assert body == {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, USER]}


def test_messages_of_every_role_and_part():
    parts = [
        {"type": "input_text", "text": "a"},
        {"type": "input_image", "image_url": "https://p/a.png", "detail": "low"},
        {"type": "input_file", "file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"},
        {"type": "input_audio", "input_audio": {"data": "aa", "format": "wav"}},
    ]
    answered = [{"type": "output_text", "text": "b", "annotations": []}, {"type": "refusal", "refusal": "no"}]
    assert said(
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "x"}]},
        {"role": "system", "content": "y", "name": "n"},
        {"role": "user", "content": parts},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": answered},
    ) == [
        {"role": "developer", "content": "x"},
        {"role": "system", "content": "y", "name": "n"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "https://p/a.png", "detail": "low"}},
                {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"}},
                {"type": "input_audio", "input_audio": {"data": "aa", "format": "wav"}},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "b"}, {"type": "refusal", "refusal": "no"}]},
    ]


def test_reasoning_text_and_calls_of_one_turn_are_one_message():
    spoken = {"role": "assistant", "content": "Let me look."}
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
    assert said(USER, REASONING, spoken, CALL, RESULT, spoken) == [
        USER,
        {"role": "assistant", "reasoning_items": [REASONING], "content": "Let me look.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "seen"},
        {"role": "assistant", "content": "Let me look."},
    ]


def test_text_between_a_call_and_its_result_joins_the_call():
    other = {**CALL, "call_id": "c2"}
    made = said(USER, CALL, {"role": "assistant", "content": "and"}, other, RESULT, {**RESULT, "call_id": "c2"})
    assert [message["role"] for message in made] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in made[1]["tool_calls"]] == ["c1", "c2"]
    assert made[1]["content"] == "and"


def test_a_call_without_text_and_reasoning_without_an_answer_keep_the_field_that_upstreams_want():
    assert said(USER, CALL, RESULT)[1]["content"] is None
    assert said(USER, REASONING)[1] == {"role": "assistant", "reasoning_items": [REASONING], "content": ""}


def test_custom_tools_and_their_calls():
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}
    body = chat(
        {
            "input": [
                USER,
                {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "*** Begin"},
                {"type": "custom_tool_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "ok"}]},
            ],
            "tools": [{"type": "custom", "name": "patch", "description": "Edits.", "format": grammar}],
            "tool_choice": {"type": "custom", "name": "patch"},
        }
    )
    assert body["messages"][1]["tool_calls"] == [
        {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}
    ]
    assert body["messages"][2] == {"role": "tool", "tool_call_id": "c1", "content": "ok"}
    form = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}
    custom = {"description": "Edits.", "format": form, "name": "patch"}
    assert body["tools"] == [{"type": "custom", "custom": custom}]
    assert body["tool_choice"] == {"type": "custom", "custom": {"name": "patch"}}


def test_function_tools_and_every_choice():
    inner = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}, "strict": True}
    other = {**TOOL, "name": "other"}
    for choice, sent in (
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
    ):
        body = chat({"input": "hi", "tools": [TOOL], "tool_choice": choice, "parallel_tool_calls": False})
        assert body["tools"] == [{"type": "function", "function": inner}]
        assert body["tool_choice"] == sent
        assert body["parallel_tool_calls"] is False
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "look"}]}
    body = chat({"input": "hi", "tools": [other, TOOL], "tool_choice": allowed})
    assert ([tool["function"]["name"] for tool in body["tools"]], body["tool_choice"]) == (["look"], "required")
    assert "tool_choice" not in chat({"input": "hi", "tools": [], "tool_choice": "auto", "parallel_tool_calls": True})


def test_namespaces_are_part_of_the_name_and_found_again():
    tools = [{"type": "namespace", "name": "agents", "description": "Sub-agents.", "tools": [TOOL]}]
    request = read({"input": [USER, {**CALL, "namespace": "agents"}, RESULT], "tools": tools})
    body = json.loads(request.render({}))
    assert body["tools"][0]["function"]["name"] == "agents__look"
    assert body["tools"][0]["function"]["description"] == "Sub-agents.\n\nLooks."
    assert body["messages"][1]["tool_calls"][0]["function"]["name"] == "agents__look"
    assert request.known["agents__look"] == Known("function", "look", "agents")


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_a_flat_name_is_one_that_upstreams_take(namespace, name):
    flat = flat_name(name, namespace)
    assert 0 < len(flat) <= 64
    assert all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in flat)


def test_the_callers_own_search_for_tools():
    search = {"type": "tool_search", "execution": "client", "description": "Finds.", "parameters": {"type": "object"}}
    request = read(
        {
            "input": [
                USER,
                {"type": "tool_search_call", "call_id": "c1", "execution": "client", "arguments": {"query": "x"}},
                {"type": "tool_search_output", "call_id": "c1", "execution": "client", "tools": [TOOL]},
                {"type": "additional_tools", "role": "developer", "tools": [{**TOOL, "name": "more"}]},
            ],
            "tools": [search],
        }
    )
    body = json.loads(request.render({}))
    assert [tool["function"]["name"] for tool in body["tools"]] == ["tool_search", "look", "more"]
    assert json.loads(body["messages"][1]["tool_calls"][0]["function"]["arguments"]) == {"query": "x"}
    assert json.loads(body["messages"][2]["content"]) == {"found": ["look"]}


def test_fields_by_their_names_in_chat():
    schema = {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}
    request = read(
        {
            "input": "hi", "model": "m", "stream": True, "max_output_tokens": 9, "temperature": 0.5, "top_p": 0.1,
            "metadata": {"a": "b"}, "user": "u", "prompt_cache_key": "k", "service_tier": "flex",
            "text": {"format": schema, "verbosity": "low"}, "reasoning": {"effort": "low", "summary": "auto"},
            "include": ["message.output_text.logprobs"], "top_logprobs": 2, "truncation": "auto",
            "seed": 7, "safety_identifier": "s", "store": False, "background": False, "conversation": None,
        }
    )  # fmt: skip
    body = json.loads(request.render({}))
    assert body.pop("messages") == [USER]
    assert body == {
        "model": "m", "stream": True, "stream_options": {"include_usage": True}, "max_completion_tokens": 9,
        "temperature": 0.5, "top_p": 0.1, "metadata": {"a": "b"}, "user": "u", "prompt_cache_key": "k",
        "service_tier": "flex", "verbosity": "low", "reasoning_effort": "low", "logprobs": True, "top_logprobs": 2,
        "response_format": {"type": "json_schema", "json_schema": {k: v for k, v in schema.items() if k != "type"}},
        "seed": 7, "safety_identifier": "s",
        "responses_only": {"reasoning": {"summary": "auto"}, "include": ["message.output_text.logprobs"],
                           "truncation": "auto"},
    }  # fmt: skip
    assert request.without("chat") == ("reasoning.summary", "truncation")
    assert request.without("responses") == ()
    assert request.dialect == "responses"


def test_a_web_search_is_left_out_beside_own_tools_alone_and_told():
    search = {"type": "web_search", "external_web_access": False}
    request = read({"input": "hi", "tools": [TOOL, search], "tool_choice": "auto", "client_metadata": {"a": "b"}})
    assert request.dropped == ("tools[1] web_search", "client_metadata")
    assert "client_metadata" not in json.loads(request.render({}))
    for body in (
        {"tools": [search]},
        {"tools": [TOOL, search], "tool_choice": "required"},
        {"tools": [TOOL, search], "tool_choice": {"type": "web_search"}},
    ):
        error = refusal({"input": "hi", **body})
        assert error.param in ("tools[0].type", "tools[1].type", "tool_choice.type")
        assert error.code == "unsupported_tool"


HOSTED = ("file_search", "code_interpreter", "computer_use_preview", "mcp", "image_generation", "local_shell", "shell")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        *(({"tools": [TOOL, {"type": kind}]}, "tools[1].type") for kind in (*HOSTED, "tool_search", "x y")),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]}]}, "tools[0].tools[0].type"),
        ({"tools": [TOOL, {**TOOL, "type": "custom"}]}, "tools[1]"),
        ({"tools": [{**TOOL, "async": True}]}, "tools[0].async"),
        ({"tools": [{**TOOL, "allowed_callers": ["programmatic"]}]}, "tools[0].allowed_callers"),
        ({"tools": [{**TOOL, "parameters": 3}]}, "tools[0].parameters"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [3]}, "tools[0].type"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "none"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "custom", "name": "look"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": 3}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        *(
            ({"input": [USER, {"type": kind}]}, "input[1].type")
            for kind in ("computer_call", "computer_call_output", "compaction", "local_shell_call", "?")
        ),
        ({"input": [3]}, "input[0]"),
        ({"input": [{}]}, "input[0].type"),
        ({"input": [{"role": "nobody", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 3}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "video"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
         "input[0].content[0].file_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://a"}]}]},
         "input[0].content[0].file_url"),
        ({"input": [{**CALL, "name": 3}]}, "input[0].name"),
        ({"input": [{**CALL, "namespace": 3}]}, "input[0].namespace"),
        ({"input": [{**RESULT, "output": None}]}, "input[0].output"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].id"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": 3}, "input"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"n": 2}, "n"),
        ({"messages": [USER]}, "messages"),
        ({"max_tokens": 3}, "max_tokens"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"include": ["everything"]}, "include[0]"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"text": {"color": 1}}, "text"),
        ({"reasoning": {"mode": "pro"}}, "reasoning"),
        ({"stream_options": {"x": 1}}, "stream_options"),
        ({"truncation": "some"}, "truncation"),
        ({"temperature": "hot"}, "temperature"),
        ({"models": ["a"]}, "models"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_named(body, param):
    error = refusal({"input": "hi", **body})
    assert error.param == param
    assert f"`{param}`" in error.message


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"input": "\xff"}', b'{"input":' + b"[" * 100_000])
def test_what_is_no_body_is_refused(body):
    with pytest.raises(InvalidRequest):
        read_fields(body)


def test_a_secret_in_place_of_a_word_is_not_repeated():
    secret = "ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"
    for body in (
        {"input": [{"type": secret}]},
        {"tools": [{"type": secret}]},
        {"tool_choice": {"type": secret}},
        {"tool_choice": secret},
        {"include": [secret]},
        {"stream_options": {secret: 1}},
        {"text": {secret: 1}},
        {"reasoning": {secret: 1}},
    ):
        assert secret not in refusal({"input": "hi", **body}).message
    assert read({"input": "hi", "tools": [{**TOOL, secret: 1}]}).dropped == ("tools[0]",)


def test_an_earlier_conversation_comes_first_and_items_are_found_in_it():
    earlier = [{**USER, "id": "in_1"}, {"type": "message", "id": "m1", "role": "assistant", "content": "hello"}]
    body = {"input": [{"type": "item_reference", "id": "m1"}, {"id": "in_1"}], "instructions": "New."}
    request = read(body, before=earlier, kept={item["id"]: item for item in earlier})
    assert [(m["role"], m["content"]) for m in json.loads(request.render({}))["messages"]] == [
        ("system", "New."), ("user", "hi"), ("assistant", "hello"), ("assistant", "hello"), ("user", "hi"),
    ]  # fmt: skip
    assert request.items == [earlier[1], earlier[0]]


def test_an_items_id_names_its_response():
    assert response_of("msg_" + "a" * 32 + "_3") == "resp_" + "a" * 32
    assert response_of("in_" + "a" * 32 + "_i3") == "resp_" + "a" * 32
    assert response_of("msg_abc") is None


texts = st.text(max_size=20)
messages = st.builds(
    lambda role, parts: {"role": role, "content": [{"type": "input_text", "text": text} for text in parts]},
    st.sampled_from(["user", "system", "developer", "assistant"]),
    st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=3),
)
rounds = st.builds(
    lambda call, name, arguments, output: [
        {"type": "function_call", "call_id": call, "name": name, "arguments": arguments},
        {"type": "function_call_output", "call_id": call, "output": output},
    ],
    texts, texts, texts, texts,
)  # fmt: skip
thoughts = st.builds(lambda text: {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": text}, texts)
conversations = st.lists(st.one_of(messages.map(lambda item: [item]), rounds, thoughts.map(lambda item: [item])))


@given(conversations.filter(bool))
def test_nothing_that_is_said_is_lost_and_its_order_holds(groups):
    items = [item for group in groups for item in group]
    told: list[Any] = []
    for item in items:
        kind = item.get("type", "message")
        if kind == "message":
            told += [(item["role"], part["text"]) for part in item["content"]]
        elif kind == "reasoning":
            told.append(("reasoning", item["encrypted_content"]))
        elif kind == "function_call":
            told.append(("call", item["call_id"], item["name"], item["arguments"]))
        else:
            told.append(("tool", item["call_id"], item["output"]))
    heard: list[Any] = []
    for message in said(*items):
        heard += [("reasoning", item["encrypted_content"]) for item in message.get("reasoning_items", ())]
        content = message["content"]
        if message["role"] == "tool":
            heard.append(("tool", message["tool_call_id"], content))
        elif isinstance(content, list):
            heard += [(message["role"], part["text"]) for part in content]
        elif content:
            heard.append((message["role"], content))
        heard += [("call", call["id"], *call["function"].values()) for call in message.get("tool_calls", ())]
    assert heard == told


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | texts,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["type", "role", "content", "name", "text", "id", "x"]), inner)
        ),
    ),
    st.sampled_from(["input", "tools", "tool_choice", "text", "reasoning", "include", "metadata", "stream_options"]),
)
def test_no_value_makes_it_stumble(value, field):
    with contextlib.suppress(InvalidRequest):
        read({"input": "hi", field: value})
