"""How much a model has written in an answer of which it has not said so: what is paid for is estimated from that."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.events import Event, payloads
from pointsman.core.mask import Mask
from pointsman.core.request import ChatRequest

MOST = 1024 * 1024
"""Bytes of a stream that are kept; how much is text in the rest is told from them."""

_decoder = msgspec.json.Decoder(dict[str, Any])


class Heard:
    """Keeps what comes of a stream that nobody could go on with. Implements `ask.Joins`."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._size = 0
        self._kept_size = 0

    def asks(self, card: ModelCard, asked: ChatRequest, mask: Mask | None) -> ChatRequest:
        return asked

    def passes(self, event: Event) -> Event | None:
        raw = event.raw
        self._size += len(raw)
        if self._size <= MOST:
            self._kept.append(raw)
            self._kept_size = self._size
        return event

    def end(self) -> Event | None:
        return None

    def took(self) -> tuple[int, int]:
        if not self._kept_size:
            return 0, 0
        return 0, written(b"".join(self._kept)) * self._size // self._kept_size


def written(raw: bytes) -> int:
    """UTF-8 bytes of what a model wrote in frames of any dialect: text, reasoning, and what it calls tools with."""
    size = 0
    for payload in payloads(raw):
        try:
            chunk = _decoder.decode(payload)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            continue
        size += _length(_first(chunk.get("delta"), "text", "thinking", "partial_json"))  # Messages, Responses
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                size += _of_choice(choice)
    return size


_SAID = ("content", "text", "thinking", "summary", "reasoning", "name", "arguments", "input", "tool_calls", "function")
"""Fields of messages, their parts and calls that hold what a model wrote."""


def written_whole(raw: bytes) -> int:
    """UTF-8 bytes of what a model wrote in a whole answer of any dialect; of one of more than `MOST` bytes, all of
    them, for it would take long to read."""
    if len(raw) > MOST:
        return len(raw)
    try:
        answer = _decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return 0
    choices = answer.get("choices")
    if isinstance(choices, list):
        return sum(_said(one.get("message") or one.get("text")) for one in choices if isinstance(one, dict))
    return _said(answer.get("content") or answer.get("output"))  # Messages, Responses


def _said(found: Any) -> int:
    if isinstance(found, str):
        return _length(found)
    if isinstance(found, list):
        return sum(map(_said, found))
    if not isinstance(found, dict):
        return 0
    if found.get("reasoning_content"):  # some tell it under both names
        found = {**found, "reasoning": found["reasoning_content"]}
    return sum(_said(found[name]) if name != "input" else _tool(found[name]) for name in _SAID if name in found)


def _tool(arguments: Any) -> int:
    """What a tool is called with, as text or as an object."""
    return _length(arguments) if isinstance(arguments, str) else len(msgspec.json.encode(arguments))


def _of_choice(choice: dict[str, Any]) -> int:
    said = choice.get("delta") or choice.get("message")
    if not isinstance(said, dict):
        return _length(choice.get("text"))
    size = _length(said.get("content")) + _length(_first(said, "reasoning_content", "reasoning"))
    calls = said.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            size += _length(function.get("name")) + _length(function.get("arguments"))
    return size


def _first(said: Any, *names: str) -> Any:
    """The first of these that says something; what is no object itself."""
    if not isinstance(said, dict):
        return said
    return next((said[name] for name in names if said.get(name)), None)


def _length(text: Any) -> int:
    return len(text.encode("utf-8", "replace")) if isinstance(text, str) else 0
