"""What answers tell, dialect by dialect: read strictly, and without the code that wrote them.

Readers raise `Malformed`, or a `KeyError` or the like, of what is not in the shape of the dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

Body = dict[str, Any]
DONE = "[DONE]"


class Malformed(Exception):
    """An answer is not in the shape of its dialect."""


@dataclass(slots=True)
class Told:
    """What an answer says."""

    text: str = ""
    calls: list[str] = field(default_factory=list)
    """The arguments of each tool call, as JSON, as far as they came."""
    error: str | None = None
    """The message of the error that it is, or ends with; None: it says that it is complete."""


def need(holds: bool, what: str) -> None:
    if not holds:
        raise Malformed(what)


def object_of(raw: bytes | str) -> Body:
    try:
        found = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise Malformed(f"no JSON: {error}") from None
    need(isinstance(found, dict), "no object")
    return dict(found)


def message_of(text: Any) -> str:
    need(isinstance(text, str) and bool(text), "no message in an error")
    return str(text)


def events(raw: bytes) -> Iterator[tuple[str | None, str]]:
    """Name and data of each server-sent event."""
    need(not raw or raw.endswith(b"\n\n"), "a stream that ends inside an event")
    for block in raw.decode().replace("\r\n", "\n").split("\n\n")[:-1]:
        lines = [line.partition(":") for line in block.split("\n")]
        named = next((value.strip() for name, _, value in lines if name == "event"), None)
        data = "\n".join(value.strip() for name, _, value in lines if name == "data")
        need({name for name, _, _ in lines} <= {"", "event", "data"}, "an unknown field of an event")
        if data:
            yield named, data


# OpenAI's chat and completions, and the gateway's own


def openai_refusal(body: Body) -> str:
    need(set(body["error"]) == {"message", "type", "param", "code"}, f"an error of {sorted(body['error'])}")
    return message_of(body["error"]["message"])


def native_refusal(body: Body) -> str:
    need(set(body["error"]) == {"code", "message", "details", "remediation"}, f"an error of {sorted(body['error'])}")
    return message_of(body["error"]["message"])


def chat_whole(body: Body) -> Told:
    need(body["object"] == "chat.completion", f"an object {body['object']}")
    [choice] = body["choices"]
    need(choice["finish_reason"] in ("stop", "tool_calls"), f"finished by {choice['finish_reason']}")
    calls = [call["function"]["arguments"] for call in choice["message"].get("tool_calls") or ()]
    return Told(choice["message"].get("content") or "", calls)


def text_whole(body: Body) -> Told:
    need(body["object"] == "text_completion", f"an object {body['object']}")
    [choice] = body["choices"]
    need(choice["finish_reason"] == "stop", f"finished by {choice['finish_reason']}")
    return Told(choice["text"])


def chunked(refusal: Callable[[Body], str]) -> Callable[[bytes], Told]:
    """A reader of a stream of OpenAI's, whose errors are read by `refusal`."""

    def read(raw: bytes) -> Told:
        told, ends, ids, done = Told(), 0, set(), False
        calls: dict[int, str] = {}
        for _, data in events(raw):
            need(not done and told.error is None, "something behind the end")
            if data == DONE:
                done = True
                continue
            chunk = object_of(data)
            if "error" in chunk:
                told.error = refusal(chunk)
                continue
            ids.add(chunk["id"])
            for choice in chunk["choices"]:
                delta = choice.get("delta") or {"content": choice.get("text")}
                said = bool(delta.get("content") or delta.get("tool_calls"))
                need(not (ends and said), "more of the answer behind its finish")
                told.text += delta.get("content") or ""
                for call in delta.get("tool_calls") or ():
                    calls[call["index"]] = calls.get(call["index"], "") + (call["function"].get("arguments") or "")
                reason = choice.get("finish_reason")
                need(reason in (None, "stop", "tool_calls"), f"finished by {reason}")
                ends += reason is not None
        told.calls = [calls[index] for index in sorted(calls)]
        if told.error is None:
            need(done, "a stream that ends without [DONE]")
            need(ends > 0, "a stream that ends without a finish")
            need(len(ids) == 1, f"an answer of {len(ids)} ids")
        return told

    return read


# OpenAI's Responses


def response(body: Body) -> Told:
    need(body["object"] == "response", f"an object {body['object']}")
    if body["status"] == "failed":
        return Told(error=message_of(body["error"]["message"]))
    need(body["status"] == "completed", f"a status {body['status']}")
    told = Told()
    for item in body["output"]:
        if item["type"] == "message":
            told.text += "".join(part["text"] for part in item["content"] if part["type"] == "output_text")
        elif item["type"] == "function_call":
            told.calls.append(item["arguments"])
    return told


