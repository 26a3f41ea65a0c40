"""Content of OpenAI's Responses as content of its chat, part by part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pointsman.core.errors import InvalidRequest

Body = dict[str, Any]

_PLAIN = re.compile(r"[a-z]{1,20}(?:_[a-z]{1,20}){0,4}(?:_[0-9]{4,8}(?:_[0-9]{2}){0,2})?")
_TEXT = frozenset({"type", "text", "annotations", "logprobs"})
"""What an answer tells of its text beside it is not for the model that reads it again."""
_REFUSAL = frozenset({"type", "refusal"})
_IMAGE = frozenset({"type", "image_url", "detail", "file_id"})
_FILE = frozenset({"type", "file_data", "filename", "file_id", "file_url"})
_TEXTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")


def content(value: Any, path: str) -> str | list[Body]:
    """The content of a message or of a tool's result.

    Raises:
        InvalidRequest: a part of a type that has no inner form, or that cannot be read.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise wrong(path, "a text or a list of parts is expected")
    parts = [_part(part, f"{path}[{index}]") for index, part in enumerate(value)]
    # A text alone is told as one, which every upstream takes, and which a cache of prompts knows again.
    return parts[0]["text"] if len(parts) == 1 and parts[0].keys() == {"type", "text"} else parts


def _part(part: Any, path: str) -> Body:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise wrong(f"{path}.type", "a text is expected")
    if kind in _TEXTS:
        return {"type": "text", "text": _text(part, "text", path), **extras(part, _TEXT)}
    if kind == "refusal":
        return {"type": "refusal", "refusal": _text(part, "refusal", path), **extras(part, _REFUSAL)}
    if kind == "input_image":
        _refuse_file_id(part, path)
        url = {"url": _text(part, "image_url", path)}
        if part.get("detail") is not None:
            url["detail"] = _text(part, "detail", path)
        return {"type": "image_url", "image_url": url, **extras(part, _IMAGE)}
    if kind == "input_file":
        _refuse_file_id(part, path)
        if part.get("file_url") is not None:
            raise wrong(f"{path}.file_url", "files are not fetched here; send `file_data`")
        file = {"file_data": _text(part, "file_data", path)}
        if part.get("filename") is not None:
            file["filename"] = _text(part, "filename", path)
        return {"type": "file", "file": file, **extras(part, _FILE)}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return {**part}
    raise wrong(f"{path}.type", "there is no such part that models here can be given")


def extras(value: Mapping[str, Any], known: frozenset[str]) -> Body:
    """The fields that are not known here: they are kept where they stood, as chat's are."""
    return {name: each for name, each in value.items() if name not in known}


def _refuse_file_id(part: Body, path: str) -> None:
    if part.get("file_id") is not None:
        raise wrong(f"{path}.file_id", "no files are kept here; send the data itself")


def _text(part: Body, field: str, path: str) -> str:
    text = part.get(field)
    if not isinstance(text, str):
        raise wrong(f"{path}.{field}", "a text is expected")
    return text


def wrong(path: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid `{path}`: {reason}.", param=path)


def plain_name(name: Any) -> bool:
    """Whether a message may repeat a caller's word: messages end in the log, and a word may be a secret."""
    return isinstance(name, str) and _PLAIN.fullmatch(name) is not None
