"""OpenAI's embeddings: from their body to the inner form, to upstreams, and back to callers.

The inner form holds each text as a user message; `dimensions`, `encoding_format` and `user` stay beside them.
"""

from __future__ import annotations

import base64
import binascii
import math
import sys
from array import array
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Raw

from pointsman.core import tokens
from pointsman.core.errors import InvalidRequest, UpstreamProtocolError
from pointsman.core.events import Body, Usage, read_usage
from pointsman.core.request import NOTHING, ChatRequest, decode_body
from pointsman.dialects.checks import finite
from pointsman.dialects.ollama.only import ollama_only

from .completions import texts_of
from .errors import stated_error

MOST_TEXTS = 2048
"""In one request; OpenAI's bound."""
MOST_DIMENSIONS = 65_536
ENCODING = "cl100k_base"
"""The encoding of OpenAI's embedding models, in which LangChain and others send token ids."""

Format = Literal["float", "base64"]


class _Params(msgspec.Struct):
    input: Raw = NOTHING
    model: str = "auto"
    dimensions: int | None = None
    encoding_format: Format | None = None
    stream: bool | None = None


class _Item(msgspec.Struct):
    embedding: str | list[float]
    index: int | None = None


class _List(msgspec.Struct):
    data: list[_Item] | None = None
    model: str = ""
    usage: Raw = NOTHING
    error: Any = None


_params_decoder = msgspec.json.Decoder(_Params)
_input_decoder = msgspec.json.Decoder(str | list[Any])
_list_decoder = msgspec.json.Decoder(_List)
_encoder = msgspec.json.Encoder()


def read_request(body: bytes) -> ChatRequest:
    """A request of kind `embeddings`.

    Raises:
        InvalidRequest: it cannot be read, or a text is empty; names the field.
    """
    raw, params = decode_body(body, "input", _params_decoder)
    fields: dict[str, Any] = dict(raw)
    for name in ("messages", "stream_options"):
        if bytes(fields.pop(name, NOTHING)) != b"null":
            raise InvalidRequest(f"Invalid `{name}`: embeddings have none.", param=name)
    if params.stream:
        raise InvalidRequest("Invalid `stream`: embeddings come whole.", param="stream")
    if params.dimensions is not None and not 1 <= params.dimensions <= MOST_DIMENSIONS:
        raise InvalidRequest(f"Invalid `dimensions`: between 1 and {MOST_DIMENSIONS} expected.", param="dimensions")
    texts = read_input(params.input)
    for name in ("input", "stream"):
        fields.pop(name, None)
    fields["messages"] = [{"role": "user", "content": text} for text in texts]
    return ChatRequest.build(fields, kind="embeddings")


def read_input(raw: Raw) -> list[str]:
    """The texts of a text, a list of texts, a list of token ids, or a list of such lists.

    Raises:
        InvalidRequest: it is none of them, or one is empty.
    """
    try:
        given = _input_decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        given = None
    if isinstance(given, str):
        given = [given]
    if not given:
        raise InvalidRequest("Invalid `input`: a text or a list of texts is needed.", param="input")
    if _all_ids(given):
        given = [given]
    if len(given) > MOST_TEXTS:
        raise InvalidRequest(f"Invalid `input`: more than {MOST_TEXTS} texts in one request.", param="input")
    return [_text(item, index) for index, item in enumerate(given)]


def _text(item: Any, index: int) -> str:
    where = f"input[{index}]"
    if isinstance(item, str) and item:
        return item
    if isinstance(item, list) and item and _all_ids(item):
        try:
            return tokens.decode(item, ENCODING)
        except ValueError:
            raise InvalidRequest(
                f"Invalid `{where}`: these token ids are none of {ENCODING}, the only ones that can be read here; send"
                " the text itself.",
                param=where,
            ) from None
    if item in ("", []):
        raise InvalidRequest(f"Invalid `{where}`: it is empty.", param=where)
    raise InvalidRequest(f"Invalid `{where}`: a text is expected.", param=where)


def _all_ids(items: Sequence[Any]) -> bool:
    return all(type(item) is int for item in items)


