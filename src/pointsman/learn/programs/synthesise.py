"""Synthesise: one answer from the answers to a task's parts."""

from __future__ import annotations

from pointsman.core.program import Field, Program

from .step import Step

STEP = Step(
    name="synthesise",
    about="One answer from the answers to its parts.",
    program=Program(
        signature="Synthesise",
        instructions=(
            "Write the answer to the task from the results of its parts. Use what the results say and add no facts of"
            " your own; where two contradict each other, say so. Answer the task as if it had never been split: no word"
            " of parts or results."
        ),
        inputs=(
            Field(name="task", description="what is to be done"),
            Field(name="results", description="the parts, each with its result"),
        ),
        outputs=(Field(name="answer", description="the answer to the whole task"),),
    ),
    metric="text",
    max_tokens=1024,
)
