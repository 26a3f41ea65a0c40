"""What is sent: bodies of 2 KB and 100 KB, each with a new last message, as a coding agent would send them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass

APART = "apart"
"""As the user of a request: asks the mock upstream to take its time between two chunks."""
SENTENCE = "The handler reads the row, checks the version and writes it back; two writers can lose an update here. "


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of request."""

    name: str
    bytes: int
    stream: bool = False
    apart: bool = False
    """Whether the chunks of the stream come so far apart that each passes alone, as a model writes them."""
    requests: int
    """At 10 connections, in each round."""


CASES = (
    Case(name="2 KB", bytes=2_000, requests=2000),
    Case(name="100 KB", bytes=100_000, requests=600),
    Case(name="2 KB, stream of 50 chunks", bytes=2_000, stream=True, requests=400),
    Case(name="100 KB, stream of 50 chunks", bytes=100_000, stream=True, requests=200),
)


def bodies(case: Case, model: str, *, first: int = 0) -> Iterator[bytes]:
    """Bodies without end. The history of a 100 KB body is always the same; the last turn is always new."""
    history = [{"role": "system", "content": "You are a careful programmer."}]
    room = case.bytes - 700
    while room > 3000:
        turn = SENTENCE * 20
        history.append({"role": "user" if len(history) % 2 else "assistant", "content": f"{len(history)}: {turn}"})
        room -= len(turn) + 40
    last = SENTENCE * max(1, room // len(SENTENCE))
    for number in itertools.count(first):
        messages = [*history, {"role": "user", "content": f"Question {number}: why does this test fail? {last}"}]
        body = {"model": model, "messages": messages, "temperature": 0.2, "max_tokens": 200}
        if case.stream:
            body["stream"] = True
        if case.apart:
            body["user"] = APART
        yield json.dumps(body, separators=(",", ":")).encode()
