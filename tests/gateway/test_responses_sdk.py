"""The Responses API through the official SDK, against a real gateway: answers, streams, tools, and what is kept."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from pointsman.testing.answers import Answer, HangUp, Stall, Status, Stream, Tokens, ToolUse

from .running import Gateway, running

pytestmark = pytest.mark.client

MODEL = "openai:gpt-4o-mini"
SECRET = "My key is ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"
LOOK: Any = {
    "type": "function",
    "name": "look",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
    "strict": False,
}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
WHOLE: TypeAdapter[Any] = TypeAdapter(Response)


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base_url, api_key="unused", max_retries=0, timeout=20) as client:
        yield client


def sent(cloud: Any) -> dict[str, Any]:
    """The latest request that the upstream got."""
    return cloud.chats[-1].json


def streamed(gateway: Gateway, **body: Any) -> list[dict[str, Any]]:
    """The events of a stream as they stand on the wire, each checked against the SDK's types."""
    reply = gateway.ask("POST", "/v1/responses", {"model": MODEL, "stream": True, **body})
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(frame.partition("data: ")[2]) for frame in reply.body.decode().split("\n\n")[:-1]]
    for event in events:
        EVENT.validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


@pytest.mark.shows("openai responses", "text")
def test_a_plain_answer(client, cloud):
    cloud.script(Answer(text="Hello there.", usage=Tokens(prompt=7, completion=3, cached=2)))
    raw = client.responses.with_raw_response.create(
        model=MODEL, input="hi", instructions="Be brief.", max_output_tokens=50, temperature=0.5, metadata={"a": "b"}
    )
    answer = raw.parse()
    assert answer.output_text == "Hello there."
    assert (answer.status, answer.model, answer.store) == ("completed", MODEL, True)
    assert (answer.instructions, answer.max_output_tokens, answer.metadata) == ("Be brief.", 50, {"a": "b"})
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (7, 3, 10)
    assert answer.usage.input_tokens_details.cached_tokens == 2
    assert raw.headers["x-pointsman-model"] == MODEL
    assert "x-pointsman-dropped" not in raw.headers
    WHOLE.validate_json(raw.http_response.content)
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert sent(cloud)["messages"] == said
    assert (sent(cloud)["max_completion_tokens"], sent(cloud)["temperature"]) == (50, 0.5)


@pytest.mark.shows("openai responses", "stream")
def test_a_stream_and_its_order(client, gateway, cloud):
    cloud.script(Answer(text="one two three", pieces=3), Answer(text="one two three", pieces=3))
    assert [event["type"] for event in streamed(gateway, input="count")] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        *["response.output_text.delta"] * 3, "response.output_text.done", "response.content_part.done",
        "response.output_item.done", "response.completed",
    ]  # fmt: skip
    with client.responses.stream(model=MODEL, input="count") as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert text == final.output_text == "one two three"
    assert final.usage.total_tokens == 15
    assert client.responses.retrieve(final.id).output_text == "one two three"


@pytest.mark.shows("openai responses", "thinking")
def test_reasoning_is_told_and_comes_back_as_it_was(client, gateway, cloud):
    cloud.script(Answer(text="42", reasoning="Let me think."), Answer())
    events = streamed(gateway, input="?")
    assert "".join(e["delta"] for e in events if e["type"] == "response.reasoning_text.delta") == "Let me think."
    response = events[-1]["response"]
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    client.responses.create(model=MODEL, input="and?", previous_response_id=response["id"])
    assert [m["role"] for m in sent(cloud)["messages"]] == ["user", "assistant", "user"]
    assert "reasoning_items" not in sent(cloud)["messages"][1], "an upstream that does not know it may refuse it"


@pytest.mark.shows("openai responses", "tools")
def test_a_loop_with_tools(client, cloud):
    cloud.script(Answer(text="", tool_calls=[ToolUse("look", {"at": "door"}, id="c1")]), Answer(text="It is open."))
    items: list[Any] = [{"role": "user", "content": "Is the door open?"}]
    answer = client.responses.create(model=MODEL, input=items, tools=[LOOK], tool_choice="auto", store=False)
    call = next(item for item in answer.output if item.type == "function_call")
    assert (call.name, json.loads(call.arguments), call.call_id) == ("look", {"at": "door"}, "c1")
    items += [item.model_dump(exclude_none=True) for item in answer.output]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "open"})
    done = client.responses.create(model=MODEL, input=items, tools=[LOOK], store=False)
    assert done.output_text == "It is open."
    _, assistant, result = sent(cloud)["messages"]
    assert assistant["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at":"door"}'}
    assert result == {"role": "tool", "tool_call_id": "c1", "content": "open"}
    inner = {name: value for name, value in LOOK.items() if name != "type"}
    assert sent(cloud)["tools"] == [{"type": "function", "function": inner}]


