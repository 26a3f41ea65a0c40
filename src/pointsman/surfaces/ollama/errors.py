"""Errors as Ollama tells them: a status, and one sentence."""

from __future__ import annotations

import msgspec

from pointsman.core.errors import PointsmanError
from pointsman.surfaces.openai.errors import describe, to_openai

_encoder = msgspec.json.Encoder()


def to_ollama(error: PointsmanError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of an error answer; the headers are those of every dialect."""
    status, headers, _ = to_openai(error)
    return status, headers, _encoder.encode({"error": told(error)})


def told(error: PointsmanError) -> str:
    """The sentence; an upstream's own where it says something of the caller's request."""
    return describe(error)[1]["message"] or error.message
