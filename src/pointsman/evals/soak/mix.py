"""The traffic of a soak: every dialect, streamed and not, large and small; callers who leave, and answers that fail.

Failing requests go to a provider of their own, so that its open circuit stands in nobody else's way.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pointsman.evals.gateway.cases import SENTENCE
from pointsman.evals.gateway.load import post

GOOD, FAULTY, VECTORS = "openai:gpt-4o-mini", "faulty:gpt-4o", "openai:text-embedding-3-small"
SMALL, LARGE = 1_500, 100_000
"""Bytes of a prompt."""

Expected = Literal["ok", "error", "left"]
Body = Callable[[str, str], dict[str, Any]]


def _messages(model: str, text: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


DIALECTS: dict[str, tuple[str, Body]] = {
    "chat": ("/v1/chat/completions", _messages),
    "completions": ("/v1/completions", lambda model, text: {"model": model, "prompt": text}),
    "responses": ("/v1/responses", lambda model, text: {"model": model, "input": text}),
    "messages": ("/v1/messages", lambda model, text: {**_messages(model, text), "max_tokens": 200}),
    "ollama": ("/api/chat", _messages),
    "generate": ("/api/generate", lambda model, text: {"model": model, "prompt": text}),
    "native": ("/api/v1/chat/completions", _messages),
    "embeddings": ("/v1/embeddings", lambda model, text: {"model": model, "input": text}),
}
"""Name → path, and the smallest body for a model and a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of request.

    Attributes:
        weight: how often it is asked, beside the others.
        word: what the upstream is to do.
        expected: how it ends. `error`: however the gateway tells of it, with a whole answer or a broken stream.
    """

    name: str
    weight: int
    dialect: str = "chat"
    stream: bool = False
    model: str = GOOD
    size: int = SMALL
    word: str = ""
    expected: Expected = "ok"
    raw: bytes | None = None
    """Sent in place of a body."""


KINDS = (
    Kind(name="chat", weight=18),
    Kind(name="chat streamed", weight=18, stream=True),
    Kind(name="auto", weight=8, model="auto"),
    Kind(name="auto streamed", weight=6, model="auto", stream=True),
    Kind(name="large", weight=3, size=LARGE),
    Kind(name="large streamed", weight=2, size=LARGE, model="auto", stream=True),
    Kind(name="completions streamed", weight=3, dialect="completions", stream=True),
    Kind(name="responses", weight=3, dialect="responses"),
    Kind(name="responses streamed", weight=5, dialect="responses", stream=True),
    Kind(name="messages", weight=3, dialect="messages"),
    Kind(name="messages streamed", weight=5, dialect="messages", stream=True),
    Kind(name="ollama streamed", weight=4, dialect="ollama", stream=True),
    Kind(name="generate", weight=2, dialect="generate"),
    Kind(name="native", weight=3, dialect="native"),
    Kind(name="embeddings", weight=4, dialect="embeddings", model=VECTORS),
    Kind(name="left half-way", weight=4, stream=True, word="slow", expected="left"),
    Kind(name="left half-way, messages", weight=2, dialect="messages", stream=True, word="slow", expected="left"),
    Kind(name="left before it began", weight=2, stream=True, word="silent", expected="left"),
    Kind(name="left unstreamed", weight=2, word="silent", expected="left"),
    Kind(name="upstream 500", weight=2, model=FAULTY, word="500", expected="error"),
    Kind(name="upstream 429", weight=1, model=FAULTY, word="429", expected="error"),
    Kind(name="upstream breaks off", weight=1, model=FAULTY, word="reset", expected="error"),
    Kind(name="stream breaks off", weight=2, model=FAULTY, word="reset", stream=True, expected="error"),
    Kind(name="unknown model", weight=1, model="openai:no-such-model", expected="error"),
    Kind(name="no JSON", weight=1, raw=b'{"model": "auto", ', expected="error"),
)
WORDS = frozenset(kind.word for kind in KINDS if kind.word)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, as it goes on the wire."""

    kind: Kind
    raw: bytes
    leave_after: float | None
    """Seconds after which the caller leaves, by closing or by a reset."""
    by_reset: bool


def requests(seed: int, *, prompts: int) -> Iterator[Request]:
    """Requests without end.

    Args:
        prompts: how many different ones there are of each kind; 0: each is new.
    """
    rng = random.Random(seed)  # noqa: S311 - traffic, not secrets
    weights = [kind.weight for kind in KINDS]
    filler = {size: SENTENCE * (size // len(SENTENCE)) for size in (SMALL, LARGE)}
    number = 0
    while True:
        [kind] = rng.choices(KINDS, weights)
        number += 1
        path, body = DIALECTS[kind.dialect]
        raw = kind.raw
        if raw is None:
            which = rng.randrange(prompts) if prompts else number
            text = f"Question {which} of {kind.name}: why does this fail? {filler[kind.size]}"
            if kind.word:
                text += f" soak-{kind.word}"
            built = body(kind.model, text)
            if kind.dialect != "embeddings":
                built["stream"] = kind.stream
            raw = json.dumps(built, separators=(",", ":")).encode()
        yield Request(
            kind=kind,
            raw=post(path, raw),
            leave_after=rng.uniform(0.05, 0.5) if kind.expected == "left" else None,
            by_reset=rng.random() < 0.5,
        )