class Door(BaseModel):
    open: bool
    color: str


@pytest.mark.shows("openai responses", "structured output")
def test_a_typed_answer(client, cloud):
    cloud.script(Answer(text='{"open": true, "color": "red"}'), Answer(text='{"open": false, "color": "blue"}'))
    assert client.responses.parse(model=MODEL, input="the door", text_format=Door).output_parsed == Door(
        open=True, color="red"
    )
    form = sent(cloud)["response_format"]
    assert (form["type"], form["json_schema"]["name"], form["json_schema"]["strict"]) == ("json_schema", "Door", True)
    with client.responses.stream(model=MODEL, input="the door", text_format=Door) as stream:
        assert stream.get_final_response().output_parsed == Door(open=False, color="blue")


@pytest.mark.shows("openai responses", "stored answers")
def test_a_conversation_goes_on_by_its_id(client, cloud):
    cloud.script(
        Answer(text="", tool_calls=[ToolUse("look", {"at": "a"}, id="c1")]), Answer(text="Seen."), Answer(text="Yes.")
    )
    first = client.responses.create(model=MODEL, input="Look.", instructions="First.", tools=[LOOK])
    second = client.responses.create(
        model=MODEL,
        previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": "c1", "output": "a wall"}],
        tools=[LOOK],
    )
    third = client.responses.create(model=MODEL, previous_response_id=second.id, input="Sure?", instructions="Third.")
    assert third.previous_response_id == second.id
    assert [(m["role"], m["content"]) for m in sent(cloud)["messages"]] == [
        ("system", "Third."), ("user", "Look."), ("assistant", None), ("tool", "a wall"), ("assistant", "Seen."),
        ("user", "Sure?"),
    ]  # fmt: skip


def test_items_are_listed_and_referred_to(client, cloud):
    first = client.responses.create(model=MODEL, input=[{"role": "user", "content": n} for n in ("one", "two")])
    page = client.responses.input_items.list(first.id, limit=1)
    assert ([item.content[0].text for item in page.data], page.has_more) == (["two"], True)
    everything = list(client.responses.input_items.list(first.id, order="asc", limit=1))
    assert [item.content[0].text for item in everything] == ["one", "two"]
    client.responses.create(
        model=MODEL,
        input=[
            {"type": "item_reference", "id": first.output[0].id},
            {"type": "item_reference", "id": everything[0].id},
        ],
    )
    assert [m["content"] for m in sent(cloud)["messages"]] == ["Hello from upstream.", "one"]


def test_a_response_is_forgotten(client):
    first = client.responses.create(model=MODEL, input="hi")
    second = client.responses.create(model=MODEL, input="more", previous_response_id=first.id)
    assert client.responses.retrieve(first.id) == first
    client.responses.delete(first.id)
    for act in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            act(first.id)
    for gone, reason in ((first.id, "no such response"), (second.id, "an earlier turn of its conversation is gone")):
        with pytest.raises(openai.BadRequestError, match=reason) as caught:
            client.responses.create(model=MODEL, input="x", previous_response_id=gone)
        assert caught.value.param == "previous_response_id"
        assert caught.value.code == "previous_response_not_found"


def test_what_was_not_to_be_stored_is_not(client):
    answer = client.responses.create(model=MODEL, input="hi", store=False)
    assert answer.store is False
    with pytest.raises(openai.NotFoundError, match="not stored"):
        client.responses.retrieve(answer.id)
    with pytest.raises(openai.BadRequestError, match="`store` was false"):
        client.responses.create(model=MODEL, input="x", previous_response_id=answer.id)


def rows(gateway: Gateway) -> int:
    with contextlib.closing(sqlite3.connect(gateway.folder / "data" / "pointsman.sqlite3")) as database:
        return int(database.execute("SELECT COUNT(*) FROM responses").fetchone()[0])


@pytest.mark.parametrize("headers", [{}, {"x-pointsman-privacy": "max"}], ids=["found", "asked for"])
def test_a_private_request_leaves_nothing(client, gateway, lan, cloud, headers):
    before = rows(gateway)
    answer = client.responses.create(model="auto", input="hi" if headers else SECRET, extra_headers=headers, store=True)
    assert (answer.store, answer.model) == (False, "lan:llama3.1:8b")
    assert cloud.chats == []
    assert rows(gateway) == before
    with pytest.raises(openai.BadRequestError, match="private content, which is never kept"):
        client.responses.create(model=MODEL, input="go on", previous_response_id=answer.id)
    events = streamed(gateway, model="lan:llama3.1:8b", input=SECRET)
    assert {event["response"]["store"] for event in events if "response" in event} == {False}
    assert rows(gateway) == before


