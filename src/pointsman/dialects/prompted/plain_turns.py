"""Messages as every chat template can render them: three roles, and text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import Message, ToolCall

from .tool_prompt import (
    ToolPlan,
    Turn,
    call_text,
    examples,
    instructions,
    reply_text,
    result_text,
)

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""Templates of small models know no developer and leave his words out without saying so."""
TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal"})


def plain_turns(messages: Sequence[Message], plan: ToolPlan | None) -> list[Turn]:
    """A conversation as turns of text.

    Calls and results of tools become turns in the form of `tool_prompt`. With a plan the instructions follow the
    caller's own first system message, and example turns stand before the conversation; both are the same for the same
    tools, so that an engine finds them in its prompt cache.

    Raises:
        InvalidRequest: a part of a message is not text.
    """
    turns: list[Turn] = []
    names: dict[str, str] = {}
    results_open = False
    for index, message in enumerate(messages):
        _check_parts(message, index)
        if message.role in ("tool", "function"):
            name = message.name or names.get(message.tool_call_id or "", "the tool")
            content = result_text(name, message.text)
            if results_open:  # several results of one answer are one turn: roles take turns
                turns[-1]["content"] += f"\n\n{content}"
            else:
                turns.append({"role": "user", "content": content})
            results_open = True
            continue
        results_open = False
        text = message.text or message.refusal or ""
        if message.tool_calls:
            names |= {call.id: call.function.name for call in message.tool_calls if call.id and call.function}
            content = _calls(message.tool_calls)
            text = content if plan is not None or not text else f"{text}\n{content}"
        elif plan is not None and message.role == "assistant":
            text = reply_text(plan, text)
        turns.append({"role": ROLES[message.role], "content": text})
    if plan is not None:
        _teach(turns, plan)
    return turns


def _teach(turns: list[Turn], plan: ToolPlan) -> None:
    if turns and turns[0]["role"] == "system":
        turns[0]["content"] += "\n\n" + instructions(plan)
    else:
        turns.insert(0, {"role": "system", "content": instructions(plan)})
    turns[1:1] = examples(plan)


def _calls(calls: Sequence[ToolCall]) -> str:
    texts = [call_text(call.function.name, _arguments(call.function.arguments)) for call in calls if call.function]
    return "\n".join(texts)


def _arguments(text: str) -> Any:
    """Arguments as they were sent, which another model may have broken."""
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        return text


def _check_parts(message: Message, index: int) -> None:
    if isinstance(message.content, list):
        for number, part in enumerate(message.content):
            if part.type not in TEXT_PARTS:
                raise InvalidRequest(
                    f"Invalid `messages[{index}].content[{number}]`: this model reads text only, and the part is"
                    f" {part.type[:40]!r}. Use a model that can take it.",
                    param=f"messages[{index}].content[{number}]",
                )
