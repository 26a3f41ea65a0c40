"""Examples from the log: only where it keeps prompts, and only of what it knows the right output for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from pointsman.core.errors import InvalidRequest
from pointsman.core.signals import Intent
from pointsman.stores.database import Database

from .examples import Example, example_of
from .step import Step

MOST = 5_000
"""Decisions that are looked at, the newest first."""
MOST_CHARACTERS = 8_000
"""Of a message; longer ones make dear examples."""
_GOOD = "(f.outcome = 'success' OR f.thumb = 'up' OR f.score >= 0.75)"
_SELECT = (
    "SELECT d.intent, p.messages FROM decisions d JOIN prompts p ON p.decision_id = d.id"  # noqa: S608 - our own words
    " JOIN feedback f ON f.decision_id = d.id"
    f" WHERE d.local_only = 0 AND {_GOOD} ORDER BY d.created_at DESC LIMIT $1"
)


async def logged_examples(database: Database, step: Step) -> list[Example]:
    """What the log can teach a step. For the intent: what was understood of prompts whose answers were found good,
    which is the nearest to a label that callers give. The log keeps no answers, so other steps learn from files.

    Raises:
        InvalidRequest: the log has nothing for this step; says what to do.
        StoreError: the database is away.
    """
    if step.name != "intent":
        raise InvalidRequest(
            f"The log keeps no answers, so {step.name} cannot be learned from it. Give examples with --data FILE: JSON"
            f" lines with {', '.join(field.name for field in (*step.program.inputs, *step.program.outputs))}."
        )
    rows = await database.fetch(_SELECT, MOST)
    found = []
    for intent, messages in rows:
        message = last_message(msgspec.json.decode(messages))
        if intent != Intent.GENERAL and 0 < len(message.strip()) <= MOST_CHARACTERS:
            found.append(example_of(step.program, {"message": message, "intent": intent}))
    if not found:
        raise InvalidRequest(
            "The log holds no prompt with good feedback. It keeps prompts where privacy.store_prompts is public or all,"
            " and feedback comes by POST /v1/feedback; or give examples with --data FILE."
        )
    return found


def last_message(messages: Iterable[dict[str, Any]]) -> str:
    """The text of the last turn of the user."""
    for message in reversed(list(messages)):
        if message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str):
            return content
        return "\n".join(part.get("text", "") for part in content or () if isinstance(part, dict))
    return ""
