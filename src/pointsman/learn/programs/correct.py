"""Correct: an answer made right, once it is known what is wrong with it."""

from __future__ import annotations

from pointsman.core.program import Field, Program

from .step import Step

STEP = Step(
    name="correct",
    about="An answer made right, given what is wrong with it.",
    program=Program(
        signature="Correct",
        instructions=(
            "Rewrite the answer so that it no longer has the problem. Change what is wrong and what follows from it;"
            " keep the rest, its form and its language. Do not speak of the correction. If the problem is not there,"
            " repeat the answer as it is."
        ),
        inputs=(
            Field(name="question", description="what was asked"),
            Field(name="answer", description="the answer that has a problem"),
            Field(name="problem", description="what is wrong with it, such as an error message"),
        ),
        outputs=(Field(name="corrected", description="the whole answer, made right"),),
    ),
    metric="text",
    max_tokens=1024,
)
