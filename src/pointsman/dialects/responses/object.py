"""The `response` object of OpenAI's Responses, and the ids that stand in it.

An id tells what became of the answer, so that nothing needs to be written down to say it later: `resp_…` is kept,
`resp_private_…` held private content, of `resp_unkept_…` the caller or the settings said not to keep it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

from pointsman.core.errors import InvalidRequest, PointsmanError
from pointsman.core.events import Usage

from .fields import Asked

Body = dict[str, Any]
Keeping = Literal["kept", "private", "unkept"]

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer ended early, from chat's `finish_reason`."""


def new_mark() -> str:
    """32 hexadecimal digits that a response and its items share."""
    return os.urandom(16).hex()


def response_id(mark: str, keeping: Keeping) -> str:
    return f"resp_{mark}" if keeping == "kept" else f"resp_{keeping}_{mark}"


def why_absent(identifier: str) -> str | None:
    """Why there is nothing under an id, where the id tells."""
    if identifier.startswith("resp_private_"):
        return "it was about private content, which is never kept; send the whole conversation as `input`"
    if identifier.startswith("resp_unkept_"):
        return "it was not stored (`store` was false, or the settings keep nothing); send the conversation as `input`"
    return None


def with_ids(items: Sequence[Body], mark: str) -> list[Body]:
    """What a caller sent, as it is listed: every item has a type and an id, and content is parts."""
    listed = []
    for index, item in enumerate(items):
        known = item.get("id")
        identifier = known if known and isinstance(known, str) else f"in_{mark}_i{index}"
        item = {**item, "id": identifier, "type": item.get("type") or "message"}
        if item["type"] == "message":
            item.setdefault("status", "completed")
            said = item.get("content")
            if isinstance(said, str):
                mine = item.get("role") == "assistant"
                part: Body = {"type": "output_text" if mine else "input_text", "text": said}
                item["content"] = [{**part, "annotations": []} if mine else part]
        listed.append(item)
    return listed


def response_object(
    asked: Asked,
    *,
    identifier: str,
    created_at: int,
    model: str,
    store: bool,
    status: str,
    output: Sequence[Body] = (),
    usage: Usage | None = None,
    finish: str | None = None,
    error: PointsmanError | None = None,
    service_tier: str | None = None,
    completed_at: int | None = None,
) -> Body:
    """
    Args:
        finish: chat's `finish_reason`.
        store: whether it can be asked for later.
    """
    text, reasoning = asked.text or {}, asked.reasoning or {}
    reason = INCOMPLETE.get(finish or "")
    return {
        "id": identifier,
        "object": "response",
        "created_at": created_at,
        "status": status,
        "background": False,
        "completed_at": completed_at,
        "error": None if error is None else {"code": _code(error), "message": error.message},
        "incomplete_details": {"reason": reason} if status == "incomplete" else None,
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "max_tool_calls": asked.max_tool_calls,
        "metadata": asked.metadata or {},
        "model": model,
        "output": list(output),
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "previous_response_id": asked.previous_response_id,
        "prompt_cache_key": asked.prompt_cache_key,
        "reasoning": {"effort": reasoning.get("effort"), "summary": None},
        "safety_identifier": asked.safety_identifier,
        "service_tier": service_tier or "default",
        "store": store,
        "temperature": asked.temperature,
        "text": {**text, "format": text.get("format") or {"type": "text"}},
        "tool_choice": asked.tool_choice or "auto",
        "tools": asked.tools or [],
        "top_logprobs": asked.top_logprobs or 0,
        "top_p": asked.top_p,
        "truncation": "disabled",
        "usage": None if usage is None else usage_object(usage),
        "user": asked.user,
    }


def usage_object(usage: Usage) -> Body:
    """The tokens in this API's words."""
    prompt, output = usage.billed
    details = usage.completion_tokens_details
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": (details.reasoning_tokens or 0) if details is not None else 0},
        "total_tokens": prompt + output,
    }


def _code(error: PointsmanError) -> str:
    """OpenAI's word for what went wrong; its list has few."""
    if error.type in ("rate_limit_error", "insufficient_quota"):
        return "rate_limit_exceeded"
    return "invalid_prompt" if error.type == "invalid_request_error" else "server_error"


def listed_page(items: Sequence[Body], *, after: str | None, limit: int, newest_first: bool) -> Body:
    """A page of a list of items.

    Raises:
        InvalidRequest: there is no item `after`.
    """
    items = list(reversed(items)) if newest_first else list(items)
    start = 0
    if after is not None:
        places = [index for index, item in enumerate(items) if item["id"] == after]
        if not places:
            raise InvalidRequest("Invalid `after`: no item has this id.", param="after")
        start = places[0] + 1
    page = items[start : start + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else "",
        "last_id": page[-1]["id"] if page else "",
        "has_more": len(items) > start + limit,
    }