def response_stream(raw: bytes) -> Told:
    told, last = Told(), None
    calls: dict[int, str] = {}
    for place, (name, data) in enumerate(events(raw)):
        need(last is None, "something behind the end")
        event = object_of(data)
        need(event["type"] == name, f"an event {name} with data of {event['type']}")
        need(event["sequence_number"] == place, f"event {place} has the number {event['sequence_number']}")
        if name == "response.output_text.delta":
            told.text += event["delta"]
        elif name == "response.function_call_arguments.delta":
            calls[event["output_index"]] = calls.get(event["output_index"], "") + event["delta"]
        elif name in ("response.completed", "response.failed", "response.incomplete", "error"):
            last = event
    if last is None:
        raise Malformed("a stream that ends without a last event")
    need("response" in last, "a stream that ends with a bare error")
    whole = response(last["response"])
    told.calls = [calls[index] for index in sorted(calls)]
    if whole.error is not None:
        told.error = whole.error
        return told
    need(whole.text == told.text, "a text that differs from its pieces")
    need(whole.calls == told.calls, "tool calls that differ from their pieces")
    return told


# Anthropic's Messages


def claude_refusal(body: Body) -> str:
    need(body["type"] == "error" and bool(body["error"]["type"]), "an error without a type")
    return message_of(body["error"]["message"])


def claude_whole(body: Body) -> Told:
    need(body["type"] == "message", f"an object {body['type']}")
    need(body["stop_reason"] in ("end_turn", "tool_use"), f"stopped by {body['stop_reason']}")
    told = Told()
    for block in body["content"]:
        if block["type"] == "text":
            told.text += block["text"]
        elif block["type"] == "tool_use":
            told.calls.append(msgspec.json.encode(block["input"]).decode())
    return told


def claude_stream(raw: bytes) -> Told:
    told, open_block, begun, stopped, ended = Told(), None, 0, None, False
    blocks: dict[int, tuple[str, list[str]]] = {}
    for name, data in events(raw):
        event = object_of(data)
        need(event["type"] == name, f"an event {name} with data of {event['type']}")
        if name == "ping":
            continue
        need(not ended and told.error is None, "something behind the end")
        if name == "error":
            told.error = claude_refusal(event)
        elif name == "message_start":
            begun += 1
        elif name == "content_block_start":
            need(open_block is None, "a block inside another one")
            open_block = int(event["index"])
            need(open_block == len(blocks), f"block {open_block} in the place of {len(blocks)}")
            blocks[open_block] = (event["content_block"]["type"], [])
        elif name == "content_block_delta":
            need(event["index"] == open_block, "a piece of a block that is not open")
            delta = event["delta"]
            piece = delta.get("text") or delta.get("partial_json") or ""
            blocks[event["index"]][1].append(piece)
        elif name == "content_block_stop":
            need(event["index"] == open_block, "the end of a block that is not open")
            open_block = None
        elif name == "message_delta":
            need(open_block is None, "a stop inside a block")
            stopped = event["delta"]["stop_reason"]
        elif name == "message_stop":
            ended = True
    told.text = "".join("".join(pieces) for kind, pieces in blocks.values() if kind == "text")
    told.calls = ["".join(pieces) for kind, pieces in blocks.values() if kind == "tool_use"]
    if told.error is None:
        need(begun == 1, f"{begun} begins of a message")
        need(ended, "a stream that ends without message_stop")
        need(stopped in ("end_turn", "tool_use"), f"stopped by {stopped}")
    return told


# Ollama


def ollama_refusal(body: Body) -> str:
    need(set(body) == {"error"}, f"an error of {sorted(body)}")
    return message_of(body["error"])


def ollama_said(line: Body) -> Told:
    if "response" in line:
        return Told(line["response"])
    calls = line["message"].get("tool_calls") or ()
    told = [msgspec.json.encode(call["function"]["arguments"]).decode() for call in calls]
    return Told(line["message"].get("content") or "", told)


def ollama_whole(body: Body) -> Told:
    need(body["done"] is True, "an answer that is not done")
    need(body["done_reason"] == "stop", f"done by {body['done_reason']}")
    return ollama_said(body)


def ollama_stream(raw: bytes) -> Told:
    need(raw.endswith(b"\n"), "a stream that ends inside a line")
    told, done = Told(), False
    for line in map(object_of, raw.decode().split("\n")[:-1]):
        need(not done and told.error is None, "something behind the end")
        if "error" in line:
            told.error = ollama_refusal(line)
            continue
        said = ollama_said(line)
        told.text += said.text
        told.calls += said.calls
        done = line["done"]
        need(not done or line["done_reason"] == "stop", f"done by {line.get('done_reason')}")
    need(done or told.error is not None, "a stream that ends without being done")
    return told
