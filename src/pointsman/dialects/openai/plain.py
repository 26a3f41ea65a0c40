"""A request that came in another dialect, as an upstream takes it that knows OpenAI's chat and no more.

The inner form keeps what only Messages or Responses have as extension fields. Marks and hints are taken out; what has a
word of OpenAI's is said with it; what would change the answer and has none is refused, so that a model that has it can
be asked.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.errors import UpstreamLacks
from pointsman.core.request import NOTHING, ChatRequest

OPENAI_FIELDS = frozenset(
    {
        *(
            "audio",
            "frequency_penalty",
            "function_call",
            "functions",
            "logit_bias",
            "logprobs",
            "max_completion_tokens",
        ),
        *(
            "max_tokens",
            "messages",
            "modalities",
            "model",
            "n",
            "parallel_tool_calls",
            "prediction",
            "presence_penalty",
        ),
        *("prompt_cache_key", "reasoning_effort", "response_format", "safety_identifier", "seed", "stop", "store"),
        *("stream", "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user"),
        *("verbosity", "web_search_options", "routing_preferences"),
    }
)
"""Fields of a chat body; of the others only those stay that the upstream is known to take."""
WEIGHTY = ("mcp_servers", "container")
"""Fields without which the answer would be another one."""
MESSAGE_FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id", "refusal", "audio", "function_call")
PART_FIELDS: Mapping[str, tuple[str, ...]] = {
    "text": ("type", "text"),
    "refusal": ("type", "refusal"),
    "image_url": ("type", "image_url"),
    "input_audio": ("type", "input_audio"),
    "file": ("type", "file"),
    "video_url": ("type", "video_url"),
}
CALL_FIELDS = ("id", "type", "function", "custom", "index", "extra_content")
TOOL_FIELDS = ("type", "function", "custom")
EFFORTS = ((2048, "low"), (8192, "medium"))
"""`thinking.budget_tokens` up to so many → `reasoning_effort`; above, `high`."""
WORDS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"""`output_config.effort` → `reasoning_effort`, in the words that every maker knows."""

_NAME = re.compile(r"[a-z]{1,20}(?:_(?:[a-z]{1,20}|[0-9]{1,8})){0,6}")
_decoder = msgspec.json.Decoder()
_fields_decoder = msgspec.json.Decoder(dict[str, Raw])


def plain_chat(request: ChatRequest, takes: Collection[str], *, reasons: bool) -> tuple[dict[str, Any], set[str]]:
    """Fields to put in place of the request's own, and fields to leave out.

    Args:
        takes: extension fields that the upstream takes.
        reasons: whether the model takes `reasoning_effort`.

    Raises:
        UpstreamLacks: the request needs what OpenAI's chat has no word for.
    """
    for name in WEIGHTY:
        if name not in takes and bytes(request.fields.get(name, NOTHING)) not in (b"null", b"[]"):
            raise UpstreamLacks(name)
    drop = {name for name in request.fields if name not in OPENAI_FIELDS and name not in takes}
    replace: dict[str, Any] = {"messages": _messages(request.params.messages, takes)}
    if request.params.tools:
        replace["tools"] = [_tool(raw, takes) for raw in request.params.tools]
    effort = _effort(request) if reasons and "thinking" not in takes else None
    if effort is not None and "reasoning_effort" not in request.fields:
        replace["reasoning_effort"] = effort
    elif not reasons:
        drop.add("reasoning_effort")
    return replace, drop


def _effort(request: ChatRequest) -> str | None:
    thinking = _decoder.decode(request.fields.get("thinking", NOTHING))
    config = _decoder.decode(request.fields.get("output_config", NOTHING))
    word = WORDS.get(str(config.get("effort"))) if isinstance(config, dict) else None
    if word is not None or not isinstance(thinking, dict):
        return word
    budget = thinking.get("budget_tokens")
    if thinking.get("type") != "enabled" or not isinstance(budget, int):
        return None
    return next((effort for most, effort in EFFORTS if budget <= most), "high")


def _messages(messages: Iterable[Raw], takes: Collection[str]) -> list[Any]:
    found: list[Any] = []
    pictures: list[Any] = []
    for raw in messages:
        message = _fields_decoder.decode(raw)
        role = bytes(message.get("role", NOTHING))
        if pictures and role != b'"tool"':
            found.append({"role": "user", "content": pictures})
            pictures = []
        plain: dict[str, Any] = {
            name: value for name, value in message.items() if name in MESSAGE_FIELDS or name in takes
        }
        if bytes(message.get("content", NOTHING))[:1] == b"[":
            parts = _parts(message["content"], takes, answered=role == b'"assistant"')
            if role == b'"tool"':  # OpenAI takes text there alone: what else a tool gave follows as the user's
                others = [part for part in parts if bytes(part["type"]) != b'"text"']
                if others:
                    pictures += others
                    parts = [part for part in parts if bytes(part["type"]) == b'"text"']
            plain["content"] = parts or ("" if role == b'"tool"' else None)
        if "tool_calls" in message and bytes(message["tool_calls"])[:1] == b"[":
            calls = msgspec.json.decode(message["tool_calls"], type=list[dict[str, Raw]])
            plain["tool_calls"] = [_only(call, CALL_FIELDS, takes) for call in calls]
        if len(plain) > 1:
            found.append(plain)
    return [*found, {"role": "user", "content": pictures}] if pictures else found


def _parts(raw: Raw, takes: Collection[str], *, answered: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for part in msgspec.json.decode(raw, type=list[dict[str, Raw]]):
        kind = _decoder.decode(part.get("type", NOTHING))
        names = PART_FIELDS.get(kind) if isinstance(kind, str) else None
        if names is None:
            if answered:  # what a provider's own tool did: the model's words about it stay
                continue
            raise UpstreamLacks("messages", f"has no content of the type {_shown(kind)}")
        found.append(_document(part) if kind == "file" else _only(part, names, takes))
    return found


def _document(part: Mapping[str, Raw]) -> dict[str, Any]:
    """A document as OpenAI takes it: PDFs with a name; of plain text the text."""
    file = _decoder.decode(part.get("file", NOTHING))
    data = file.get("file_data") if isinstance(file, dict) else None
    if not isinstance(file, dict) or (data is None and "file_id" not in file):
        raise UpstreamLacks("messages", "takes documents as data alone")
    if isinstance(data, str) and data.startswith("data:text/"):
        try:
            text = base64.b64decode(data.partition(",")[2], validate=True).decode()
        except (binascii.Error, ValueError):
            raise UpstreamLacks("messages", "takes no such document") from None
        return {"type": Raw(b'"text"'), "text": text}
    title = _decoder.decode(part.get("title", NOTHING))
    return {"type": part["type"], "file": {"filename": title or "document.pdf", **file}}


def _shown(kind: object) -> str:
    """A type as errors tell it, which are logged: what is no name, and may be a secret, is left out."""
    return repr(kind) if isinstance(kind, str) and _NAME.fullmatch(kind) else "that is given"


def _tool(raw: Raw, takes: Collection[str]) -> Any:
    tool = _fields_decoder.decode(raw)
    kind = _decoder.decode(tool.get("type", NOTHING))
    if kind not in ("function", "custom") or ("function" not in tool and "custom" not in tool):
        raise UpstreamLacks("tools", f"has no tool of the type {_shown(kind)}")
    return _only(tool, TOOL_FIELDS, takes)


def _only(fields: Mapping[str, Raw], names: tuple[str, ...], takes: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in names or name in takes}
