"""The `x-pointsman-*` headers of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from pointsman.pipeline.answer import Answer
from pointsman.pipeline.decide import header_reason


def decision_headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    """The `x-pointsman-*` headers of an answer."""
    decision = answer.decision
    model = answer.model
    reason = header_reason(decision)
    if model != decision.model:
        reason = f"{_what_became(answer)}; {reason}"
    headers = [
        (b"x-pointsman-decision", decision.id.encode()),
        *_model_headers(model),
        (b"x-pointsman-intent", decision.signals.intent.encode()),
        (b"x-pointsman-reason", _ascii(reason)),
    ]
    if decision.estimated_cost_micro_usd is not None:
        headers.append((b"x-pointsman-estimated-cost-usd", format_usd(decision.estimated_cost_micro_usd).encode()))
    if answer.placeholders:
        headers.append((b"x-pointsman-redacted", str(answer.placeholders).encode()))
    if answer.note is not None:
        headers.append((b"x-pointsman-note", _ascii(answer.note)))
    return headers


def _what_became(answer: Answer) -> str:
    """Why another model answers than was decided on."""
    if answer.escalated:
        return f"escalated: the answer of {answer.decision.model} was not convincing"
    if answer.hedged:
        return f"hedged: {answer.decision.model} was slow to begin"
    return f"fallback: {answer.decision.model} {'was passed over' if answer.passed_over else 'failed'}"


@lru_cache(1024)
def _model_headers(model: str) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    return (b"x-pointsman-model", _ascii(model)), (b"x-pointsman-provider", _ascii(model.partition(":")[0]))


def dropped_header(dropped: Sequence[str]) -> tuple[bytes, bytes]:
    """What of the request was left out, by its place in the body."""
    return b"x-pointsman-dropped", _ascii(", ".join(dropped))


def format_usd(micro_usd: int) -> str:
    """Micro-dollars as dollars with six decimals."""
    return f"{micro_usd // 1_000_000}.{micro_usd % 1_000_000:06d}"


def _ascii(text: str) -> bytes:
    text = text[:256]
    if text.isascii() and text.isprintable():
        return text.encode()
    return "".join(char if " " <= char <= "~" else "?" for char in text).encode("ascii")
