"""Answers in Ollama's words: chunks of the inner form become one JSON object a line, a whole answer one object."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.events import Body, Event, Usage, decode_answer, payloads
from pointsman.dialects.openai.errors import stated_error

_encoder = msgspec.json.Encoder()

Endpoint = Literal["chat", "generate"]


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Logprobs(msgspec.Struct):
    content: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    """Of a completion."""
    logprobs: Any = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Usage | None = None
    error: Any = None


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    usage: Usage | None = None


class _Building:
    """A tool call whose arguments come in pieces."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments = ""


_chunk_decoder = msgspec.json.Decoder(_Chunk)
_vectors_decoder = msgspec.json.Decoder(_Vectors)


class OllamaAnswer:
    """One answer to `/api/chat` or `/api/generate`.

    Args:
        model: the name that the answer bears: the one that was asked for.
        now: seconds since the epoch.
        nanoseconds: a clock that never jumps.
        started: when the request came, by that clock; None: now.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        model: str,
        now: Callable[[], float],
        nanoseconds: Callable[[], int],
        started: int | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._model = model
        self._now = now
        self._nanoseconds = nanoseconds
        self._started = nanoseconds() if started is None else started
        self._first: int | None = None
        self._usage: Usage | None = None
        self._reason = ""
        self._calls: dict[int, _Building] = {}

    def feed(self, event: Event) -> bytes:
        """The lines for a piece of a stream.

        Raises:
            UpstreamError: it states an error, or is no piece of an answer.
        """
        lines = []
        for payload in payloads(event.raw):
            if payload != b"[DONE]":
                lines += self._chunk(_decode(payload))
        self._usage = event.usage or self._usage
        return b"".join(lines)

    def end(self) -> bytes:
        """The last line of a stream that ended well, behind the tool calls.

        Raises:
            UpstreamProtocolError: a tool call's arguments are no JSON object.
        """
        lines = []
        calls = self._whole_calls()
        if calls:
            lines.append(self._line("", calls=calls))
        lines.append(self._encode({**self._stamp(), **self._said(""), **self._done()}) + b"\n")
        return b"".join(lines)

    def whole(self, body: Body) -> bytes:
        """An answer that is not streamed.

        Raises:
            UpstreamError: as `feed` and `end`.
        """
        chunk = _decode(body.raw)
        self._usage = body.usage or _believed(chunk.usage)
        text, thinking, logprobs = "", "", None
        for choice in (chunk.choices or [])[:1]:
            said = choice.message or choice.delta or _Delta()
            text = choice.text or said.content or said.refusal or ""
            thinking = said.reasoning_content or said.reasoning or ""
            logprobs = _logprobs(choice)
            self._collect(said.tool_calls)
            self._reason = choice.finish_reason or ""
        fields = self._said(text, thinking=thinking, calls=self._whole_calls())
        if logprobs:
            fields["logprobs"] = logprobs
        return self._encode({**self._stamp(), **fields, **self._done()})

    def loaded(self, *, unload: bool) -> bytes:
        """What a request without a prompt is told."""
        return self._encode(
            {**self._stamp(), **self._said(""), "done": True, "done_reason": "unload" if unload else "load"}
        )

    def _chunk(self, chunk: _Chunk) -> list[bytes]:
        if chunk.error:
            raise stated_error(chunk.error)
        if chunk.usage is not None:
            self._usage = _believed(chunk.usage) or self._usage
        lines = []
        for choice in chunk.choices or ():
            if choice.index != 0:
                continue
            said = choice.delta or choice.message or _Delta()
            text = choice.text or said.content or said.refusal or ""
            thinking = said.reasoning_content or said.reasoning or ""
            self._collect(said.tool_calls)
            self._reason = choice.finish_reason or self._reason
            if text or thinking:
                lines.append(self._line(text, thinking=thinking, logprobs=_logprobs(choice)))
        return lines

    def _collect(self, calls: list[_Call] | None) -> None:
        for place, call in enumerate(calls or ()):
            building = self._calls.setdefault(place if call.index is None else call.index, _Building())
            building.id = call.id or building.id
            if call.function is not None:
                building.name = building.name or call.function.name or ""
                building.arguments += call.function.arguments or ""

    def _whole_calls(self) -> list[dict[str, Any]]:
        """The tool calls, arguments as objects; those that a length limit cut are left out."""
        whole = []
        for index, call in sorted(self._calls.items()):
            try:
                arguments = msgspec.json.decode(call.arguments or "{}")
            except (msgspec.MsgspecError, RecursionError):
                arguments = None
            if not isinstance(arguments, dict) or not call.name:
                if self._reason == "length":
                    continue
                raise UpstreamProtocolError("The model called a tool with arguments that are no JSON object.")
            function = {"index": index, "name": call.name, "arguments": arguments}
            whole.append({"id": call.id, "function": function} if call.id else {"function": function})
        return whole

    def _line(
        self,
        text: str,
        *,
        thinking: str = "",
        calls: list[dict[str, Any]] | None = None,
        logprobs: list[dict[str, Any]] | None = None,
    ) -> bytes:
        if self._first is None:
            self._first = self._nanoseconds()
        fields = {**self._stamp(), **self._said(text, thinking=thinking, calls=calls), "done": False}
        if logprobs:
            fields["logprobs"] = logprobs
        return self._encode(fields) + b"\n"

    def _stamp(self) -> dict[str, Any]:
        return {"model": self._model, "created_at": rfc3339(self._now())}

    def _said(self, text: str, *, thinking: str = "", calls: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        if self._endpoint == "generate":
            return {"response": text, **({"thinking": thinking} if thinking else {})}
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if thinking:
            message["thinking"] = thinking
        if calls:
            message["tool_calls"] = calls
        return {"message": message}

    def _done(self) -> dict[str, Any]:
        """The durations are this gateway's own: the first piece ends the reading of the prompt.

        Of an answer in one piece all of it counts as writing. None is 0, for clients divide by them.
        """
        now = self._nanoseconds()
        first = self._started if self._first is None else self._first
        usage = self._usage or Usage()
        return {
            "done": True,
            "done_reason": "length" if self._reason == "length" else "stop",
            "total_duration": now - self._started,
            "load_duration": 0,
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": max(1, first - self._started),
            "eval_count": usage.completion_tokens,
            "eval_duration": max(1, now - first),
        }

    def _encode(self, fields: dict[str, Any]) -> bytes:
        return _encoder.encode(fields)


def error_line(message: str) -> bytes:
    """What ends a stream that broke."""
    return _encoder.encode({"error": message}) + b"\n"


def embedded(body: bytes, *, model: str, nanoseconds: int, old: bool) -> bytes:
    """The answer of `/api/embed`, or with `old` of `/api/embeddings`, made of OpenAI's list.

    Raises:
        UpstreamProtocolError: it is no list of embeddings.
    """
    try:
        vectors = decode_answer(_vectors_decoder, body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UpstreamProtocolError(f"The model's provider sent embeddings that cannot be read: {error}.") from None
    found = [vector.embedding for vector in sorted(vectors.data, key=lambda vector: vector.index)]
    if old:
        return _encoder.encode({"embedding": found[0] if found else []})
    usage = _believed(vectors.usage)
    count = usage.prompt_tokens if usage is not None else 0
    return _encoder.encode(
        {
            "model": model,
            "embeddings": found,
            "total_duration": nanoseconds,
            "load_duration": 0,
            "prompt_eval_count": count,
        }
    )


def rfc3339(seconds: float) -> str:
    """A time as Go writes it; the official clients read no other form."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _believed(usage: Usage | None) -> Usage | None:
    return usage if usage is not None and usage.plausible else None


def _decode(payload: bytes) -> _Chunk:
    try:
        return decode_answer(_chunk_decoder, payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UpstreamProtocolError(f"The model's provider sent a chunk that cannot be read: {error}.") from None


def _logprobs(choice: _Choice) -> list[dict[str, Any]] | None:
    """The tokens of a chat's logprobs; a completion's have another shape, which Ollama's clients do not know."""
    try:
        return msgspec.convert(choice.logprobs, _Logprobs).content if choice.logprobs is not None else None
    except msgspec.ValidationError:
        return None
