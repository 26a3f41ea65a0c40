"""The chunks of a model that goes on with an answer, as chunks of the answer that was begun."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.events import Frames, encode_frame, payloads

from .seam import Seam
from .told import HEAD, Body, Told, read

_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks")
_encoder = msgspec.json.Encoder()


class Continuation:
    """Rewrites the frames of one attempt.

    Where text was told, what the next model thinks before it goes on is left out: a caller has seen the end of the
    reasoning. Where reasoning alone was told, it is followed by the next model's own.

    Args:
        told: the answer so far.
        seam: None where no text was told, so that the answer begins now.
        json: whether the whole must be JSON.
        apart: whether an empty line parts one model's reasoning from another's.
    """

    def __init__(self, told: Told, seam: Seam | None, *, json: bool = False, apart: bool = True) -> None:
        self._told = told
        self._seam = seam
        self._json = json
        self._apart = apart
        self._said: list[str] = []
        self._thought = self._wrote = False
        self._finished = False

    def feed(self, event: Frames) -> Frames | None:
        """The event as part of the answer; None where nothing of it is to be told.

        Raises:
            UpstreamProtocolError: a chunk cannot be read, or the model does not go on.
        """
        written = []
        for payload in payloads(event.raw):
            chunk = read(payload)
            if self._rewrite(chunk):
                written.append(encode_frame(_encoder.encode(chunk)))
        raw = b"".join(written)
        if not raw and event.usage is None and event.note is None and event.finish_reason is None:
            return None
        return msgspec.structs.replace(event, raw=raw, answer_id=None)

    def end(self) -> Frames | None:
        """What is still held back when the stream has ended without saying how. Raises as `feed`."""
        text = self._rest() if not self._finished else ""
        if not text:
            return None
        self._said.append(text)
        chunk = {**self._told.head, "choices": [_choice({"content": text})]}
        return Frames(encode_frame(_encoder.encode(chunk)))

    def _rewrite(self, chunk: Body) -> bool:
        """Whether anything is left to tell of a chunk."""
        for name in HEAD:
            chunk.pop(name, None)
        choices = chunk.get("choices")
        first = [
            choice
            for choice in (choices if isinstance(choices, list) else ())
            if isinstance(choice, dict) and choice.get("index", 0) == 0
        ]
        told = [choice for choice in first if self._choose(choice)]
        rest = {name: value for name, value in chunk.items() if name != "choices"}
        chunk.clear()
        chunk |= {**self._told.head, **rest, "choices": told}
        return bool(told) or bool(rest.get("usage")) or bool(rest.get("error"))

    def _choose(self, choice: Body) -> bool:
        """Whether anything is left to tell of a choice."""
        said = choice.pop("delta", None) or choice.pop("message", None) or {}
        delta: Body = dict(said) if isinstance(said, dict) else {}
        delta.pop("role", None)
        self._think(delta)
        text = delta.pop("content", None)
        text = text if isinstance(text, str) else ""
        self._wrote = self._wrote or bool(text)
        finish = choice.get("finish_reason")
        if self._seam is not None:
            text = self._seam.feed(text) if text else ""
            if delta.get("tool_calls") or finish:
                text += self._rest()
        if text:
            self._said.append(text)
            delta["content"] = text
        for name in [name for name, value in delta.items() if value is None]:
            del delta[name]
        if finish:
            self._finished = True
            self._check(str(finish))
        choice |= {"index": 0, "delta": delta, "finish_reason": finish}
        return bool(delta) or bool(finish)

    def _think(self, delta: Body) -> None:
        if self._seam is not None:
            for name in _THOUGHTS:
                self._thought = bool(delta.pop(name, None)) or self._thought
        elif self._told.thought and self._apart and not self._thought:
            for name in _THOUGHTS[:2]:
                if isinstance(delta.get(name), str) and delta[name]:
                    delta[name] = f"\n\n{delta[name]}"
                    self._thought = True

    def _rest(self) -> str:
        """What the seam still holds; it is behind then."""
        if self._seam is None:
            return ""
        return self._seam.end()

    def _check(self, finish: str) -> None:
        """
        Raises:
            UpstreamProtocolError: the answer, which is whole now, is not what it was to be.
        """
        if self._seam is None or finish != "stop":
            return
        if self._thought and not self._wrote:  # as from a server that takes all of it for thoughts
            raise UpstreamProtocolError("The model that was to go on with an answer thought, and said nothing.")
        if self._json:
            try:
                msgspec.json.decode(self._seam.told + "".join(self._said))
            except (msgspec.MsgspecError, RecursionError, UnicodeError):
                raise UpstreamProtocolError("The answer was gone on with, and is no JSON document.") from None


def _choice(delta: dict[str, Any]) -> Body:
    return {"index": 0, "delta": delta, "finish_reason": None}
