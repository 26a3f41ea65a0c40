"""An answer, put together from its events: text, tool calls, log-probabilities, how it ended."""

from __future__ import annotations

import msgspec

from pointsman.core.events import Body, Event, decode_answer, payloads
from pointsman.core.tokens import estimate

from .surprise import Surprise, TokenLogprob


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    function: _Function | None = None


class _Said(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Logprobs(msgspec.Struct):
    content: list[TokenLogprob] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Said | None = None
    message: _Said | None = None
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    completion_tokens: int | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None


_decoder = msgspec.json.Decoder(_Chunk)


def _read(payload: bytes) -> _Chunk | None:
    try:
        return decode_answer(_decoder, payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


class Called(msgspec.Struct):
    """A tool call, as far as it has come."""

    name: str = ""
    arguments: str = ""


class Answer:
    """The first choice of an answer, as far as it has come. Reasoning is not part of it."""

    def __init__(self) -> None:
        self.surprise = Surprise()
        self.calls: dict[int, Called] = {}
        self.finish: str | None = None
        self.refused = False
        """Whether the model used the field that is made for refusals."""
        self._pieces: list[str] = []
        self._size = 0
        self._counted: int | None = None

    @property
    def text(self) -> str:
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    @property
    def tokens(self) -> int:
        """Of text and calls: counted where log-probabilities tell, or the usage does, else estimated by length."""
        return self.surprise.tokens or self._counted or estimate(self._size)

    def add(self, event: Event) -> None:
        """A chunk that cannot be read says nothing of the answer; whoever relays it tells of it."""
        for payload in [event.raw] if isinstance(event, Body) else payloads(event.raw):
            if payload == b"[DONE]":
                continue
            chunk = _read(payload)
            if chunk is None:
                continue
            if chunk.usage is not None and chunk.usage.completion_tokens:
                self._counted = chunk.usage.completion_tokens
            for choice in chunk.choices or ():
                if choice.index == 0:
                    self._add(choice)

    def _add(self, choice: _Choice) -> None:
        said = choice.delta or choice.message
        if said is not None:
            if said.content:
                self._pieces.append(said.content)
                self._size += len(said.content.encode("utf-8", "surrogatepass"))
            if said.refusal:
                self.refused = True
                self._size += len(said.refusal)
            for place, call in enumerate(said.tool_calls or ()):
                self._call(place if call.index is None else call.index, call.function or _Function())
        if choice.logprobs is not None:
            for token in choice.logprobs.content or ():
                self.surprise.add(token)
        self.finish = choice.finish_reason or self.finish

    def _call(self, place: int, function: _Function) -> None:
        call = self.calls.setdefault(place, Called())
        call.name += function.name or ""
        call.arguments += function.arguments or ""
        self._size += len(function.name or "") + len(function.arguments or "")
