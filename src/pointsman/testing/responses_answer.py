"""A scripted answer as OpenAI's Responses API gives it, and what that API refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from .chat_answer import Answer

_encoder = msgspec.json.Encoder()
Item = dict[str, Any]

FIELDS = frozenset(
    {
        *("background", "context_management", "conversation", "include", "input", "instructions", "max_output_tokens"),
        *("max_tool_calls", "metadata", "model", "parallel_tool_calls", "previous_response_id", "prompt"),
        *("prompt_cache_key", "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store"),
        *("stream", "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p"),
        *("truncation", "user"),
    }
)
PARTS = {
    "user": ("input_text", "input_image", "input_file"),
    "system": ("input_text", "input_image", "input_file"),
    "developer": ("input_text", "input_image", "input_file"),
    "assistant": ("output_text", "refusal"),
}
ENCRYPTED = "gAAAAA-scripted"
"""The encrypted form of every thought; one that begins otherwise was encrypted elsewhere."""
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def refusal(asked: Mapping[str, Any]) -> tuple[int, bytes] | None:
    """Status and body of the error for a request that the API would not take, as far as is looked at."""
    found = next(_wrong(asked), None)
    if found is None:
        return None
    param, message, code = found
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return 400, _encoder.encode({"error": error})


def _wrong(asked: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    for name in asked:
        if name not in FIELDS:
            yield name, f"Unknown parameter: '{name}'.", "unknown_parameter"
    if "input" not in asked:
        yield "input", "Missing required parameter: 'input'.", "missing_required_parameter"
    if asked.get("previous_response_id"):
        yield "previous_response_id", "Previous response not found.", "previous_response_not_found"
    items = asked["input"] if isinstance(asked["input"], list) else []
    calls: set[tuple[str, str]] = set()
    for index, item in enumerate(items):
        at, kind = f"input[{index}]", item.get("type", "message")
        if kind == "message":
            parts = item["content"] if isinstance(item["content"], list) else []
            for place, part in enumerate(parts):
                if part["type"] not in PARTS[item["role"]]:
                    yield f"{at}.content[{place}]", f"Invalid value: '{part['type']}'.", "invalid_value"
        elif kind == "reasoning":
            if "summary" not in item or "status" in item:
                yield f"{at}.summary", "Missing required parameter.", "missing_required_parameter"
            if not item.get("encrypted_content"):
                yield at, f"Item with id '{item.get('id')}' not found.", None
            elif not item["encrypted_content"].startswith(ENCRYPTED):
                yield at, "The encrypted content could not be verified.", "invalid_encrypted_content"
            elif index + 1 == len(items) or items[index + 1].get("type") == "function_call_output":
                yield at, "Item of type 'reasoning' was provided without its required following item.", None
        elif kind in ("function_call", "custom_tool_call"):
            calls.add((f"{kind}_output", item["call_id"]))
        elif kind.endswith("_call_output") and (kind, item["call_id"]) not in calls:
            yield at, f"No tool call found for {kind} with call_id {item['call_id']}.", None
    for index, tool in enumerate(asked.get("tools") or ()):
        if tool["type"] in ("function", "custom") and "name" not in tool:
            yield f"tools[{index}].name", "Missing required parameter.", "missing_required_parameter"


def items(answer: Answer, asked: Mapping[str, Any]) -> list[Item]:
    """The output."""
    found: list[Item] = []
    mark = answer.id.removeprefix("chatcmpl-")
    if answer.reasoning:
        summary = [{"type": "summary_text", "text": answer.reasoning}]
        thought: Item = {"id": f"rs_{mark}", "type": "reasoning", "summary": summary}
        if "reasoning.encrypted_content" in (asked.get("include") or ()):
            thought["encrypted_content"] = f"{ENCRYPTED}-{len(asked['input'])}"
        found.append(thought)
    found += [dict(item) for item in answer.hosted]
    if answer.text:
        part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        found.append(
            {"id": f"msg_{mark}", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
        )
    customs = {tool["name"] for tool in asked.get("tools") or () if tool["type"] == "custom"}
    for call in answer.tool_calls:
        named = {"status": "completed", "call_id": call.id, "name": call.name}
        if call.name in customs:
            text = str(call.arguments.get("input", ""))
            found.append({"id": f"ctc_{call.id}", "type": "custom_tool_call", **named, "input": text})
        else:
            arguments = _encoder.encode(call.arguments).decode()
            found.append({"id": f"fc_{call.id}", "type": "function_call", **named, "arguments": arguments})
    return found


def usage(answer: Answer) -> Item | None:
    if answer.usage is None:
        return None
    prompt, completion = answer.usage.prompt, answer.usage.completion
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": answer.usage.cached, "cache_write_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + completion,
    }


def whole(answer: Answer, asked: Mapping[str, Any], finish: str) -> Item:
    """An unstreamed response."""
    reason = _INCOMPLETE.get(finish)
    echoed = {name: asked.get(name) for name in ("instructions", "max_output_tokens", "temperature", "top_p", "user")}
    return {
        "id": f"resp_upstream_{answer.id}",
        "object": "response",
        "created_at": 1,
        "status": "incomplete" if reason else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        **echoed,
        "metadata": asked.get("metadata") or {},
        "model": asked.get("model"),
        "output": items(answer, asked),
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None, **(asked.get("reasoning") or {})},
        "service_tier": "default",
        "store": asked.get("store", True),
        "text": asked.get("text") or {"format": {"type": "text"}},
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": asked.get("tools") or [],
        "truncation": asked.get("truncation", "disabled"),
        "usage": usage(answer),
    }


def frames(answer: Answer, asked: Mapping[str, Any], finish: str) -> list[bytes]:
    """The events of a streamed response."""
    last = whole(answer, asked, finish)
    begun = {**last, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    events: list[Item] = [{"type": f"response.{word}", "response": begun} for word in ("created", "in_progress")]
    for index, item in enumerate(last["output"]):
        events += _told(answer, item, index)
    events.append({"type": f"response.{last['status']}", "response": last})
    end = answer.line_end.encode()
    return [
        b"event: " + event["type"].encode() + end + b"data: "
        + _encoder.encode({"type": event["type"], "sequence_number": number, **event}) + end * 2
        for number, event in enumerate(events)
    ]  # fmt: skip


def _told(answer: Answer, item: Item, index: int) -> Iterator[Item]:
    """The events of one item."""
    place = {"item_id": item["id"], "output_index": index}
    kind = item["type"]
    empty = {"message": "content", "reasoning": "summary", "function_call": "arguments", "custom_tool_call": "input"}
    first = {**item, **({"status": "in_progress"} if "status" in item else {})}
    if kind in empty:
        first[empty[kind]] = [] if kind in ("message", "reasoning") else ""
    yield {"type": "response.output_item.added", "output_index": index, "item": first}
    if kind == "message":
        at = {**place, "content_index": 0}
        part = item["content"][0]
        yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
        for piece in answer.split(part["text"]):
            yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **at, "part": part}
    elif kind == "reasoning":
        at = {**place, "summary_index": 0}
        part = item["summary"][0]
        yield {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}}
        for piece in answer.split(part["text"]):
            yield {"type": "response.reasoning_summary_text.delta", **at, "delta": piece}
        yield {"type": "response.reasoning_summary_text.done", **at, "text": part["text"]}
        yield {"type": "response.reasoning_summary_part.done", **at, "part": part}
    elif kind in ("function_call", "custom_tool_call"):
        word = "function_call_arguments" if kind == "function_call" else "custom_tool_call_input"
        field = empty[kind]
        for piece in answer.split(item[field]):
            yield {"type": f"response.{word}.delta", **place, "delta": piece}
        named = {"name": item["name"]} if kind == "function_call" else {}
        yield {"type": f"response.{word}.done", **place, **named, field: item[field]}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}
