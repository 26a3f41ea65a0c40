"""How long an answer takes, by what a card says of the model's speed."""

from __future__ import annotations

from pointsman.core.catalog import ModelCard

REMOTE, LOCAL = (0.8, 5_000.0, 60.0), (0.2, 200.0, 15.0)
"""Seconds, tokens a second, tokens a second: what is assumed of a model of which no speed is known."""


def latency(card: ModelCard, prompt_tokens: int, output_tokens: int) -> float:
    """Seconds to the end of an answer: to the first token, to read the prompt, to write the answer."""
    first, prefill, decode = LOCAL if card.local else REMOTE
    if card.first_token_seconds is not None:
        first = card.first_token_seconds
    return (
        first
        + prompt_tokens / (card.prefill_tokens_per_second or prefill)
        + output_tokens / (card.tokens_per_second or decode)
    )
