"""Chunks as translators read them: clients of OpenAI's own dialect are relayed oddities that nobody can translate."""

from __future__ import annotations

import msgspec


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Said(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Said | None = None
    message: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None


class StrictChunk(msgspec.Struct, gc=False):
    choices: list[_Choice]


strict_decoder = msgspec.json.Decoder(StrictChunk)
