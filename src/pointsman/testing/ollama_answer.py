"""Ollama's other answers of a scripted upstream: the lines of `/api/generate`, the vectors of `/api/embed`, a pull."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from .chat_answer import SeenRequest, Wire

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Embeddings for `/api/embed`: `size` numbers for each text, the same for the same text."""

    size: int = 4

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        given = request.json["input"]
        texts = [given] if isinstance(given, str) else given
        found = {
            "model": request.json.get("model"),
            "embeddings": [vector(text, self.size) for text in texts],
            "total_duration": 1_000_000,
            "load_duration": 1000,
            "prompt_eval_count": sum(len(text.split()) for text in texts),
        }
        body = _encoder.encode(found)
        await wire.head(200, {"content-type": "application/json"}, length=len(body))
        await wire.body(body)


def vector(text: str, size: int) -> list[float]:
    """Made of the text's bytes; means nothing."""
    total = sum(text.encode()) + 1
    return [((total * (place + 1)) % 97) / 97 for place in range(size)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulling:
    """A pull of `/api/pull`: `steps` lines of one layer, `delay` seconds before each; or one that fails at its end."""

    steps: int = 4
    total: int = 1000
    delay: float = 0.0
    error: str | None = None

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        lines: Sequence[Mapping[str, Any]] = [
            {"status": "pulling manifest"},
            *(
                {"status": "pulling abc", "digest": "sha256:abc", "total": self.total, "completed": done}
                for done in range(0, self.total + 1, self.total // self.steps)
            ),
            {"status": "verifying sha256 digest"},
            {"error": self.error} if self.error is not None else {"status": "success"},
        ]
        await wire.head(200, {"content-type": "application/x-ndjson"}, length=None)
        for line in lines:
            await asyncio.sleep(self.delay)
            await wire.body(_encoder.encode(line) + b"\n")
        await wire.end()
