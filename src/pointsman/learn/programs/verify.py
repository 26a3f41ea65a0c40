"""Verify: whether an answer does what was asked."""

from __future__ import annotations

from pointsman.core.program import Field, Program

from .step import Step

STEP = Step(
    name="verify",
    about="Whether an answer is right and complete.",
    program=Program(
        signature="Verify",
        instructions=(
            "Check the answer against the question as a careful reviewer would: work the task out yourself first, then"
            " compare. It is correct only if every claim, number and line of code that matters is right and nothing"
            " that was asked for is missing. A confident tone proves nothing."
        ),
        inputs=(
            Field(name="question", description="what was asked"),
            Field(name="answer", description="the answer to check"),
        ),
        outputs=(Field(name="verdict", description="whether the answer holds", choices=("correct", "incorrect")),),
    ),
    metric="label",
    max_tokens=64,
)
