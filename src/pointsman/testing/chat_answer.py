"""What a scripted upstream says when all goes well, in the dialect of the request that it meets.

An `Answer` is rendered as OpenAI chat, as OpenAI's `/v1/responses` or `/v1/completions`, as Ollama's `/api/chat` or
`/api/generate`, or as Anthropic's `/v1/messages`, streamed or not, by the path of the request; under `/v1beta/openai/`
with the ways of Gemini's OpenAI-compatible endpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from . import completion_answer, messages_answer, responses_answer

GEMINI = "/v1beta/openai/"
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call of an answer; `arguments` is an object, rendered as each dialect wants it."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str = "call_1"


@dataclass(frozen=True, slots=True)
class Tokens:
    """The usage that an answer reports."""

    prompt: int = 10
    completion: int = 5
    cached: int = 0
    """Of the prompt, read from a cache."""
    written: int = 0
    """Of the prompt, written to a cache; only Messages tells it."""


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as it came."""

    method: str
    path: str
    """With the query, as it stood on the wire."""
    headers: Mapping[str, str]
    """Names in lower case; of several with one name the last."""
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Wire(Protocol):
    """Where a step writes. Writing to a client that has left raises ConnectionError."""

    async def write(self, data: bytes) -> None: ...

    async def head(self, status: int, headers: Mapping[str, str], *, length: int | None) -> None:
        """Status line and headers; without a length the body is chunked."""

    async def body(self, data: bytes) -> None:
        """A piece of the body, in the framing that `head` announced."""

    async def end(self) -> None:
        """The end of a chunked body."""

    async def until_closed(self) -> None:
        """Wait until the client closes the connection."""

    def reset(self) -> None:
        """Close with a TCP reset."""

    def hang_up(self) -> None:
        """Close in order, whatever was promised."""


