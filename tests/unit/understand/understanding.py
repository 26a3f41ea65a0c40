"""A stage for tests, and short ways to ask it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pointsman.core.request import ChatRequest, PrivacyLevel
from pointsman.core.signals import Signals
from pointsman.pipeline.understand import ComplexityRules, PrivacyRules, Understand


def stage(
    *,
    level: PrivacyLevel = "standard",
    tokens: Sequence[str] = (),
    windows: Sequence[int] = (),
    memo_size: int = 1024,
    key: bytes = b"test",
) -> Understand:
    return Understand(
        privacy=PrivacyRules(level=level, sensitive_tokens=tuple(tokens)),
        complexity=ComplexityRules(),
        hash_key=key,
        windows=lambda: windows,
        memo_size=memo_size,
    )


SHARED = stage()


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def tool(content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "c1", "content": content}


def understand(*messages: dict[str, Any] | str, using: Understand = SHARED, **fields: Any) -> Signals:
    """The signals of a request; a bare string is a user message."""
    listed = [user(message) if isinstance(message, str) else message for message in messages]
    return using(ChatRequest.build({"messages": listed, **fields}))
