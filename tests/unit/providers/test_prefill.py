"""Which models are known to go on with a last message of the assistant's."""

from __future__ import annotations

import pytest

from pointsman.providers.anthropic import abilities_of
from pointsman.providers.cards import card_for


@pytest.mark.parametrize(
    ("name", "takes"),
    [
        ("claude-3-5-haiku-20241022", True),
        ("claude-3-7-sonnet-20250219", True),
        ("claude-sonnet-4-20250514", True),
        ("claude-sonnet-4-5-20250929", True),
        ("claude-haiku-4-5", True),
        ("claude-opus-4-5-20251101", True),
        ("claude-opus-4-6", False),
        ("claude-sonnet-4-6", False),
        ("claude-opus-4-7", False),
        ("claude-opus-5-5", False),
        ("some-other-model", False),
    ],
)
def test_older_claudes_take_prefill_and_newer_ones_refuse_it(name, takes):
    assert abilities_of(name).prefill is takes


def test_servers_that_must_be_told_are_told():
    vllm = card_for("vllm", "qwen3-8b", local=True).prefill
    assert vllm is not None
    assert vllm.fields == {"add_generation_prompt": False, "continue_final_message": True}
    assert card_for("openai", "gpt-5.5", local=False).prefill is None
    assert card_for("somebody", "qwen3-8b", local=True).prefill is None