class Step(Protocol):
    """One entry of a script."""

    async def play(self, request: SeenRequest, wire: Wire) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A chat answer that works.

    `text` is sent in `pieces` frames, `delay` seconds before each, after `first_delay` seconds before the head.
    `usage=None` reports none. A streamed OpenAI answer carries its usage chunk when the request asks for it; with
    `always_usage`, unasked too. `done` is how many `[DONE]` frames end the stream.
    """

    text: str = "Hello from upstream."
    reasoning: str = ""
    tool_calls: Sequence[ToolUse] = ()
    hosted: Sequence[Mapping[str, Any]] = ()
    """Items of tools that the API runs by itself; only Responses tell them."""
    usage: Tokens | None = Tokens()
    finish: str | None = None
    """None: `tool_calls` when there are any, else `stop`."""
    n: int = 1
    pieces: int = 3
    first_delay: float = 0.0
    delay: float = 0.0
    always_usage: bool = False
    done: int = 1
    line_end: str = "\n"
    """`\\r\\n` for CRLF frames."""
    comments: bool = False
    """Put a comment frame before every frame, as some upstreams do to keep connections open."""
    bom: bool = False
    id: str = "chatcmpl-scripted"
    unstreamed: bool = False
    """Answer a streamed request with one JSON body."""
    headers: Mapping[str, str] = field(default_factory=dict)

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await asyncio.sleep(self.first_delay)
        asked = request.json
        path = request.path.split("?")[0]
        generate = path.endswith("/api/generate")
        ollama, messages = generate or path.endswith("/api/chat"), path.endswith("/messages")
        responses = path.endswith("/responses")
        completion = path.endswith("/completions") and not path.endswith(("/chat/completions", "/fim/completions"))
        refused = messages_answer.refusal(request) if messages else None
        refused = responses_answer.refusal(asked) if responses else refused
        if refused is not None:
            await wire.head(refused[0], {"content-type": "application/json"}, length=len(refused[1]))
            await wire.body(refused[1])
            return
        streamed = not self.unstreamed and asked.get("stream", ollama)
        if not streamed:
            await asyncio.sleep(self.delay)
            whole = self._ollama_whole if ollama else self._messages_whole if messages else self._openai_whole
            if responses or completion:
                whole = self._responses_whole if responses else self._completion_whole
            body = _encoder.encode(_generated(whole(asked)) if generate else whole(asked))
            headers = {"content-type": "application/json", **self.headers}
            await wire.head(200, headers, length=len(body))
            await wire.body(body)
            return
        kind = "application/x-ndjson" if ollama else "text/event-stream; charset=utf-8"
        await wire.head(200, {"content-type": kind, **self.headers}, length=None)
        lines = self.ollama_lines if ollama else self.messages_frames if messages else self.openai_frames
        if responses or completion:
            lines = self.responses_frames if responses else self.completion_frames
        if GEMINI in path:
            lines = self.gemini_frames
        for line in lines(asked):
            await asyncio.sleep(self.delay)
            await wire.body(_encoder.encode(_generated(msgspec.json.decode(line))) + b"\n" if generate else line)
        await wire.end()

    @property
    def _finish(self) -> str:
        return self.finish or ("tool_calls" if self.tool_calls else "stop")

    def split(self, text: str) -> list[str]:
        """A text in `pieces`."""
        if not text:
            return []
        size = -(-len(text) // max(1, self.pieces))
        return [text[start : start + size] for start in range(0, len(text), size)]

    # Anthropic

    def _messages_whole(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return messages_answer.whole(self, asked, self._finish)

    def messages_frames(self, asked: Mapping[str, Any]) -> list[bytes]:
        """The events of a streamed message for a request's fields."""
        return messages_answer.frames(self, asked, self._finish)

    # OpenAI's Responses

    def _responses_whole(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return responses_answer.whole(self, asked, self._finish)

    def responses_frames(self, asked: Mapping[str, Any]) -> list[bytes]:
        """The events of a streamed response for a request's fields."""
        return responses_answer.frames(self, asked, self._finish)

    # OpenAI's completions

    def _completion_whole(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return completion_answer.whole(self, asked, self._openai_usage(), self._finish)

    def completion_frames(self, asked: Mapping[str, Any]) -> list[bytes]:
        """The events of a streamed completion for a request's fields."""
        usage = self._openai_usage() if self._tells_usage(asked) else None
        return completion_answer.frames(self, asked, usage, self._finish)

    # Gemini

    def gemini_frames(self, asked: Mapping[str, Any]) -> list[bytes]:
        """As OpenAI's, but: usage in every chunk, each tool call whole in one chunk, without its index and with a
        signature, and `stop` at the end whatever the answer holds."""
        base = {"id": self.id, "object": "chat.completion.chunk", "created": 1, "model": asked.get("model")}
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": piece} for piece in self.split(self.text)]
        for call in self._openai_calls():
            signed = {**call, "extra_content": {"google": {"thought_signature": f"signed-{call['id']}"}}}
            deltas.append({"role": "assistant", "tool_calls": [signed]})
        finish = "length" if self._finish == "length" else "stop"
        chunks: list[dict[str, Any]] = []
        for at, delta in enumerate(deltas):
            choice = {"index": 0, "delta": delta}
            chunks.append(
                {**base, "choices": [choice if at < len(deltas) - 1 else {**choice, "finish_reason": finish}]}
            )
        usage = self._openai_usage()
        told = chunks if usage is None else [{**chunk, "usage": usage} for chunk in chunks]
        return [*(b"data: " + _encoder.encode(chunk) + b"\n\n" for chunk in told), b"data: [DONE]\n\n"]

    # OpenAI

    def _tells_usage(self, asked: Mapping[str, Any]) -> bool:
        return self.always_usage or bool((asked.get("stream_options") or {}).get("include_usage"))

    def _openai_usage(self) -> dict[str, Any] | None:
        if self.usage is None:
            return None
        return {
            "prompt_tokens": self.usage.prompt,
            "completion_tokens": self.usage.completion,
            "total_tokens": self.usage.prompt + self.usage.completion,
            "prompt_tokens_details": {"cached_tokens": self.usage.cached},
        }

    def _openai_calls(self) -> list[dict[str, Any]]:
        return [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _encoder.encode(call.arguments).decode()},
            }
            for call in self.tool_calls
        ]

    def _openai_whole(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = self._openai_calls()
        choices = [{"index": i, "message": message, "finish_reason": self._finish} for i in range(self.n)]
        whole = {
            "id": self.id,
            "object": "chat.completion",
            "created": 1,
            "model": asked.get("model"),
            "choices": choices,
        }
        usage = self._openai_usage()
        return whole if usage is None else {**whole, "usage": usage}

    def openai_frames(self, asked: Mapping[str, Any]) -> list[bytes]:
        """The server-sent events for a request's fields, `[DONE]` with them."""
        wants_usage = self._tells_usage(asked)
        base = {"id": self.id, "object": "chat.completion.chunk", "created": 1, "model": asked.get("model")}
        chunks: list[dict[str, Any]] = []
        for choice in range(self.n):
            deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
            deltas += [{"reasoning_content": piece} for piece in self.split(self.reasoning)]
            deltas += [{"content": piece} for piece in self.split(self.text)]
            for index, call in enumerate(self._openai_calls()):
                arguments = call["function"]["arguments"]
                opening = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
                deltas.append({"tool_calls": [opening]})
                deltas += [
                    {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
                    for piece in self.split(arguments)
                ]
            chunks += [
                {**base, "choices": [{"index": choice, "delta": delta, "finish_reason": None}]} for delta in deltas
            ]
            chunks.append({**base, "choices": [{"index": choice, "delta": {}, "finish_reason": self._finish}]})
        if wants_usage and self.usage is not None:
            chunks.append({**base, "choices": [], "usage": self._openai_usage()})
        end = self.line_end.encode()
        frames = [b"data: " + _encoder.encode(chunk) + end * 2 for chunk in chunks]
        frames += [b"data: [DONE]" + end * 2] * self.done
        if self.comments:
            frames = [b": still here" + end * 2 + frame for frame in frames]
        if self.bom:
            frames[0] = b"\xef\xbb\xbf" + frames[0]
        return frames

    # Ollama

    def _ollama_last(self) -> dict[str, Any]:
        last: dict[str, Any] = {"done": True, "done_reason": "length" if self._finish == "length" else "stop"}
        if self.usage is not None:
            last |= {
                "total_duration": 5_000_000_000,
                "load_duration": 1_000_000,
                "prompt_eval_count": self.usage.prompt,
                "prompt_eval_duration": 300_000_000,
                "eval_count": self.usage.completion,
                "eval_duration": 4_000_000_000,
            }
        return last

    def _ollama_calls(self) -> list[dict[str, Any]]:
        return [{"function": {"name": call.name, "arguments": call.arguments}} for call in self.tool_calls]

    def _ollama_whole(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.reasoning:
            message["thinking"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = self._ollama_calls()
        stamp = {"model": asked.get("model"), "created_at": "2026-01-01T00:00:00.000000001Z"}
        return {**stamp, "message": message, **self._ollama_last()}

    def ollama_lines(self, asked: Mapping[str, Any]) -> list[bytes]:
        """The lines of a streamed Ollama answer for a request's fields."""
        stamp = {"model": asked.get("model"), "created_at": "2026-01-01T00:00:00.000000001Z"}
        messages: list[dict[str, Any]] = [
            {"role": "assistant", "content": "", "thinking": piece} for piece in self.split(self.reasoning)
        ]
        messages += [{"role": "assistant", "content": piece} for piece in self.split(self.text)]
        if self.tool_calls:
            messages.append({"role": "assistant", "content": "", "tool_calls": self._ollama_calls()})
        lines = [{**stamp, "message": message, "done": False} for message in messages]
        lines.append({**stamp, "message": {"role": "assistant", "content": ""}, **self._ollama_last()})
        return [_encoder.encode(line) + b"\n" for line in lines]


def _generated(said: Mapping[str, Any]) -> dict[str, Any]:
    """A line of Ollama's chat as its `/api/generate` writes it."""
    message = said.get("message", {})
    rest = {name: value for name, value in said.items() if name != "message"}
    thinking = {"thinking": message["thinking"]} if message.get("thinking") else {}
    return {**rest, "response": message.get("content", ""), **thinking}
