"""Asks a program about every example, and counts how it did; a judge is asked in both orders."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from pointsman.core.errors import InvalidRequest
from pointsman.core.program import Program
from pointsman.evals.privacy.score import Share
from pointsman.learn.programs.examples import Example, read_examples
from pointsman.learn.programs.job import Answer, Ask
from pointsman.learn.programs.metrics import METRICS
from pointsman.learn.programs.step import Step

Z = 1.959964
"""Of the normal distribution, for intervals of 95 %."""
_OTHER = {"a": "b", "b": "a", "tie": "tie"}

AskModel = Callable[[Ask], Awaitable[Answer]]


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    examples: int
    score: float
    """Mean score in [0, 1]; of a judge, the share of pairs in which its verdict over both orders is the label's."""
    low: float
    high: float
    """95 % of the mean: Wilson's (1927) where scores are 0 or 1, else by the normal distribution."""
    unreadable: int
    """Answers that were none of what the program asks for, and score 0."""
    failed: int
    """Calls that failed, and score 0."""
    calls: int
    consistent: float | None = None
    """Of a judge: the share of pairs with the same verdict in both orders."""
    first_shown: float | None = None
    """Of a judge: how often it named the answer that was shown first, among the verdicts that named one; 0.5 is fair
    where labels are balanced, as both orders make them."""


def shipped(step: Step) -> list[Example]:
    """The labelled examples that come with the package.

    Raises:
        InvalidRequest: there are none for this step.
    """
    path = Path(__file__).with_name(f"{step.name}.jsonl")
    if not path.exists():
        raise InvalidRequest(f"No labelled examples of {step.name} are shipped; give some with --data FILE.")
    return read_examples(path, step.program)


async def measure(
    step: Step, program: Program, examples: Sequence[Example], ask: AskModel, on_done: Callable[[int], None]
) -> Measured:
    """Every example once, a judge's twice.

    Args:
        on_done: told how many examples are done.
    """
    asker = _Asker(program, step.max_tokens, ask)
    measured = _judged if step.name == "judge" else _scored
    return await measured(step, asker, examples, on_done)


async def _scored(step: Step, asker: _Asker, examples: Sequence[Example], on_done: Callable[[int], None]) -> Measured:
    metric = METRICS[step.metric]
    outputs = [field.name for field in step.program.outputs]
    scores = []
    for done, example in enumerate(examples, 1):
        said = await asker(example.values)
        scores.append(metric(outputs, example.values, said).score if said is not None else 0.0)
        on_done(done)
    return _summed(scores, asker)


async def _judged(step: Step, asker: _Asker, examples: Sequence[Example], on_done: Callable[[int], None]) -> Measured:
    """In both orders: a verdict that turns with the order is a tie, as where answers are judged while serving."""
    name = step.program.outputs[0].name
    scores, same, named_first, named = [], 0, 0, 0
    for done, example in enumerate(examples, 1):
        values = example.values
        swapped = {**values, "answer_a": values["answer_b"], "answer_b": values["answer_a"]}
        first, second = await asker(values), await asker(swapped)
        verdicts = [said[name] for said in (first, second) if said is not None]
        named_first += verdicts.count("a")
        named += len(verdicts) - verdicts.count("tie")
        if first is None or second is None:
            scores.append(0.0)
        else:
            agrees = first[name] == _OTHER[second[name]]
            same += agrees
            scores.append(float((first[name] if agrees else "tie") == values[name]))
        on_done(done)
    return msgspec.structs.replace(
        _summed(scores, asker),
        consistent=same / len(scores),
        first_shown=named_first / named if named else None,
    )


class _Asker:
    """Asks as serving does, and counts."""

    def __init__(self, program: Program, max_tokens: int, ask: AskModel) -> None:
        self.calls = self.failed = self.unreadable = 0
        self._program = program
        self._max_tokens = max_tokens
        self._ask = ask

    async def __call__(self, values: Mapping[str, str]) -> dict[str, str] | None:
        self.calls += 1
        answer = await self._ask(
            Ask(messages=self._program.messages(values), temperature=0.0, max_tokens=self._max_tokens)
        )
        if answer.text is None:
            self.failed += 1
            return None
        outputs = self._program.parse(answer.text)
        self.unreadable += outputs is None
        return outputs


def _summed(scores: Sequence[float], asker: _Asker) -> Measured:
    count, mean = len(scores), sum(scores) / len(scores)
    if all(score in (0.0, 1.0) for score in scores):
        low, high = Share(round(sum(scores)), count).interval
    else:
        half = Z * math.sqrt(sum((score - mean) ** 2 for score in scores) / max(count - 1, 1) / count)
        low, high = max(0.0, mean - half), min(1.0, mean + half)
    return Measured(
        examples=count,
        score=mean,
        low=low,
        high=high,
        unreadable=asker.unreadable,
        failed=asker.failed,
        calls=asker.calls,
    )