def to_embeddings(request: ChatRequest, model: str, *, base64: bool) -> bytes:
    """The body for an upstream.

    Args:
        base64: whether it gives vectors as base64 when the caller wants them so.
    """
    drop = {"messages", *(() if base64 else ("encoding_format",)), *ollama_only(request)}
    return request.render({"model": model, "input": texts_of(request)}, drop=drop)


def read_embeddings(raw: bytes, *, count: int) -> Body:
    """An upstream's answer, checked as far as the order and number of its vectors.

    Raises:
        UpstreamProtocolError: it is no list of so many embeddings.
    """
    try:
        listed = _read(raw)
    except UpstreamProtocolError:
        if (mended := finite(raw)) is None:
            raise
        return read_embeddings(mended, count=count)
    if listed.data is None or len(listed.data) != count:
        found = "no list" if listed.data is None else f"{len(listed.data)} of them"
        raise UpstreamProtocolError(f"The model's provider was asked for {count} embeddings and gave {found}.")
    return Body(raw, read_usage(listed.usage))


def made_body(vectors: Sequence[Any], *, model: str, prompt_tokens: int) -> Body:
    """An answer of vectors: lists of numbers, or base64."""
    data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    raw = _encoder.encode({"object": "list", "data": data, "model": model, "usage": usage})
    return Body(raw, Usage(prompt_tokens=prompt_tokens, total_tokens=prompt_tokens))


def as_wanted(raw: bytes, form: Format, dimensions: int | None) -> bytes:
    """An answer as its caller wants it: in the order of the texts, each vector as numbers or as base64.

    Raises:
        InvalidRequest: the vectors have another length than was asked for.
        UpstreamProtocolError: a vector cannot be read.
    """
    listed = _read(raw)
    items = listed.data or []
    order = [index if (index := item.index) is not None else at for at, item in enumerate(items)]
    if sorted(order) != list(range(len(items))):
        raise UpstreamProtocolError("The model's provider numbered its embeddings in a way that cannot be read.")
    data: list[Any] = [None] * len(items)
    for index, item in zip(order, items, strict=True):
        given = item.embedding
        length = len(given) if isinstance(given, list) else _bytes(given) // 4
        if dimensions is not None and length != dimensions:
            raise InvalidRequest(
                f"Invalid `dimensions`: this model gives vectors of {length}; leave it out.", param="dimensions"
            )
        data[index] = {"object": "embedding", "index": index, "embedding": _in_form(given, form)}
    usage = listed.usage if read_usage(listed.usage) is not None else {"prompt_tokens": 0, "total_tokens": 0}
    return _encoder.encode({"object": "list", "data": data, "model": listed.model, "usage": usage})


def _in_form(given: str | list[float], form: Format) -> str | list[float]:
    if form == "base64":
        return given if isinstance(given, str) else to_base64(given)
    return from_base64(given) if isinstance(given, str) else given


def to_base64(numbers: Sequence[float]) -> str:
    """Little-endian float32.

    Raises:
        UpstreamProtocolError: a number is none that float32 has.
    """
    try:
        packed = array("f", numbers)
    except (OverflowError, TypeError):
        raise UpstreamProtocolError("The model's provider gave a vector that cannot be read.") from None
    if sys.byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode("ascii")


def from_base64(text: str) -> list[float]:
    """The numbers of little-endian float32.

    Raises:
        UpstreamProtocolError: it is no such text.
    """
    try:
        packed = array("f", base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise UpstreamProtocolError("The model's provider gave a vector that cannot be read.") from None
    if sys.byteorder == "big":
        packed.byteswap()
    numbers = packed.tolist()
    if not all(map(math.isfinite, numbers)):
        raise UpstreamProtocolError("The model's provider gave a vector that cannot be read.")
    return numbers


def _bytes(text: str) -> int:
    return len(text) * 3 // 4 - text.count("=")


def _read(raw: bytes) -> _List:
    try:
        listed = _list_decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UpstreamProtocolError(f"The model's provider sent an answer that cannot be read: {error}.") from None
    if listed.error:
        raise stated_error(listed.error)
    return listed
