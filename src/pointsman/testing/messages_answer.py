"""A scripted answer as Anthropic's Messages API gives it, and what that API refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from .chat_answer import Answer, SeenRequest, Tokens

_encoder = msgspec.json.Encoder()

STOPS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}
"""`finish` → `stop_reason`; other words stand as they are."""
SIGNATURE = "c2lnbmF0dXJl"
"""Of every thinking block."""
FIELDS = frozenset(
    {
        *("model", "max_tokens", "messages", "system", "stream", "temperature", "top_p", "top_k", "stop_sequences"),
        *(
            "tools",
            "tool_choice",
            "thinking",
            "metadata",
            "output_config",
            "service_tier",
            "cache_control",
            "container",
        ),
        *("diagnostics", "inference_geo", "speed", "user_profile_id", "workspace_id"),
        *("context_management", "mcp_servers", "output_format"),  # of betas
    }
)
BLOCKS = {
    "user": {"text", "image", "document", "search_result", "tool_result"},
    "assistant": {"text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "web_search_tool_result"},
    "system": {"text"},
}


def error_body(kind: str, message: str) -> bytes:
    """An error as the API writes it."""
    error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_scripted"}
    return _encoder.encode(error)


def refusal(request: SeenRequest) -> tuple[int, bytes] | None:
    """Status and body of the error for a request that the API would not take, as far as is looked at."""
    if "anthropic-version" not in request.headers:
        return 400, error_body("invalid_request_error", "anthropic-version: header is required")
    if not {"x-api-key", "authorization"} & set(request.headers):
        return 401, error_body("authentication_error", "x-api-key header is required")
    wrong = next(_wrong(request.json), None)
    return None if wrong is None else (400, error_body("invalid_request_error", wrong))


def _wrong(body: Mapping[str, Any]) -> Iterator[str]:
    for name in body:
        if name not in FIELDS:
            yield f"{name}: Extra inputs are not permitted"
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            yield f"{name}: Field required"
    if not body["messages"]:
        yield "messages: at least one message is required"
    calls: set[str] = set()
    for index, message in enumerate(body["messages"]):
        at = f"messages.{index}"
        role, content = message["role"], message["content"]
        if role not in BLOCKS:
            yield f"{at}.role: Input should be 'user', 'assistant' or 'system'"
        if not index and role != "user":
            yield f"{at}: first message must use the user role"
        if isinstance(content, str):
            if not content:
                yield f"{at}: content must not be empty"
            continue
        results = True
        for part in content:
            if part["type"] not in BLOCKS[role]:
                yield f"{at}.content: a {part['type']} block cannot stand here"
            if part["type"] == "text" and not part["text"]:
                yield f"{at}.content: text content blocks must be non-empty"
            if part["type"] == "tool_use":
                calls.add(part["id"])
                if not isinstance(part["input"], dict):
                    yield f"{at}.content: input should be an object"
            if part["type"] == "tool_result":
                if part["tool_use_id"] not in calls:
                    yield f"{at}.content: unexpected `tool_use_id` found in `tool_result` blocks"
                if not results:
                    yield f"{at}.content: `tool_result` blocks must come first"
            results = results and part["type"] == "tool_result"
    for index, tool in enumerate(body.get("tools", ())):
        if tool.get("type") in (None, "custom") and (tool.get("input_schema") or {}).get("type") != "object":
            yield f"tools.{index}.input_schema.type: Field required"
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "enabled" and not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
        yield "thinking.enabled.budget_tokens: at least 1024 and less than max_tokens"


def usage(tokens: Tokens | None) -> dict[str, Any]:
    tokens_ = (tokens.prompt, tokens.completion, tokens.cached, tokens.written) if tokens is not None else (0, 0, 0, 0)
    prompt, completion, cached, written = tokens_
    return {
        "input_tokens": prompt - cached - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": completion,
        "service_tier": "standard",
    }


def blocks(answer: Answer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if answer.reasoning:
        found.append({"type": "thinking", "thinking": answer.reasoning, "signature": SIGNATURE})
    if answer.text:
        found.append({"type": "text", "text": answer.text, "citations": None})
    calls = (
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments} for call in answer.tool_calls
    )
    return [*found, *calls]


def whole(answer: Answer, asked: Mapping[str, Any], finish: str) -> dict[str, Any]:
    """An unstreamed message."""
    return {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": asked.get("model"),
        "content": blocks(answer),
        "stop_reason": STOPS.get(finish, finish),
        "stop_sequence": None,
        "usage": usage(answer.usage),
    }


def frames(answer: Answer, asked: Mapping[str, Any], finish: str) -> list[bytes]:
    """The events of a streamed message."""
    told = usage(answer.usage)
    begun = {**whole(answer, asked, finish), "content": [], "stop_reason": None, "usage": {**told, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}, {"type": "ping"}]
    for index, block in enumerate(blocks(answer)):
        begin, deltas = _told(block, answer)
        events.append({"type": "content_block_start", "index": index, "content_block": begin})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": STOPS.get(finish, finish), "stop_sequence": None}
    last: dict[str, Any] = {"type": "message_delta", "delta": delta}
    events.append({**last, "usage": {"output_tokens": told["output_tokens"]}} if answer.usage is not None else last)
    events += [{"type": "message_stop"}]
    end = answer.line_end.encode()
    return [
        b"event: " + event["type"].encode() + end + b"data: " + _encoder.encode(event) + end * 2 for event in events
    ]


def _told(block: dict[str, Any], answer: Answer) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How a block begins, and what follows of it."""
    if block["type"] == "thinking":
        told = [{"type": "thinking_delta", "thinking": piece} for piece in answer.split(block["thinking"])]
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {"type": "thinking", "thinking": "", "signature": ""}, [*told, signed]
    if block["type"] == "text":
        told = [{"type": "text_delta", "text": piece} for piece in answer.split(block["text"])]
        return {"type": "text", "text": ""}, told
    text = _encoder.encode(block["input"]).decode() if block["input"] else ""
    pieces = ["", *answer.split(text)]
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
