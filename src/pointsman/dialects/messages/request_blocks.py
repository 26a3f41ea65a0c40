"""Content blocks of Anthropic's Messages as parts of chat messages.

What chat can say is said in its words, Anthropic's further fields (`cache_control`, `citations`) stay beside them. What
only Anthropic can read stays a part as it came; a type that nobody knows is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.errors import InvalidRequest

from .request_reading import (
    Block,
    as_block,
    as_blocks,
    as_content,
    as_text,
    extras,
    first_byte,
    needed,
    read,
    text_field,
)

Part = dict[str, Any]

PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_PART_NAMES = frozenset({"type", "text", "image_url", "file", "refusal", "input_audio"})

ANTHROPIC_ONLY = frozenset(
    {
        "server_tool_use", "web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result",
        "bash_code_execution_tool_result", "text_editor_code_execution_tool_result", "tool_search_tool_result",
        "advisor_tool_result", "container_upload", "mcp_tool_use", "mcp_tool_result", "mcp_tool_listing",
        "compaction", "fallback", "tool_addition", "tool_removal", "tool_reference", "browser_state",
    }
)  # fmt: skip
"""Blocks that tell of what Anthropic's own servers did. They stay as they came."""

_NAME = re.compile(r"[a-z]{1,20}(?:_(?:[a-z]{1,20}|[0-9]{1,8})){0,6}")
_BASE64 = re.compile(rb'"[A-Za-z0-9+/]*={0,2}"')


def parts_of(block: Block, where: str) -> list[Part]:
    """A block that stands in any message: text, a picture, a document, a search result, or what Anthropic alone reads.

    Raises:
        InvalidRequest: of an unknown type, or malformed; names the path.
    """
    kind = kind_of(block, where)
    if kind == "text":
        return [{"type": "text", "text": text_field(block, "text", where), **_beside(block, ("text",), where)}]
    if kind == "image":
        return [_image(block, where)]
    if kind == "document":
        return _document(block, where)
    if kind == "search_result":
        return _search_result(block, where)
    if kind in ANTHROPIC_ONLY:
        return [dict(block)]
    raise InvalidRequest(
        f"Invalid `{where}.type`: blocks of the type `{shown(kind)}` cannot be taken here.", param=f"{where}.type"
    )


def kind_of(block: Block, where: str) -> str:
    return read(as_text, needed(block, "type", where), f"{where}.type")


def collapsed(parts: Sequence[Part]) -> str | Raw | list[Part]:
    """Content as chat writes it most simply: one plain text is a string, which every upstream can read."""
    if not parts:
        return ""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"} and parts[0]["type"] == "text":
        text: str | Raw = parts[0]["text"]
        return text
    return list(parts)


def content_parts(raw: Raw, where: str) -> list[Part]:
    """Content that is a string or blocks of any kind above."""
    content = read(as_content, raw, where)
    if isinstance(content, str):
        return [{"type": "text", "text": raw}]
    return [part for index, block in enumerate(content) for part in parts_of(block, f"{where}[{index}]")]


def shown(kind: str) -> str:
    """A type as errors tell it, which are logged: what is no name, and may be a secret, is left out."""
    return kind if is_name(kind) else "…"


def is_name(kind: str) -> bool:
    """Whether it is written as types of blocks and tools are: short words, and a date perhaps."""
    return _NAME.fullmatch(kind) is not None


def _beside(block: Block, known: tuple[str, ...], where: str) -> dict[str, Any]:
    return extras(block, ("type", *known), where, _PART_NAMES)


def _image(block: Block, where: str) -> Part:
    source = read(as_block, needed(block, "source", where), f"{where}.source")
    kind = kind_of(source, f"{where}.source")
    if kind == "base64":
        url = _data_url(source, f"{where}.source", PICTURES)
    elif kind == "url":
        url = read(as_text, text_field(source, "url", f"{where}.source"), f"{where}.source.url")
    else:
        raise _no_source(kind, f"{where}.source", "base64, url")
    return {"type": "image_url", "image_url": {"url": url}, **_beside(block, ("source",), where)}


def _document(block: Block, where: str) -> list[Part]:
    at = f"{where}.source"
    source = read(as_block, needed(block, "source", where), at)
    kind = kind_of(source, at)
    beside = _beside(block, ("source",), where)
    if kind in ("text", "content"):
        if _cites(block):
            return [dict(block)]  # the words alone would lose what is asked for
        heading = _heading(block, ("title", "context"), where)
        if kind == "text":
            body: list[Part] = [{"type": "text", "text": text_field(source, "data", at)}]
        else:
            body = content_parts(needed(source, "content", at), f"{at}.content")
        return _marked([*heading, *body], block)
    if kind == "base64":
        title = block.get("title")
        name = read(as_text, title, f"{where}.title") if title is not None and first_byte(title) == b'"' else "document"
        file = {"filename": f"{name}.pdf", "file_data": _data_url(source, at, ("application/pdf",))}
    elif kind == "url":
        file = {"file_url": read(as_text, text_field(source, "url", at), f"{at}.url")}
    elif kind == "file":
        file = {"file_id": read(as_text, text_field(source, "file_id", at), f"{at}.file_id")}
    else:
        raise _no_source(kind, at, "base64, text, content, url, file")
    return [{"type": "file", "file": file, **beside}]


def _search_result(block: Block, where: str) -> list[Part]:
    if _cites(block):
        return [dict(block)]
    text_field(block, "title", where)
    text_field(block, "source", where)
    content = read(as_blocks, needed(block, "content", where), f"{where}.content")
    found = [part for index, inner in enumerate(content) for part in parts_of(inner, f"{where}.content[{index}]")]
    return _marked([*_heading(block, ("title", "source"), where), *found], block)


class _Citations(msgspec.Struct):
    enabled: bool | None = None


_citations_decoder = msgspec.json.Decoder(_Citations | None)


def _cites(block: Block) -> bool:
    """Whether the answer shall point into this block, as Anthropic alone can."""
    try:
        asked = _citations_decoder.decode(block.get("citations", b"null"))
    except msgspec.MsgspecError:
        return True
    return asked is not None and bool(asked.enabled)


def _heading(block: Block, names: tuple[str, ...], where: str) -> list[Part]:
    lines = [
        read(as_text, block[name], f"{where}.{name}")
        for name in names
        if name in block and first_byte(block[name]) != b"n"
    ]
    return [{"type": "text", "text": "\n".join(lines)}] if any(lines) else []


def _marked(parts: list[Part], block: Block) -> list[Part]:
    """A block that became several parts has its cache marker on the last."""
    marker = block.get("cache_control")
    if marker is not None and first_byte(marker) != b"n" and parts:
        parts[-1] = {**parts[-1], "cache_control": marker}
    return parts


def _data_url(source: Block, where: str, types: Sequence[str]) -> str:
    media = read(as_text, needed(source, "media_type", where), f"{where}.media_type")
    if media not in types:
        raise InvalidRequest(
            f"Invalid `{where}.media_type`: one of {', '.join(types)} is expected.", param=f"{where}.media_type"
        )
    data = text_field(source, "data", where)
    plain = bytes(data).replace(b"\\/", b"/")
    if not _BASE64.fullmatch(plain):
        raise InvalidRequest(f"Invalid `{where}.data`: this is not base64.", param=f"{where}.data")
    return f"data:{media};base64,{plain[1:-1].decode()}"


def _no_source(kind: str, where: str, choices: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid `{where}.type`: a source of the type `{shown(kind)}` cannot be taken here; one of {choices} can.",
        param=f"{where}.type",
    )
