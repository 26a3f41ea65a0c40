"""The chat of `/api/v1`: OpenAI's body with fields for the router, OpenAI's answer with what the router did.

`mode` and `options` stand beside `routing_preferences` on the wire and in it in the inner form. Of `options` only the
two words that are ours are taken; what else stands there is passed on, as it is for an Ollama.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.errors import InvalidRequest, UpstreamProtocolError
from pointsman.core.events import encode_frame, payloads
from pointsman.core.request import NOTHING, ChatRequest, RoutingPreferences, invalid

OPTIONS = ("prioritize_privacy", "prioritize_speed")

_raw_decoder = msgspec.json.Decoder(dict[str, Raw])
_encoder = msgspec.json.Encoder()


class _Own(msgspec.Struct):
    mode: str | None = None
    options: dict[str, Raw] | None = None


class _Choice(msgspec.Struct):
    message: dict[str, Raw] = {}


class _Answer(msgspec.Struct):
    choices: list[_Choice] = []


def read_request(body: bytes, *, mode: str | None = None, stream: bool = False) -> ChatRequest:
    """The inner form of a body.

    Args:
        mode: the only mode of the endpoint; None: the body chooses.
        stream: whether the endpoint streams whatever the body says.

    Raises:
        InvalidRequest: it cannot be read, says one thing twice, or contradicts its endpoint.
    """
    request = ChatRequest.parse(body)
    fields = request.fields
    own = _own(fields)
    if mode is not None:
        if own.mode not in (None, mode):
            raise InvalidRequest(f"Invalid `mode`: this endpoint knows only {mode}.", param="mode")
        own.mode = mode
    options = own.options or {}
    given: dict[str, Any] = {name: _truth(name, options.pop(name)) for name in OPTIONS if name in options}
    if own.mode is not None:
        given["mode"] = own.mode
    streams = stream and not request.stream
    if not given and not streams and "mode" not in fields:
        return request
    fields = fields.copy()
    fields.pop("mode", None)
    if given and "options" in fields:
        del fields["options"]
        if options:
            fields["options"] = Raw(_encoder.encode(options))
    params = msgspec.structs.replace(request.params)
    if given:
        params.routing_preferences = _with(request.params.routing_preferences, given)
        fields["routing_preferences"] = Raw(_encoder.encode(params.routing_preferences))
    if streams:
        params.stream = True
        fields["stream"] = Raw(b"true")
    return ChatRequest(fields, params, request.size)


def _own(fields: Mapping[str, Raw]) -> _Own:
    try:
        return msgspec.json.decode(
            _encoder.encode({name: fields.get(name, NOTHING) for name in ("mode", "options")}), type=_Own
        )
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise invalid(error) from None


def _truth(name: str, raw: Raw) -> bool:
    value = {b"true": True, b"false": False, b"null": False}.get(bytes(raw).strip())
    if value is None:
        raise InvalidRequest(f"Invalid `options.{name}`: Expected `bool`.", param=f"options.{name}")
    return value


def _with(preferences: RoutingPreferences | None, given: Mapping[str, Any]) -> RoutingPreferences:
    if preferences is None:
        return RoutingPreferences(**given)
    if preferences.mode is not None and preferences.mode != given.get("mode", preferences.mode):
        raise InvalidRequest(
            "Invalid `mode`: `routing_preferences.mode` says another one, or the endpoint does.", param="mode"
        )
    return msgspec.structs.replace(preferences, **given)


def with_metrics(raw: bytes, told: Mapping[str, Any]) -> bytes:
    """A whole answer with fields of ours; `message` is that of the first choice.

    Args:
        raw: a `chat.completion` as JSON.
        told: `provider` and `routing_metrics`.

    Raises:
        UpstreamProtocolError: it is not one.
    """
    try:
        fields: dict[str, Any] = dict(_raw_decoder.decode(raw))
        choices = msgspec.json.decode(raw, type=_Answer).choices
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UpstreamProtocolError(f"The model's provider sent an answer that cannot be read: {error}.") from None
    message = choices[0].message if choices else {}
    calls = message.get("tool_calls", NOTHING)
    fields["message"] = {
        "role": message.get("role", Raw(b'"assistant"')),
        "content": message.get("content", NOTHING),
        "tool_calls": [] if bytes(calls) == b"null" else calls,
    }
    return _encoder.encode({**fields, **told})


def first_frames(raw: bytes, told: Mapping[str, Any]) -> bytes | None:
    """The first block of a stream that holds a chunk, with fields of ours in that chunk; None: it holds none.

    Raises:
        UpstreamProtocolError: the chunk is none.
    """
    chunks = list(payloads(raw))
    if not chunks:
        return None
    try:
        fields = _raw_decoder.decode(chunks[0])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UpstreamProtocolError(f"The model's provider sent a chunk that cannot be read: {error}.") from None
    chunks[0] = _encoder.encode({**fields, **told})
    # Line feeds can only stand between a chunk's parts, and in a frame each would begin another field.
    return b"".join(encode_frame(chunk.replace(b"\n", b" ")) for chunk in chunks)