def test_a_conversation_is_understood_whole(client, cloud, lan):
    first = client.responses.create(model="lan:llama3.1:8b", input="Remember the door.")
    answer = client.responses.create(model="auto", previous_response_id=first.id, input=[{"role": "user",
                                     "content": [{"type": "input_text", "text": SECRET}]}])  # fmt: skip
    assert answer.model == "lan:llama3.1:8b"
    again = client.responses.create(model=MODEL, input="Say hello.", previous_response_id=first.id)
    assert again.model == MODEL
    assert all(b"ghp_" not in chat.body for chat in cloud.chats)


def test_answers_that_end_early(client, gateway, cloud):
    cloud.script(Answer(text="cut", finish="length"), Answer(text="no", finish="content_filter"))
    events = streamed(gateway, input="x")
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert client.responses.create(model=MODEL, input="x").incomplete_details.reason == "content_filter"


@pytest.mark.shows("openai responses", "errors")
def test_errors_are_the_sdks_own(client, cloud):
    with pytest.raises(openai.NotFoundError) as missing:
        client.responses.create(model="gpt-none", input="x")
    assert missing.value.code == "model_not_found"
    cloud.script(*[Status(429, retry_after=7)] * 4)
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model=MODEL, input="x")
    with pytest.raises(openai.BadRequestError) as hosted:
        client.responses.create(model=MODEL, input="x", tools=[{"type": "file_search", "vector_store_ids": ["v"]}])
    assert (hosted.value.param, hosted.value.code) == ("tools[0].type", "unsupported_tool")


def test_a_stream_that_breaks_ends_as_failed(client, gateway, cloud):
    cloud.script(*[HangUp(after_bytes=600, answer=Answer(text="word " * 100, pieces=50))] * 4)
    events = streamed(gateway, input="x")
    assert events[-1]["type"] == "response.failed"
    response = events[-1]["response"]
    assert (response["status"], response["error"]["code"], response["store"]) == ("failed", "server_error", False)
    assert response["output"][0]["content"][0]["type"] == "output_text"
    assert response["output"][0]["status"] == "incomplete"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response["id"])


def test_whoever_leaves_cancels_the_call(client, cloud, background):
    cloud.script(Stall(after_bytes=700, answer=Answer(text="word " * 100, pieces=50)))
    stream = client.responses.create(model=MODEL, input="x", stream=True)
    next(event for event in stream if event.type == "response.output_text.delta")
    stream.close()
    background.run(cloud.wait_until(lambda upstream: upstream.abandoned == 1))


def chunk(**delta: Any) -> bytes:
    whole = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}
    return b"data: " + json.dumps(whole).encode() + b"\n\n"


