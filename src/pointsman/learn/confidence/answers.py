"""Answers of models to the tasks, asked for with log-probabilities and kept as JSON lines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pointsman.core.errors import InvalidRequest

from .tasks import Task

MOST_TOKENS = 160
TOP = 5
"""Alternatives of each token that are asked for."""

Events = Callable[[str, Mapping[str, Any]], AsyncIterator[dict[str, Any]]]
"""A path and a body to the gateway; the chunks of its stream. Raises PointsmanError."""


class Token(NamedTuple):
    text: str
    logprob: float
    top: tuple[float, ...]
    """Log-probabilities of the likeliest tokens, its own perhaps among them."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, as a line of the file."""

    model: str
    task: str
    temperature: float
    text: str
    finish: str | None
    tokens: tuple[Token, ...]
    """Empty where the provider tells no log-probabilities."""
    right: bool | None = None
    """None: not executed yet."""


def read_answers(path: Path) -> list[Kept]:
    """What a file holds; nothing where there is none. A last line that was broken off is passed over.

    Raises:
        InvalidRequest: another line cannot be read.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(msgspec.json.decode(line, type=Kept))
        except msgspec.MsgspecError as error:
            if number == len(lines):
                break
            raise InvalidRequest(f"{path}: line {number} is no answer: {error}.") from None
    return found


def write_answers(path: Path, answers: Iterable[Kept]) -> None:
    """Replace the file as a whole."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(b"".join(msgspec.json.encode(answer) + b"\n" for answer in answers))
    part.replace(path)


def missing(
    answers: Iterable[Kept], models: Sequence[str], asked: Sequence[Task], temperature: float
) -> Iterator[tuple[str, Task]]:
    """What has not been answered, model by model."""
    there = {(one.model, one.task, one.temperature) for one in answers}
    return ((model, task) for model in models for task in asked if (model, task.name, temperature) not in there)


async def ask(events: Events, model: str, task: Task, *, temperature: float, seed: int) -> Kept:
    """One answer.

    Raises:
        PointsmanError: there is none, or it broke off.
    """
    body = {
        "model": model,
        "messages": [{"role": "user", "content": task.prompt}],
        "temperature": temperature,
        "max_tokens": MOST_TOKENS,
        "seed": seed,
        "logprobs": True,
        "top_logprobs": TOP,
        "stream": True,
    }
    said: list[str] = []
    tokens: list[Token] = []
    finish = None
    async for chunk in events("/v1/chat/completions", body):
        for choice in chunk.get("choices") or ():
            said.append(choice["delta"].get("content") or "")
            tokens += map(_token, (choice.get("logprobs") or {}).get("content") or ())
            finish = choice.get("finish_reason") or finish
    return Kept(
        model=model, task=task.name, temperature=temperature, text="".join(said), finish=finish, tokens=tuple(tokens)
    )


def _token(told: Mapping[str, Any]) -> Token:
    top = tuple(round(other["logprob"], 4) for other in told.get("top_logprobs") or ())
    return Token(told["token"], round(told["logprob"], 4), top)
