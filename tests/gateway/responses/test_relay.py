"""A caller who speaks OpenAI's Responses, in front of an upstream that speaks them."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from gateway.responding import CHAT, LOOK, MODEL, PATCH, SECRET, WHOLE, paths, sent, streamed
from pointsman.testing import Answer, HangUp, Page, Stall, Status, Stream, Tokens, ToolUse

pytestmark = pytest.mark.client


def test_a_request_goes_out_as_it_came(client, cloud):
    """Apart from what is the gateway's to say: the model's own name, that nothing is to be kept there."""
    picture = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}
    body: dict[str, Any] = {
        "instructions": "Be brief.",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "See:"}, picture]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAA-scripted-1"},
            {"type": "function_call", "call_id": "c0", "name": "look", "arguments": "{}"},
            {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAAAA-scripted-2"},
            {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "*** Begin Patch"},
            {"type": "function_call_output", "call_id": "c0", "output": "a wall"},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
            {"type": "message", "role": "assistant", "phase": "final_answer", "content": "Done."},
            {"type": "message", "role": "developer", "content": "Go on."},
        ],
        "tools": [LOOK, PATCH, {"type": "web_search"}],
        "tool_choice": {"type": "function", "name": "look"},
        "parallel_tool_calls": False,
        "reasoning": {"effort": "high", "summary": "auto"},
        "include": ["reasoning.encrypted_content", "web_search_call.action.sources"],
        "text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True},
                 "verbosity": "low"},
        "max_output_tokens": 500,
        "max_tool_calls": 3,
        "truncation": "auto",
        "metadata": {"a": "b"},
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "service_tier": "auto",
        "top_p": 0.5,
    }  # fmt: skip
    raw = client.responses.with_raw_response.create(model=MODEL, **body)
    assert paths(cloud) == ["/v1/responses"]
    wanted = {**body, "model": "gpt-5.5", "store": False}
    assert sent(cloud) == wanted
    assert "x-pointsman-dropped" not in raw.headers
    answer = raw.parse()
    assert (answer.model, answer.store, answer.instructions) == (MODEL, True, "Be brief.")
    WHOLE.validate_json(raw.http_response.content)


@pytest.mark.shows("openai responses", "thinking")
def test_a_stream_is_relayed(client, gateway, cloud):
    answer = Answer(text="Hallo Köln", reasoning="hm hm", tool_calls=[ToolUse("look", {"a": "b"})], pieces=4)
    cloud.script(answer, answer)
    reply, events = streamed(gateway, input="hi", tools=[LOOK])
    theirs = [json.loads(frame.partition(b"data: ")[2]) for frame in answer.responses_frames(sent(cloud))]
    assert [e for e in events if "response" not in e] == [e for e in theirs if "response" not in e]
    assert events[-1]["response"]["output"] == theirs[-1]["response"]["output"]
    ids = {event["response"]["id"] for event in events if "response" in event}
    assert len(ids) == 1
    assert "upstream" not in ids.pop()
    assert {event["response"]["model"] for event in events if "response" in event} == {MODEL}
    outcome = gateway.decision(reply)["outcome"]
    assert (outcome["answer_id"], outcome["attempts"][0]["prompt_tokens"]) == ("resp_upstream_chatcmpl-scripted", 10)
    with client.responses.stream(model=MODEL, input="hi", tools=[LOOK]) as stream:
        final = stream.get_final_response()
    assert final.output_text == "Hallo Köln"
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]
    assert final.usage.total_tokens == 15


@pytest.mark.shows("openai responses", "stored answers")
@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_goes_on_by_its_id(client, gateway, cloud, stream):
    cloud.script(
        Answer(text="", reasoning="hm", tool_calls=[ToolUse("look", id="c1")], usage=Tokens(prompt=9, cached=4)),
        Answer(text="Seen."),
        Answer(text="From elsewhere."),
    )
    if stream:
        with client.responses.stream(model=MODEL, input="Look.", tools=[LOOK]) as events:
            first = events.get_final_response()
    else:
        first = client.responses.create(model=MODEL, input="Look.", tools=[LOOK])
    assert first.usage.input_tokens_details.cached_tokens == 4
    kept = client.responses.retrieve(first.id).output
    assert [item.id for item in kept] == [item.id for item in first.output] == ["rs_scripted", "fc_c1"]
    result = {"type": "function_call_output", "call_id": "c1", "output": "a wall"}
    second = client.responses.create(model=MODEL, previous_response_id=first.id, input=[result], tools=[LOOK])
    assert second.previous_response_id == first.id
    assert [item["type"] for item in sent(cloud)["input"]] == [
        "message", "reasoning", "function_call", "function_call_output",
    ]  # fmt: skip
    assert sent(cloud)["input"][1]["encrypted_content"].startswith("gAAAAA-scripted")
    assert sent(cloud)["include"] == ["reasoning.encrypted_content"]
    third = client.responses.create(model=CHAT, previous_response_id=second.id, input="And now?")
    assert third.output_text == "From elsewhere."
    assert [m["role"] for m in sent(cloud)["messages"]] == ["user", "assistant", "tool", "assistant", "user"]
    assert b"encrypted" not in cloud.chats[-1].body


@pytest.mark.parametrize("stream", [True, False])
def test_items_of_a_relayed_answer_are_referred_to(client, gateway, cloud, stream):
    """As the Vercel AI SDK does, which names no earlier response."""
    cloud.script(Answer(text="Well.", reasoning="hm", tool_calls=[ToolUse("look", {}, "call_1")]))
    asked = {"model": MODEL, "input": "Look.", "tools": [LOOK]}
    if stream:
        first = streamed(gateway, **asked)[1][-1]["response"]
    else:
        first = gateway.ask("POST", "/v1/responses", asked).json
    thought, said, call = first["output"]
    again = [
        {"role": "user", "content": "Look."},
        {"type": "item_reference", "id": thought["id"]},
        {"id": said["id"]},
        {name: call[name] for name in ("type", "call_id", "name", "arguments")},
        {"type": "function_call_output", "call_id": "call_1", "output": "a wall"},
    ]
    client.responses.create(model=MODEL, input=again, tools=[LOOK])
    items = cloud.chats[-1].json["input"]
    assert [item["type"] for item in items] == [
        *("message", "reasoning", "message", "function_call", "function_call_output")
    ]
    assert (items[1]["id"], items[1]["encrypted_content"]) == (thought["id"], thought["encrypted_content"])


def test_what_is_not_to_be_kept_is_not(client, cloud):
    answer = client.responses.create(model=MODEL, input="hi", store=False)
    assert (answer.store, answer.id[:12]) == (False, "resp_unkept_")
    with pytest.raises(openai.NotFoundError, match="not stored"):
        client.responses.retrieve(answer.id)


def test_reasoning_that_was_encrypted_elsewhere_is_left_out(client, cloud):
    foreign = {"type": "reasoning", "id": "rs_9", "summary": [], "encrypted_content": "another"}
    items: Any = [{"role": "user", "content": "a"}, foreign, {"role": "assistant", "content": "b"},
                  {"role": "user", "content": "c"}]  # fmt: skip
    assert client.responses.create(model=MODEL, input=items).output_text == "Hello from upstream."
    assert [len(seen.json["input"]) for seen in cloud.chats] == [4, 3]


def test_no_thoughts_are_asked_of_a_model_that_has_none(client, cloud):
    client.responses.create(model="openai:gpt-4o", input="hi")
    assert sent(cloud) == {
        "model": "gpt-4o", "store": False, "input": [{"type": "message", "role": "user", "content": "hi"}],
    }  # fmt: skip


SEARCHED = {
    "id": "ws_1", "type": "web_search_call", "status": "completed",
    "action": {"type": "search", "query": "weather", "queries": ["weather"]},
}  # fmt: skip


@pytest.mark.parametrize("model", [MODEL, "mine"])
def test_tools_that_the_upstream_runs(client, cloud, model):
    cloud.script(Answer(text="Rain.", hosted=[SEARCHED]), Answer(text="Yes."), Answer(text="No."))
    tools: Any = [{"type": "web_search"}, {"type": "file_search", "vector_store_ids": ["v"]}]
    first = client.responses.create(model=model, input="Weather?", tools=tools, tool_choice={"type": "web_search"})
    assert (sent(cloud)["tools"], sent(cloud)["tool_choice"]) == (tools, {"type": "web_search"})
    assert [item.type for item in first.output] == ["web_search_call", "message"]
    client.responses.create(model=model, previous_response_id=first.id, input="Sure?")
    assert [item["type"] for item in sent(cloud)["input"]] == ["message", "web_search_call", "message", "message"]
    raw = client.responses.with_raw_response.create(model=CHAT, previous_response_id=first.id, input="Sure?")
    assert raw.headers["x-pointsman-dropped"] == "previous_response_id.input[1] web_search_call"
    assert [m["content"] for m in sent(cloud)["messages"]] == ["Weather?", "Rain.", "Sure?"]


def test_names_that_the_upstream_does_not_know_come_back(gateway, cloud):
    cloud.script(Answer(text="", tool_calls=[
        ToolUse("agents__spawn", {"a": 1}, id="c1"), ToolUse("tool_search", {"query": "mail"}, id="c2"),
    ]))  # fmt: skip
    tools = [
        {"type": "namespace", "name": "agents", "description": "Sub-agents.", "tools": [{**LOOK, "name": "spawn"}]},
        {"type": "tool_search", "execution": "client", "description": "Finds tools.",
         "parameters": {"type": "object", "properties": {}}},
    ]  # fmt: skip
    _, events = streamed(gateway, input="hi", tools=tools)
    assert [tool["name"] for tool in sent(cloud)["tools"]] == ["agents__spawn", "tool_search"]
    for found in (events[-1]["response"]["output"], [e["item"] for e in events if e["type"].endswith("item.done")]):
        spawned, searched = found
        assert (spawned["namespace"], spawned["name"], spawned["arguments"]) == ("agents", "spawn", '{"a":1}')
        assert (searched["type"], searched["arguments"], searched["call_id"]) == (
            "tool_search_call", {"query": "mail"}, "c2",
        )  # fmt: skip
    assert events[-1]["response"]["tools"] == tools


def test_errors_are_the_sdks_own(client, cloud):
    cloud.script(*[Status(429, retry_after=4)] * 4)
    with pytest.raises(openai.RateLimitError) as caught:
        client.responses.create(model=MODEL, input="x")
    assert caught.value.response.headers["retry-after"] == "4"
    cloud.script(*[Page(b'{"object": "list"}', "application/json")] * 4)
    with pytest.raises(openai.APIStatusError):
        client.responses.create(model=MODEL, input="x")


def failing(gateway: Any, cloud: Any, *steps: Any, **body: Any) -> list[dict[str, Any]]:
    cloud.script(*steps)
    return streamed(gateway, input="x", **body)[1]


def breaking() -> list[Any]:
    """Streams that break behind some words."""
    frames = Answer(text="word " * 100, pieces=50).responses_frames({"input": "x"})
    error = b'event: error\ndata: {"type": "error", "code": "server_error", "message": "no", "sequence_number": 9}\n\n'
    failed = (
        b'event: response.failed\ndata: {"type": "response.failed", "sequence_number": 9, "response": {"id": "resp_x",'
        b' "status": "failed", "output": [], "error": {"code": "server_error", "message": "no"}}}\n\n'
    )
    no_json = b'event: response.output_text.delta\ndata: {"type": "response.output_text.del\n\n'
    return [
        HangUp(after_bytes=9000, answer=Answer(text="word " * 100, pieces=50)),
        Stream([b"".join(frames[:9]), no_json], delay=0.1),
        Stream([b"".join(frames[:9]), error], delay=0.1),
        Stream([b"".join(frames[:9]) + failed]),
        Stream([b"".join(frames[:9])]),
    ]


def test_a_stream_that_breaks_and_is_not_gone_on_with_ends_as_failed(gateway, cloud):
    for step in breaking():
        events = failing(gateway, cloud, step, model="openai:gpt-4o")
        assert events[-1]["type"] == "response.failed"
        assert "upstream" not in events[-1]["response"]["id"]
        assert (events[-1]["response"]["store"], events[-1]["response"]["error"]["code"]) == (False, "server_error")


def test_a_stream_that_breaks_is_gone_on_with_in_its_own_events(gateway, cloud):
    for step in breaking():
        cloud.requests.clear()
        events = failing(gateway, cloud, step, Answer(text="the rest"))
        assert paths(cloud) == ["/v1/responses", "/v1/chat/completions"]
        last = events[-1]
        assert last["type"] == "response.completed"
        WHOLE.validate_python(last["response"])
        assert {event["response"]["id"] for event in events if "response" in event} == {last["response"]["id"]}
        (message,) = last["response"]["output"]
        text = message["content"][0]["text"]
        assert text == "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
        assert text.startswith("word word")
        assert text.endswith("the rest")


def test_a_failure_before_anything_was_said_lets_another_model_step_in(gateway, cloud):
    frames = Answer().responses_frames({"input": "x"})
    error = b'event: error\ndata: {"type": "error", "code": "server_error", "message": "no", "sequence_number": 2}\n\n'
    events = failing(gateway, cloud, Stream([b"".join(frames[:2]) + error]), Answer(text="Better."))
    assert (events[-1]["type"], events[-1]["response"]["model"]) == ("response.completed", CHAT)
    assert paths(cloud) == ["/v1/responses", "/v1/chat/completions"]


def test_whoever_leaves_cancels_the_call(client, cloud, background):
    cloud.script(Stall(after_bytes=5000, answer=Answer(text="word " * 100, pieces=50)))
    stream = client.responses.create(model=MODEL, input="x", stream=True)
    next(event for event in stream if event.type == "response.output_text.delta")
    stream.close()
    background.run(cloud.wait_until(lambda upstream: upstream.abandoned == 1))


def test_a_redacted_request_goes_in_chat_and_is_not_kept(client, cloud):
    answer = client.responses.create(model=MODEL, input=f"Use {SECRET} ok?", reasoning={"summary": "auto"})
    assert paths(cloud) == ["/v1/chat/completions"]
    assert SECRET.encode() not in cloud.chats[0].body
    assert (answer.store, answer.id[:13]) == (False, "resp_private_")
