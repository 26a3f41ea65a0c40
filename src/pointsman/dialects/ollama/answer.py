"""Ollama's answers in OpenAI's words: one JSON object a line becomes one chunk, or several."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.errors import UpstreamBroken, UpstreamError, UpstreamProtocolError
from pointsman.core.events import Body, Frames, Usage, encode_frame
from pointsman.dialects.checks import finite
from pointsman.dialects.openai.errors import stated_error

MAX_LINE = 16 * 1024 * 1024
"""Bytes."""
MAX_HOLLOW = 4096
"""Bytes; a line that is longer already says something, even where its end has not come."""


class _Function(msgspec.Struct):
    name: str
    arguments: Any = None


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Line(msgspec.Struct):
    message: _Message | None = None
    response: str | None = None
    """Of `/api/generate`, in place of a message."""
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    logprobs: list[dict[str, Any]] | None = None
    error: Any = None


_line_decoder = msgspec.json.Decoder(_Line)
_encoder = msgspec.json.Encoder()


class OllamaStream:
    """Turns blocks of an NDJSON answer into events.

    Args:
        model: the name to put into the chunks.
        answer_id: `chatcmpl-…`; Ollama gives its answers none.
        created: seconds since the epoch.
        wants_usage: whether the caller asked for a usage chunk.
    """

    def __init__(self, *, model: str, answer_id: str, created: int, wants_usage: bool) -> None:
        self._answer_id = answer_id
        self._base = {"id": answer_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._wants_usage = wants_usage
        self._tail = bytearray()
        self._started = False
        """Whether anything was said: the first chunk tells the role."""
        self._calls = 0
        self.done = False
        self.failure: UpstreamError | None = None
        """What the upstream reported behind the frames that `feed` gave back last: to be raised after them."""

    def says_nothing(self, block: bytes) -> bool:
        """Whether a block that is yet to be fed makes no line whole but such as hold no word of an answer."""
        if len(self._tail) > MAX_HOLLOW:
            return False
        *lines, rest = (bytes(self._tail) + block).split(b"\n")
        return len(rest) <= MAX_HOLLOW and all(map(_hollow, lines))

    def feed(self, block: bytes) -> Frames | None:
        """The chunks of the lines that are whole now, or None.

        Raises:
            UpstreamError: the upstream reported an error, and nothing of the answer is before it in this block.
            UpstreamProtocolError: a line is not what the API promises, or is too large.
        """
        if self.done:
            return None
        searched = len(self._tail)
        self._tail += block
        end = self._tail.rfind(b"\n", searched) + 1
        if len(self._tail) - end > MAX_LINE:
            raise UpstreamProtocolError(f"The model's provider sent a line of more than {MAX_LINE} bytes.")
        lines = bytes(self._tail[:end])
        del self._tail[:end]
        return self._read(lines)

    def end(self) -> Frames | None:
        """Say that the upstream has ended its stream; the chunks of a last line without its line feed.

        Raises:
            UpstreamBroken: it ended before the answer was done.
            UpstreamError: as `feed`.
        """
        event = None
        if self._tail and not self.done:
            rest = bytes(self._tail)
            self._tail.clear()
            try:
                event = self._read(rest)
            except UpstreamProtocolError:
                raise UpstreamBroken("The model's provider broke off in the middle of a line.") from None
            if self.failure is not None:
                raise self.failure
        if not self.done:
            raise UpstreamBroken("The model's provider ended its stream before the answer was done.")
        return event

    def _read(self, lines: bytes) -> Frames | None:
        frames: list[bytes] = []
        usage: Usage | None = None
        finish: str | None = None
        first = not self._started
        for text in lines.split(b"\n"):
            if self.done or not text.strip():
                continue
            try:
                line = _decode(text)
            except UpstreamError as error:
                if not frames:
                    raise
                self.failure = error
                break
            if line.message is not None:
                frames += self._message(line.message, line.logprobs)
            if line.done:
                self.done = True
                usage = _usage(line)
                finish = _finish(line, called=self._calls > 0)
                frames.append(self._chunk([{"index": 0, "delta": self._begun({}), "finish_reason": finish}]))
                if usage is not None and self._wants_usage:
                    frames.append(self._chunk([], usage=_usage_fields(usage)))
        if not frames:
            return None
        return Frames(b"".join(frames), usage, self._answer_id if first else None, finish)

    def _message(self, message: _Message, logprobs: list[dict[str, Any]] | None) -> list[bytes]:
        delta: dict[str, Any] = {}
        if message.thinking:
            delta["reasoning_content"] = message.thinking
        if message.content:
            delta["content"] = message.content
        if message.tool_calls:
            delta["tool_calls"] = [
                {"index": self._calls + at, **_call(call, self._answer_id, self._calls + at)}
                for at, call in enumerate(message.tool_calls)
            ]
            self._calls += len(message.tool_calls)
        if not delta:
            return []
        choice: dict[str, Any] = {"index": 0, "delta": self._begun(delta), "finish_reason": None}
        if logprobs:
            choice["logprobs"] = {"content": logprobs}
        return [self._chunk([choice])]

    def _begun(self, delta: dict[str, Any]) -> dict[str, Any]:
        """The delta, with the role where it is the first."""
        if self._started:
            return delta
        self._started = True
        return {"role": "assistant", "content": "", **delta}

    def _chunk(self, choices: list[dict[str, Any]], **extra: Any) -> bytes:
        return encode_frame(_encoder.encode({**self._base, "choices": choices, **extra}))


def read_whole(raw: bytes, *, model: str, answer_id: str, created: int) -> Body:
    """An unstreamed answer.

    Raises:
        UpstreamError: it states an error.
        UpstreamProtocolError: it is not what the API promises.
    """
    line = _decode(raw)
    message = line.message
    if message is None or not line.done:
        raise UpstreamProtocolError("The model's provider sent an answer that is not done.")
    fields: dict[str, Any] = {"role": "assistant", "content": message.content or ""}
    if message.thinking:
        fields["reasoning_content"] = message.thinking
    if message.tool_calls:
        fields["tool_calls"] = [_call(call, answer_id, at) for at, call in enumerate(message.tool_calls)]
        fields["content"] = message.content or None
    finish = _finish(line, called=bool(message.tool_calls))
    choice: dict[str, Any] = {"index": 0, "message": fields, "finish_reason": finish}
    if line.logprobs:
        choice["logprobs"] = {"content": line.logprobs}
    whole: dict[str, Any] = {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
    }
    usage = _usage(line)
    if usage is not None:
        whole["usage"] = _usage_fields(usage)
    return Body(_encoder.encode(whole), usage, answer_id, finish)


def _decode(text: bytes) -> _Line:
    """
    Raises:
        UpstreamError: it states an error.
        UpstreamProtocolError: it is not what the API promises.
    """
    try:
        line = _line_decoder.decode(text)
        text.decode()
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        if (mended := finite(text)) is not None:
            return _decode(mended)
        raise UpstreamProtocolError(f"The model's provider sent a line that cannot be read: {error}.") from None
    if line.error:
        raise stated_error(line.error)
    if line.message is None and line.response is not None:
        line.message = _Message(content=line.response)
    if line.message is None and not line.done:
        raise UpstreamProtocolError("The model's provider sent a line that is no part of an answer.")
    return line


def _hollow(text: bytes) -> bool:
    """Whether a line holds no word, no call, no end and no error."""
    if not text.strip():
        return True
    try:
        line = _decode(text)
    except UpstreamError:
        return False
    message = line.message
    said = message is not None and (message.content or message.thinking or message.tool_calls)
    return not (said or line.done)


def _call(call: _Call, answer_id: str, at: int) -> dict[str, Any]:
    """A tool call as OpenAI writes it: arguments as a JSON string, and an id, which Ollama leaves out at times."""
    arguments = call.function.arguments
    text = arguments if isinstance(arguments, str) else _encoder.encode({} if arguments is None else arguments).decode()
    return {
        "id": call.id or f"call_{answer_id[-24:]}_{at}",
        "type": "function",
        "function": {"name": call.function.name, "arguments": text},
    }


def _finish(line: _Line, *, called: bool) -> str:
    if line.done_reason == "length":
        return "length"
    return "tool_calls" if called else "stop"


def _usage(line: _Line) -> Usage | None:
    """None where these cannot be counts."""
    if line.prompt_eval_count is None and line.eval_count is None:
        return None
    prompt, output = line.prompt_eval_count or 0, line.eval_count or 0
    if type(prompt) is not int or type(output) is not int:
        return None
    usage = Usage(prompt_tokens=prompt, completion_tokens=output)
    return usage if usage.plausible else None


def _usage_fields(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
