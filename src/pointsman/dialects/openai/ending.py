"""The end of a streamed answer whose upstream told none: some, such as proxies of Gemini's, leave out the finish reason
and say `[DONE]` alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pointsman.core.events import Frames, encode_frame, payloads

_OF_EVERY_CHUNK = ("id", "object", "created", "model", "system_fingerprint")
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_choice_decoder = msgspec.json.Decoder(list[dict[str, Any]])
_encoder = msgspec.json.Encoder()


def ending(first: bytes, finishes: Mapping[int, str]) -> Frames:
    """The chunks that end an answer, in the manner of its first one.

    Args:
        first: the data of the first chunk.
        finishes: choice → its finish reason; at least one.
    """
    fields = _object_decoder.decode(first)
    choices = _choice_decoder.decode(fields.get("choices") or b"[]")
    said: dict[str, Any] = {"text": ""} if choices and "text" in choices[0] else {"delta": {}}
    chunk: dict[str, Any] = {name: fields[name] for name in _OF_EVERY_CHUNK if name in fields}
    told = []
    for index, finish in finishes.items():
        chunk["choices"] = [{"index": index, **said, "finish_reason": finish}]
        told.append(encode_frame(_encoder.encode(chunk)))
    return Frames(b"".join(told), finish_reason=finish)


class _Choice(msgspec.Struct):
    index: Any = 0
    delta: Any = None
    finish_reason: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []


_decoder = msgspec.json.Decoder(_Chunk)


class Choices:
    """Which of several choices have begun, and which have ended."""

    def __init__(self) -> None:
        self._finishes: dict[int, str] = {}
        """Choice → how it would end now."""
        self._ended: set[int] = set()

    def take(self, frames: bytes) -> None:
        """Look at chunks of the answer."""
        for payload in payloads(frames):
            for choice in _decoder.decode(payload).choices:
                if not isinstance(choice.index, int):
                    continue
                delta = choice.delta if isinstance(choice.delta, dict) else {}
                if delta.get("tool_calls") or delta.get("function_call"):
                    self._finishes[choice.index] = "tool_calls"
                self._finishes.setdefault(choice.index, "stop")
                if choice.finish_reason:
                    self._ended.add(choice.index)

    @property
    def open(self) -> Mapping[int, str]:
        """Those that have begun and not ended, each with how it would end now."""
        return {index: finish for index, finish in sorted(self._finishes.items()) if index not in self._ended}
