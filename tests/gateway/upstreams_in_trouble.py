"""The registry of kinds of upstream, and of what goes wrong with each. A fault is asked for by a word in the request,
so that requests may run side by side."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pointsman.testing import Answer, HangUp, Page, Raw, Reset, SeenRequest, Stall, Status, Step, Truncated, Vectors
from pointsman.testing.answers import Wire

Expected = Literal["error", "answer", "either"]
HELLO = "Hello from upstream."
JSON = "application/json"


@dataclass(frozen=True)
class Upstream:
    """One kind: which model of it does what."""

    chat: str
    completion: str | None = None
    embeddings: str | None = None

    def model(self, kind: str) -> str | None:
        """Who is asked for it. A completion that no model of it gives is asked of the chat model."""
        return (self.completion or self.chat) if kind == "completion" else getattr(self, kind, self.chat)


UPSTREAMS: dict[str, Upstream] = {
    "openai": Upstream("openai:gpt-4o-mini", "openai:gpt-3.5-turbo-instruct", "openai:text-embedding-3-small"),
    "anthropic": Upstream("anthropic:claude-opus-4-5"),
    "ollama": Upstream("ollama:llama3:8b", "ollama:coder:1b", "ollama:nomic-embed-text"),
    "gemini": Upstream("gemini:gemini-3.8-flash"),
    "litellm": Upstream("litellm:claude"),
}


def providers(root: str) -> dict[str, Any]:
    """The settings of them all, at one scripted server."""
    openai = ["gpt-4o-mini", "gpt-3.5-turbo-instruct", "text-embedding-3-small"]
    key = {"api_key": "sk-upstream-planted-key"}
    return {
        "openai": {"base_url": f"{root}/v1", "models": openai, **key},
        "anthropic": {"base_url": root, "models": ["claude-opus-4-5"], **key},
        "gemini": {"base_url": f"{root}/v1beta/openai", "models": ["gemini-3.8-flash"], **key},
        "litellm": {"base_url": f"{root}/lite/v1", "models": ["claude"], **key},
        "ollama": {"base_url": root, "models": ["llama3:8b", "coder:1b", "nomic-embed-text"]},
    }


SHOWS: dict[str, Any] = {
    "llama3:8b": {"capabilities": ["completion", "tools"], "model_info": {"l.context_length": 8192}},
    "coder:1b": {"capabilities": ["completion", "insert"], "model_info": {"l.context_length": 8192}},
    "nomic-embed-text": {"capabilities": ["embedding"], "model_info": {"n.context_length": 2048}},
}


def _wire(request: SeenRequest) -> str:
    path = request.path.partition("?")[0]
    if path.endswith("/messages"):
        return "messages"
    if path.startswith("/api/"):
        return "ollama"
    return "completion" if path.endswith("/completions") and "/chat/" not in path else "openai"


def _streamed(request: SeenRequest) -> bool:
    return bool(request.json.get("stream", False))


class Good:
    """A right answer of whatever is asked for."""

    def __init__(self, answer: Answer | None = None) -> None:
        self._answer = answer or Answer(text=HELLO)

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        path = request.path.partition("?")[0]
        if path.endswith("/embed"):
            await Vectors().play(request, wire)
        elif path.endswith("/embeddings"):
            texts = request.json["input"] if isinstance(request.json["input"], list) else [request.json["input"]]
            vectors = [{"object": "embedding", "index": at, "embedding": [0.25, 0.5]} for at in range(len(texts))]
            usage = {"usage": {"prompt_tokens": 2, "total_tokens": 2}} if self._answer.usage else {}
            answer = {"object": "list", "data": vectors, "model": request.json["model"], **usage}
            await Page(json.dumps(answer).encode(), JSON).play(request, wire)
        else:
            await self._answer.play(request, wire)


class _Changed:
    """A wire on which a body is changed on its way, into one of the same length, or its content type is."""

    def __init__(self, wire: Wire, change: Callable[[bytes], bytes], content_type: str | None) -> None:
        self._wire, self._change, self._type = wire, change, content_type
        self.write, self.end, self.until_closed = wire.write, wire.end, wire.until_closed
        self.reset, self.hang_up = wire.reset, wire.hang_up

    async def head(self, status: int, headers: Mapping[str, str], *, length: int | None) -> None:
        told = {**headers, "content-type": self._type} if self._type is not None else headers
        await self._wire.head(status, {k: v for k, v in told.items() if v}, length=length)

    async def body(self, data: bytes) -> None:
        changed = self._change(data)
        assert len(changed) == len(data)
        await self._wire.body(changed)


@dataclass(frozen=True)
class Changed:
    """A right answer with bytes that are not, or under another content type (an empty one: under none)."""

    change: Callable[[bytes], bytes] = lambda data: data
    content_type: str | None = None

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await Good().play(request, _Changed(wire, self.change, self.content_type))


class _Accounted:
    """A wire on which the accounts of a right answer are changed on their way."""

    def __init__(self, wire: Wire, change: Callable[[dict[str, Any]], None]) -> None:
        self._wire, self._change = wire, change
        self._head: tuple[int, Mapping[str, str], int | None] | None = None
        self.write, self.end, self.until_closed = wire.write, wire.end, wire.until_closed
        self.reset, self.hang_up = wire.reset, wire.hang_up

    async def head(self, status: int, headers: Mapping[str, str], *, length: int | None) -> None:
        self._head = (status, headers, length)

    async def body(self, data: bytes) -> None:
        changed = b"\n".join(map(self._line, data.split(b"\n")))
        if self._head is not None:
            status, headers, length = self._head
            self._head = None
            await self._wire.head(status, headers, length=None if length is None else len(changed))
        await self._wire.body(changed)

    def _line(self, line: bytes) -> bytes:
        at = line.find(b"{")
        if at < 0:
            return line
        told = json.loads(line[at:])
        for holder in (told, told.get("message"), told.get("response")):
            if isinstance(holder, dict):
                self._change(holder)
        return line[:at] + json.dumps(told).encode()


@dataclass(frozen=True)
class Accounts:
    """A right answer whose usage is this, or each count in its usage."""

    usage: Any
    each: bool = True

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await Good().play(request, _Accounted(wire, self._change))

    def _change(self, holder: dict[str, Any]) -> None:
        for name in ("prompt_eval_count", "eval_count"):
            if name in holder:
                holder[name] = self.usage
        if holder.get("usage") is not None:
            holder["usage"] = self._counts(holder["usage"]) if self.each else self.usage

    def _counts(self, told: Any) -> Any:
        if isinstance(told, dict):
            return {name: self._counts(value) for name, value in told.items()}
        return self.usage if isinstance(told, int) else told


def _error(request: SeenRequest) -> dict[str, Any] | str:
    message = "scripted trouble"
    if _wire(request) == "ollama":
        return {"error": message}
    if _wire(request) == "messages":
        return {"type": "error", "error": {"type": "overloaded_error", "message": message}}
    return {"error": {"message": message, "type": "server_error", "code": "scripted", "param": None}}


def _framed(request: SeenRequest, told: Any) -> bytes:
    """One event or line of the wire that is asked."""
    raw = told if isinstance(told, bytes) else json.dumps(told).encode()
    if _wire(request) == "ollama":
        return raw + b"\n"
    if _wire(request) == "messages":
        kind = told.get("type", "ping") if isinstance(told, dict) else "content_block_delta"
        return b"event: " + str(kind).encode() + b"\ndata: " + raw + b"\n\n"
    return b"data: " + raw + b"\n\n"


class ErrorInside:
    """An error whose status is 200: as the body, or behind so many bytes of a stream."""

    def __init__(self, after: bool = False) -> None:
        self._after = after

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await _then(request, wire, _error(request), after=self._after)


class Odd:
    """JSON that is none of the answer's, in its own framing; `after` what a stream begins with."""

    def __init__(self, told: Any, *, after: bool = False) -> None:
        self._told, self._after = told, after

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        told = self._told.get(_wire(request), {}) if isinstance(self._told, dict) else self._told
        await _then(request, wire, told, after=self._after)


