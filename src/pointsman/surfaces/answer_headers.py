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
    reason = header_reason(decision).encode()
    if model != decision.model:
        reason = _ascii(f"{_what_became(answer)}; {reason.decode()}")
    headers = [
        (b"x-pointsman-decision", decision.id.encode()),
        *_headers_of(model, decision.signals.intent),
        (b"x-pointsman-reason", reason),
    ]
    cost = decision.estimated_cost_micro_usd
    if cost is not None:
        headers.append((b"x-pointsman-estimated-cost-usd", b"%d.%06d" % divmod(cost, 1_000_000)))
    if placeholders := answer.placeholders:
        headers.append((b"x-pointsman-redacted", b"%d" % placeholders))
    if (note := answer.note) is not None:
        headers.append((b"x-pointsman-note", _ascii(note)))
    return headers


def _what_became(answer: Answer) -> str:
    """Why another model answers than was decided on."""
    if answer.escalated:
        return f"escalated: the answer of {answer.decision.model} was not convincing"
    if answer.hedged:
        return f"hedged: {answer.decision.model} was slow to begin"
    return f"fallback: {answer.decision.model} {'was passed over' if answer.passed_over else 'failed'}"


@lru_cache(1024)
def _headers_of(model: str, intent: str) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"x-pointsman-model", _ascii(model)),
        (b"x-pointsman-provider", _ascii(model.partition(":")[0])),
        (b"x-pointsman-intent", intent.encode()),
    )


def dropped_header(dropped: Sequence[str]) -> tuple[bytes, bytes]:
    """What of the request was left out, by its place in the body."""
    return b"x-pointsman-dropped", _ascii(", ".join(dropped))


def _ascii(text: str) -> bytes:
    text = text[:256]
    if text.isascii() and text.isprintable():
        return text.encode()
    return "".join(char if " " <= char <= "~" else "?" for char in text).encode("ascii")
