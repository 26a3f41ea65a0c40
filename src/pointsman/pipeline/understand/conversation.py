"""What the shape of a conversation says."""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.core.signals import Conversation

from .facts import MessageFacts


def observe(messages: Sequence[MessageFacts], *, short_reply: bool) -> Conversation:
    """Count turns, tool results and their failures; failures in a row are counted from the last result backwards."""
    results = [message.failed for message in messages if message.tool_result]
    repeated = 0
    for failed in reversed(results):
        if not failed:
            break
        repeated += 1
    return Conversation(
        turn=max(1, sum(message.user_turn for message in messages)),
        messages=len(messages),
        tool_results=len(results),
        tool_errors=sum(results),
        repeated_failures=repeated,
        short_reply=short_reply,
        awaiting_tool_result=messages[-1].tool_result,
    )
