"""What Ollama's `/api/chat` and `/api/generate` have in common, in the inner form: options, format, thinking."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import NOTHING, invalid

SAME = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty")
"""Options that OpenAI's body has at its top under the same name."""
EXTRA = ("top_k", "min_p", "repeat_penalty")
"""Options that stand at the top as fields beside OpenAI's: several kinds of upstreams know them there."""
EFFORTS = ("low", "medium", "high")
"""Words of `think`."""
IMAGE_GENERATION = ("width", "height", "steps")

T = TypeVar("T")
Fields = dict[str, Any]

_DATA_TYPES = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"), (b"BM", "bmp"))


class Common(msgspec.Struct):
    """The fields that both endpoints know, checked for type."""

    model: str = ""
    stream: bool | None = None
    format: Raw = NOTHING
    options: dict[str, Raw] | None = None
    keep_alive: str | float | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


_fields_decoder = msgspec.json.Decoder(dict[str, Raw])


def read_body(body: bytes, decoder: msgspec.json.Decoder[T]) -> tuple[T, Fields]:
    """A body, typed, and every one of its fields raw.

    Raises:
        InvalidRequest: not JSON, not an object, or a field of a wrong type.
    """
    if not body:
        raise InvalidRequest("missing request body")
    try:
        return decoder.decode(body), _fields_decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}.") from None


def common_fields(asked: Common, raw: Fields, *, handled: frozenset[str]) -> Fields:
    """The inner form's fields but for the messages.

    Fields that nobody knows stay as they are, as they do in a chat body.

    Args:
        handled: names that the caller of this sees to itself.

    Raises:
        InvalidRequest: no model; an option of a wrong type; fields of image generation.
    """
    if not asked.model:
        raise InvalidRequest("model is required", param="model")
    for name in IMAGE_GENERATION:
        if bytes(raw.get(name, NOTHING)) not in (b"null", b"0"):
            raise InvalidRequest(f"Invalid `{name}`: models that make images are not served here.", param=name)
    known = handled | {"model", "stream", "format", "options", "logprobs", "top_logprobs", "stream_options"}
    fields: Fields = {name: value for name, value in raw.items() if name not in known and bytes(value) != b"null"}
    fields["model"] = asked.model
    fields["stream"] = asked.stream is not False
    if fields["stream"]:
        fields["stream_options"] = {"include_usage": True}
    fields |= _options(asked.options or {})
    fields |= _format(asked.format)
    if isinstance(asked.think, str) and asked.think in EFFORTS:
        fields["reasoning_effort"] = asked.think  # what other upstreams call it
    if asked.logprobs:
        fields["logprobs"] = True
        if asked.top_logprobs:
            fields["top_logprobs"] = asked.top_logprobs
    return fields


def _options(options: Mapping[str, Raw]) -> Fields:
    """Options under OpenAI's names; those that it has no word for stay in `options`, which Ollama gets as they are."""
    fields: Fields = {}
    rest: Fields = {}
    for name, value in options.items():
        if bytes(value) == b"null":
            continue
        if name in SAME or name in EXTRA:
            fields[name] = value
        elif name == "num_predict":
            limit = _whole(value, "options.num_predict")
            if limit > 0:  # 0 and less stand for no limit of the caller's
                fields["max_tokens"] = limit
        elif name == "stop":
            if bytes(value) not in (b"[]", b'""'):
                fields["stop"] = value
        else:
            rest[name] = value
    if rest:
        fields["options"] = rest
    return fields


def _whole(value: Raw, param: str) -> int:
    try:
        return int(msgspec.json.decode(value, type=int))
    except msgspec.MsgspecError:
        raise InvalidRequest(f"Invalid `{param}`: a whole number is expected.", param=param) from None


def _format(value: Raw) -> Fields:
    text = bytes(value)
    if text in (b"null", b'""'):
        return {}
    if text == b'"json"':
        return {"response_format": {"type": "json_object"}}
    if text.startswith(b"{"):
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": value}}}
    raise InvalidRequest("Invalid `format`: `json` or a JSON Schema is expected.", param="format")


def content_of(text: str, images: list[str] | None, param: str) -> str | list[Fields]:
    """A message's content: the text alone, or parts with each picture as a data URL.

    Raises:
        InvalidRequest: a picture is not base64.
    """
    if not images:
        return text
    parts: list[Fields] = [{"type": "text", "text": text}] if text else []
    return parts + [
        {"type": "image_url", "image_url": {"url": _data_url(data, f"{param}[{at}]")}} for at, data in enumerate(images)
    ]


def _data_url(data: str, param: str) -> str:
    try:
        start = base64.b64decode(data[:64], validate=True)
        if len(data) % 4 or not start:
            raise binascii.Error
        if len(data) > 64:
            base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"Invalid `{param}`: a picture as base64 is expected.", param=param) from None
    kind = next((name for magic, name in _DATA_TYPES if start.startswith(magic)), "png")
    return f"data:image/{kind};base64,{data}"
