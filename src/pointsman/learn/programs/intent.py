"""Intent: what a caller wants done."""

from __future__ import annotations

from pointsman.pipeline.understand.intent_program import BUILT_IN, INTENT_TOKENS

from .step import Step

STEP = Step(
    name="intent",
    about="What a message wants done, in one of the gateway's intents.",
    program=BUILT_IN,
    metric="label",
    max_tokens=INTENT_TOKENS,
)