def test_what_the_codex_cli_sends(gateway, cloud):
    """A body with everything that Codex 0.169 sends to a provider of one's own, in short."""
    finish = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}\n\ndata: [DONE]\n\n'
    calls = [
        {"index": 0, "id": "c1", "function": {"name": "agents__spawn", "arguments": "{}"}},
        {"index": 1, "id": "c2", "type": "custom", "custom": {"name": "apply_patch", "input": "*** Begin Patch"}},
        {"index": 2, "id": "c3", "function": {"name": "tool_search", "arguments": '{"query": "mail"}'}},
    ]
    cloud.script(Stream([chunk(role="assistant", content=""), *(chunk(tool_calls=[call]) for call in calls), finish]))
    spawn = {"type": "function", "name": "spawn", "description": "Starts.", "strict": False,
             "parameters": {"type": "object", "properties": {}}}  # fmt: skip
    body = {
        "model": MODEL,
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "text": {"verbosity": "low"},
        "prompt_cache_key": "01a2",
        "client_metadata": {"session_id": "01a2"},
        "input": [
            {"type": "message", "id": "msg_1", "role": "developer",
             "content": [{"type": "input_text", "text": "You are a coding agent."}]},
            {"type": "message", "id": "msg_2", "role": "user", "content": [{"type": "input_text", "text": "Go."}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
            {"type": "function_call", "id": "fc_1", "name": "exec_command", "call_id": "c0", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c0", "output": "done"},
        ],
        "tools": [
            {**spawn, "name": "exec_command"},
            {"type": "custom", "name": "apply_patch", "description": "Edits files.",
             "format": {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}},
            {"type": "namespace", "name": "agents", "description": "Sub-agents.", "tools": [spawn]},
            {"type": "tool_search", "execution": "client", "description": "Finds tools.",
             "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}},
            {"type": "web_search", "external_web_access": False},
        ],
    }  # fmt: skip
    reply = gateway.ask("POST", "/v1/responses", body)
    assert reply.status == 200, reply.body
    assert reply.headers["x-pointsman-dropped"] == "tools[4] web_search, client_metadata, reasoning.summary"
    events = [json.loads(frame.partition("data: ")[2]) for frame in reply.body.decode().split("\n\n")[:-1]]
    spawned, patched, searched = events[-1]["response"]["output"]
    assert (spawned["type"], spawned["namespace"], spawned["name"]) == ("function_call", "agents", "spawn")
    assert (patched["type"], patched["input"]) == ("custom_tool_call", "*** Begin Patch")
    assert (searched["type"], searched["arguments"]) == ("tool_search_call", {"query": "mail"})
    names = [tool[tool["type"]]["name"] for tool in sent(cloud)["tools"]]
    assert names == ["exec_command", "apply_patch", "agents__spawn", "tool_search"]
    assert "web_search" in gateway.log_text


def test_two_gateways_on_one_database_and_two_keys(settings, tmp_path, postgres_url, cloud):
    env = {"DATABASE_URL": postgres_url, "POINTSMAN_SECRET_KEY": "the-same-for-both-replicas-0123456789"}
    keys = {"server": {"api_keys": ["key-of-the-first-caller"], "admin_keys": ["key-of-the-admin-of-all"]}}
    tree = {**settings, **keys}
    with running(tmp_path / "a", tree, env=env) as one, running(tmp_path / "b", tree, env=env) as other:
        admin = {"authorization": "Bearer key-of-the-admin-of-all"}
        made = one.ask("POST", "/api/v1/keys", {"name": "second"}, headers=admin)
        assert made.status in (200, 201), made.body
        mine = openai.OpenAI(base_url=one.base_url, api_key="key-of-the-first-caller", max_retries=0)
        there = openai.OpenAI(base_url=other.base_url, api_key="key-of-the-first-caller", max_retries=0)
        theirs = openai.OpenAI(base_url=one.base_url, api_key=made.json["token"], max_retries=0)
        boss = openai.OpenAI(base_url=other.base_url, api_key="key-of-the-admin-of-all", max_retries=0)
        answer = mine.responses.create(model=MODEL, input="Remember the door.")
        assert there.responses.retrieve(answer.id) == boss.responses.retrieve(answer.id) == answer
        there.responses.create(model=MODEL, input="And?", previous_response_id=answer.id)
        assert sent(cloud)["messages"][0]["content"] == "Remember the door."
        with pytest.raises(openai.NotFoundError):
            theirs.responses.retrieve(answer.id)
        with pytest.raises(openai.NotFoundError):
            theirs.responses.delete(answer.id)
        with pytest.raises(openai.BadRequestError, match="no such response"):
            theirs.responses.create(model=MODEL, input="x", previous_response_id=answer.id)
        with pytest.raises(openai.BadRequestError):
            theirs.responses.create(model=MODEL, input=[{"type": "item_reference", "id": answer.output[0].id}])


def test_settings_that_keep_nothing(settings, tmp_path, cloud):
    with running(tmp_path, {**settings, "responses": {"store": False}}) as gateway:
        reply = gateway.ask("POST", "/v1/responses", {"model": MODEL, "input": "hi", "store": True})
        assert (reply.json["store"], reply.json["id"][:12]) == (False, "resp_unkept_")
        assert rows(gateway) == 0


def test_an_answer_goes_out_while_nothing_can_be_kept(settings, tmp_path, cloud):
    with running(tmp_path, {**settings, "responses": {"max_turn_bytes": 2000}}) as gateway:
        reply = gateway.ask("POST", "/v1/responses", {"model": MODEL, "input": "long " * 1000})
        assert (reply.status, reply.json["store"]) == (200, False)
        with contextlib.closing(sqlite3.connect(gateway.folder / "data" / "pointsman.sqlite3")) as database:
            database.execute("DROP TABLE responses")
            database.commit()
        reply = gateway.ask("POST", "/v1/responses", {"model": MODEL, "input": "hi"})
        assert (reply.status, reply.json["store"]) == (200, False)
        assert reply.json["output"][0]["content"][0]["text"] == "Hello from upstream."
        assert "is not kept." in gateway.log_text
        again = gateway.ask("POST", "/v1/responses", {"model": MODEL, "input": "x", "previous_response_id": "resp_a"})
        assert again.status in (500, 503)
