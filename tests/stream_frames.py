"""Pieces of an answer as upstreams stream it, by the dialect that they speak."""

from __future__ import annotations

import json
from typing import Any


def chunk(delta: Any = None, finish: Any = None, **fields: Any) -> bytes:
    """Of a chat."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    told = {"id": "c", "object": "chat.completion.chunk", "choices": choices, **fields}
    return b"data: " + json.dumps(told).encode() + b"\n\n"


def frame(**fields: Any) -> bytes:
    """Of Messages or Responses."""
    return b"event: " + fields["type"].encode() + b"\ndata: " + json.dumps(fields).encode() + b"\n\n"


def response(kind: str, **fields: Any) -> bytes:
    """Of Responses, with the response as it stands."""
    return frame(type=f"response.{kind}", response={"id": "r", "status": "in_progress", "output": [], **fields})


def line(content: str = "", **fields: Any) -> bytes:
    """Of Ollama."""
    return json.dumps({"message": {"role": "assistant", "content": content}, "done": False, **fields}).encode() + b"\n"


USAGE = {"input_tokens": 7, "output_tokens": 3}
BEGIN = {
    "chat": [chunk({"role": "assistant", "content": ""}), chunk({"content": ""})],
    "messages": [
        frame(type="message_start", message={"id": "m", "content": [], "usage": {"input_tokens": 7}}),
        frame(type="ping"),
        frame(type="content_block_start", index=0, content_block={"type": "text", "text": ""}),
        frame(type="content_block_delta", index=0, delta={"type": "text_delta", "text": ""}),
    ],
    "responses": [
        response("created"),
        response("in_progress"),
        frame(
            type="response.output_item.added",
            output_index=0,
            item={"type": "message", "id": "i", "role": "assistant", "content": []},
        ),
        frame(type="response.content_part.added", output_index=0, part={"type": "output_text", "text": ""}),
        frame(type="response.output_text.delta", output_index=0, content_index=0, delta=""),
    ],
    "ollama": [line(), line(thinking="")],
}
"""No word of the answer stands in these, and the last of each may come as often as an upstream likes."""
WORD = {
    "chat": chunk({"content": "word "}),
    "messages": frame(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "word "}),
    "responses": frame(type="response.output_text.delta", output_index=0, content_index=0, delta="word "),
    "ollama": line("word "),
}
END = {
    "chat": [chunk({}, "stop"), chunk(usage={"prompt_tokens": 7, "completion_tokens": 3}), b"data: [DONE]\n\n"],
    "messages": [
        frame(type="content_block_stop", index=0),
        frame(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3}),
        frame(type="message_stop"),
    ],
    "responses": [response("completed", status="completed", usage=USAGE)],
    "ollama": [line(done=True, prompt_eval_count=7, eval_count=3)],
}
BAD = {
    "chat": [
        b'data: {"error": {"message": "no", "code": "server_error"}}\n\n',
        b'data: {"choices": [{"index\n\n',
        b"data: null\n\n",
    ],
    "messages": [
        frame(type="error", error={"type": "overloaded_error", "message": "no"}),
        b'event: content_block_delta\ndata: {"type": "content_block_del\n\n',
        b"data: null\n\n",
        frame(type="message_delta", delta={"stop_reason": 5}),
    ],
    "responses": [
        frame(type="error", code="server_error", message="no"),
        response("failed", status="failed", error={"code": "server_error", "message": "no"}),
        b'event: response.output_text.delta\ndata: {"type": "response.output_te\n\n',
        b"data: [1]\n\n",
        response("completed", output=5),
    ],
    "ollama": [
        b'{"error": "no"}\n',
        b'{"message": {"content": "wo\n',
        b"null\n",
        b"{}\n",
        line("x", done="many"),
    ],
}
"""Events that end an answer as a failure."""
for _dialect, _word in WORD.items():
    BAD[_dialect].append(_word.replace(b"word", b"\xc3\x28"))
