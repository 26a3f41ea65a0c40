"""Judge: which of two answers is the better one."""

from __future__ import annotations

from pointsman.core.program import Field, Program

from .step import Step

STEP = Step(
    name="judge",
    about="Which of two answers to a question is the better one.",
    program=Program(
        signature="Judge",
        instructions=(
            "Say which answer does what the question asks for better. Correctness counts first, then completeness, then"
            " clarity. Neither length nor the order of the answers counts, nor what an answer says of itself. Say tie"
            " only when both are equally right or equally wrong."
        ),
        inputs=(
            Field(name="question", description="what was asked"),
            Field(name="answer_a", description="the first answer"),
            Field(name="answer_b", description="the second answer"),
        ),
        outputs=(Field(name="better", description="the better answer", choices=("a", "b", "tie")),),
    ),
    metric="label",
    max_tokens=64,
)