async def _then(request: SeenRequest, wire: Wire, told: Any, *, after: bool) -> None:
    if not _streamed(request):
        raw = told if isinstance(told, bytes) else json.dumps(told).encode()
        await Page(raw, JSON).play(request, wire)
        return
    kind = "application/x-ndjson" if _wire(request) == "ollama" else "text/event-stream"
    await wire.head(200, {"content-type": kind}, length=None)
    for frame in _begun(request) if after else ():
        await wire.body(frame)
    await wire.body(_framed(request, told))
    await wire.end()


def _begun(request: SeenRequest) -> list[bytes]:
    """What a stream begins with, its first words among them."""
    answer, asked = Answer(text=HELLO), request.json
    if _wire(request) == "ollama":
        return answer.ollama_lines(asked)[:2]
    if _wire(request) == "messages":
        return answer.messages_frames(asked)[:5]
    if _wire(request) == "openai":
        return answer.openai_frames(asked)[:3]
    return answer.completion_frames(asked)[:1]


def _odd(delta: Any, message: Any, block: Any, line: Any) -> dict[str, Any]:
    """The same oddity in each wire's words: of a chat's delta or message, of a block, of a line."""
    choice = {"index": 0, "finish_reason": None, "delta": delta, "message": message}
    base = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    return {
        "openai": {**base, "choices": [choice]},
        "completion": {**base, "choices": [{"index": 0, "text": message, "finish_reason": "stop"}]},
        "messages": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [block],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 1, "output_tokens": 1},
        },
        "ollama": {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": line, "done": True},
    }


