"""Decompose: a task as smaller ones that can be done on their own."""

from __future__ import annotations

from pointsman.core.program import Field, Program

from .step import Step

STEP = Step(
    name="decompose",
    about="A task as a few smaller ones.",
    program=Program(
        signature="Decompose",
        instructions=(
            "Split the task into the fewest parts that can each be done well on their own, in the order in which they"
            " must be done. Each part is one sentence on a line of its own that says everything needed to do it and"
            " points to no other part. A task that needs no splitting stays one line."
        ),
        inputs=(Field(name="task", description="what is to be done"),),
        outputs=(Field(name="parts", description="one part on each line"),),
    ),
    metric="lines",
    max_tokens=512,
)
