"""Asks models for answers to the tasks, executes them, and keeps both; what is kept already is not asked again."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

import msgspec

from .answers import Events, Kept, ask, missing, read_answers, write_answers
from .sandbox import check_available, expected, is_right
from .tasks import Task, tasks

Progress = Callable[[str, int, int], None]
"""Told a model, how many of its answers are there, and how many there will be."""


def sample(limit: int | None, *, seed: int) -> list[Task]:
    """At most so many tasks, drawn by the seed; more of them begin with the same ones."""
    drawn = tasks()
    random.Random(seed).shuffle(drawn)  # noqa: S311 - which tasks are taken is no secret
    return drawn[:limit]


async def collect(
    path: Path,
    events: Events,
    models: Sequence[str],
    asked: Sequence[Task],
    *,
    temperature: float,
    seed: int,
    jobs: int,
    progress: Progress,
) -> None:
    """Complete a file of answers, model by model. Each answer is written as it comes, so that it may be broken off.

    Args:
        jobs: answers asked for at the same time.

    Raises:
        InvalidRequest: answers cannot be executed on this machine, or the file cannot be read.
        PointsmanError: an answer did not come.
    """
    check_available()
    wanted, known = await expected(asked), {task.name: task for task in asked}
    kept = read_answers(path)
    write_answers(path, kept)  # without a line that was broken off, which the next would join
    todo = list(missing(kept, models, asked, temperature))
    with path.open("ab") as file:
        for model in models:
            left = [task for of, task in todo if of == model]
            async for count, answer in _answers(events, model, left, temperature=temperature, seed=seed, jobs=jobs):
                right = await is_right(known[answer.task], answer.text, wanted[answer.task])
                file.write(msgspec.json.encode(msgspec.structs.replace(answer, right=right)) + b"\n")
                file.flush()
                progress(model, len(asked) - len(left) + count, len(asked))


async def _answers(
    events: Events, model: str, left: Sequence[Task], *, temperature: float, seed: int, jobs: int
) -> AsyncGenerator[tuple[int, Kept], None]:
    """The answers as they come, counted from 1, so many asked for at the same time."""
    waiting, running, count = deque(left), set[asyncio.Task[Kept]](), 0
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                asking = ask(events, model, waiting.popleft(), temperature=temperature, seed=seed)
                running.add(asyncio.create_task(asking))
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                count += 1
                yield count, one.result()
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def execute_kept(path: Path, *, again: bool = False) -> list[Kept]:
    """The answers of a file, those that were not executed yet executed now, and kept so.

    Args:
        again: execute all of them anew, after tasks or the sandbox have changed.

    Raises:
        InvalidRequest: the file cannot be read, or answers cannot be executed on this machine.
    """
    kept, known = read_answers(path), {task.name: task for task in tasks()}
    if all(answer.right is not None for answer in kept) and not again:
        return kept
    wanted = await expected(list(known.values()))
    made = []
    for answer in kept:
        if (answer.right is None or again) and answer.task in known:
            right = await is_right(known[answer.task], answer.text, wanted[answer.task])
            answer = msgspec.structs.replace(answer, right=right)
        made.append(answer)
    write_answers(path, made)
    return made
