"""Extract memory: what of a conversation is worth knowing in later ones."""

from __future__ import annotations

from pointsman.core.program import Field, Program

from .step import Step

STEP = Step(
    name="extract_memory",
    about="What of a conversation will still matter in a later one.",
    program=Program(
        signature="ExtractMemory",
        instructions=(
            "List what the user said of themselves, their work or their wishes that will still hold in a later"
            " conversation: one short sentence a line, in the third person, each understandable alone. Leave out what"
            " holds only now, what the assistant said, and every password, key or number of an account. Say none when"
            " there is nothing."
        ),
        inputs=(Field(name="conversation", description="the turns, each with who said it"),),
        outputs=(Field(name="facts", description="one fact on each line, or none"),),
    ),
    metric="lines",
    max_tokens=256,
)
