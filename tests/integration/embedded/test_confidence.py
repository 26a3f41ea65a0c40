"""A real model's answer to a task: its log-probabilities are read, streamed and not, and its code is executed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest

from pointsman.core.request import ChatRequest
from pointsman.learn.confidence.answers import ask
from pointsman.learn.confidence.sandbox import expected, is_right
from pointsman.learn.confidence.tasks import tasks
from pointsman.pipeline.execute.confidence import Verifier

from .conftest import Bench

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]


async def test_an_answer_is_judged_and_executed(bench: Bench) -> None:
    task = next(task for task in tasks() if task.name == "case-1")

    async def events(path: str, fields: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        heard = await bench.ask(task.prompt, **{name: value for name, value in fields.items() if name != "messages"})
        streamed.extend(heard.events)
        for frame in heard.frames:
            yield frame

    streamed: list[Any] = []
    answer = await ask(events, "auto", task, temperature=0.0, seed=7)
    assert await is_right(task, answer.text, (await expected([task]))[task.name])
    assert len(answer.tokens) >= 10
    assert all(len(token.top) == 5 for token in answer.tokens)

    request = ChatRequest.build({"messages": [{"role": "user", "content": task.prompt}]})
    by_stream, by_body = Verifier(request), Verifier(request)
    for event in streamed:
        by_stream.feed(event)
    whole = await bench.ask(task.prompt, max_tokens=160, logprobs=True, top_logprobs=5)
    by_body.feed(whole.events[0])
    first, second = by_stream.evidence(whole=True), by_body.evidence(whole=True)
    assert first.tokens == second.tokens == len(answer.tokens)
    assert msgspec.structs.asdict(first) == pytest.approx(msgspec.structs.asdict(second), abs=0.02)
    assert first.mean_logprob is not None
    assert first.entropy is not None
    assert by_stream.confidence(whole=True).probability > 0.5