HTML = b"<html><head><title>Sign in to the network</title></head><body>Hello</body></html>"


FAULTS: dict[str, tuple[Expected, Step]] = {
    "nothing": ("answer", Good()),
    "reset": ("error", Reset(answer=Good())),
    "reset-midway": ("error", Reset(30, Good())),
    "hang-up": ("error", HangUp(answer=Good())),
    "hang-up-midway": ("error", HangUp(31, Good())),
    "half-frame": ("error", Truncated(29, Good())),  # type: ignore[arg-type]
    "half-frame-later": ("error", Truncated(45, Good())),  # type: ignore[arg-type]
    "no-body-of-a-stream": ("error", Truncated(0, Good())),  # type: ignore[arg-type]
    "stall": ("error", Stall(answer=Good())),
    "stall-midway": ("error", Stall(33, Good())),
    "no-http": ("error", Raw(b"SSH-2.0-garbage\r\n")),
    "web-page": ("error", Page(HTML)),
    "web-page-called-json": ("error", Page(HTML, JSON)),
    "web-page-called-stream": ("error", Page(HTML, "text/event-stream")),
    "web-page-of-a-proxy": ("error", Page(HTML, status=502)),
    "empty": ("error", Page(b"", JSON)),
    "empty-of-no-type": ("error", Page(b"", "")),
    "a-list": ("error", Page(b"[]", JSON)),
    "a-word": ("error", Page(b'"text"', JSON)),
    "null": ("error", Page(b"null", JSON)),
    "another-object": ("error", Page(b'{"ok": true}', JSON)),
    "half-json": ("error", Page(b'{"choices": [{"mess', JSON)),
    "deep-json": ("error", Page(b"[" * 100_000, JSON)),
    "deep-object": ("error", Page(b'{"choices":' * 50_000, JSON)),
    "no-utf-8": ("error", Page(b'{"choices": "\xff\xfe"}', JSON)),
    "no-utf-8-inside": ("either", Changed(lambda data: data.replace(b"upstream", b"up\xff\xfeream"))),
    "lone-surrogate": ("either", Changed(lambda data: data.replace(b"upstream", b"\\ud800am"))),
    "no-type": ("either", Changed(content_type="")),
    "text-type": ("either", Changed(content_type="text/plain")),
    "no-usage": ("answer", Good(Answer(text=HELLO, usage=None))),
    "error-inside": ("error", ErrorInside()),
    "error-later": ("error", ErrorInside(after=True)),
    "status-400": ("error", Status(400)),
    "status-401": ("error", Status(401)),
    "status-404": ("error", Status(404)),
    "status-413": ("error", Status(413)),
    "status-429": ("error", Status(429, retry_after=0)),
    "status-500": ("error", Status(500)),
    "status-500-of-nothing": ("error", Status(500, b"")),
    "status-500-of-no-utf-8": ("error", Status(500, b'{"error": "\xff"}')),
    "status-529": ("error", Status(529)),
    "status-204": ("error", Page(b"", JSON, 204)),
    "redirect": ("error", Page(b"", JSON, 307, {"Location": "/elsewhere"})),
    "odd-types": ("either", Odd(_odd({"content": 5}, {"content": 5}, {"type": "text", "text": 5}, {"content": 5}))),
    "odd-types-later": ("either", Odd(_odd({"content": 5}, {"content": 5}, {"type": 5}, {"content": 5}), after=True)),
    "odd-nulls": ("either", Odd(_odd(None, None, None, None))),
    "odd-nulls-later": ("either", Odd(_odd(None, None, None, None), after=True)),
    "odd-list": ("error", Odd([1, 2])),
    "odd-list-later": ("error", Odd([1, 2], after=True)),
    "odd-word-later": ("error", Odd(b"not json at all", after=True)),
    "odd-bytes-later": ("error", Odd(b'{"choices": "\xff\xfe"}', after=True)),
    "no-choices": ("either", Odd({"openai": {"id": "x", "object": "chat.completion", "created": 1, "choices": []}})),
    "odd-calls": (
        "either",
        Odd(
            _odd(
                {"tool_calls": [{"function": {"arguments": 5}}, 7, None]},
                {"tool_calls": [{"id": None, "function": {"name": None, "arguments": None}}]},
                {"type": "tool_use", "id": None, "name": None, "input": "not json"},
                {"tool_calls": [{"function": {"name": None, "arguments": "{"}}]},
            ),
            after=True,
        ),
    ),
    "usage-of-text": ("answer", Accounts("many", each=False)),
    "usage-of-a-list": ("answer", Accounts([{"prompt_tokens": 5}], each=False)),
    "usage-of-texts": ("answer", Accounts("5")),
    "usage-of-nulls": ("answer", Accounts(None)),
    "usage-below-zero": ("answer", Accounts(-5)),
    "usage-of-no-number": ("answer", Accounts(float("nan"))),
    "usage-without-end": ("answer", Accounts(10**30)),
}
"""Name → what the caller must get, and what the upstream plays."""

STREAMS_ALONE = frozenset({"no-body-of-a-stream", "half-frame", "half-frame-later"})
"""These end their HTTP framing well; a body of a stated length cannot."""

_ASKED = re.compile(rb"fault=([a-z0-9-]+)")


class Slow:
    """A stream without an end, or a whole answer that comes much later."""

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        if not _streamed(request):
            await wire.until_closed()
        kind = "application/x-ndjson" if _wire(request) == "ollama" else "text/event-stream"
        await wire.head(200, {"content-type": kind}, length=None)
        *before, again = _begun(request)
        for frame in before:
            await wire.body(frame)
        while True:
            await wire.body(again)
            await asyncio.sleep(0.05)


class ByWord:
    """Plays the fault that stands in the request."""

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        found = _ASKED.search(request.body)
        name = found[1].decode() if found else "nothing"
        step = Slow() if name == "slow" else FAULTS[name][1]
        await step.play(request, wire)
