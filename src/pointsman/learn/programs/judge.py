"""Judge: which of two answers is the better one."""

from __future__ import annotations

from pointsman.pipeline.record.judge import BUILT_IN, VERDICT_TOKENS

from .step import Step

STEP = Step(
    name="judge",
    about="Which of two answers to a question is the better one.",
    program=BUILT_IN,
    metric="label",
    max_tokens=VERDICT_TOKENS,
)
