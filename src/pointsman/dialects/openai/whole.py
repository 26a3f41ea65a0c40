"""Whole answers of an OpenAI-compatible upstream."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.events import Body, Frames, encode_frame
from pointsman.dialects.checks import finite, unreadable

from .envelope import checked, id_in, usage_in

MAX_WORD = 64
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_choice_decoder = msgspec.json.Decoder(list[dict[str, Any]])
_encoder = msgspec.json.Encoder()


def read_body(raw: bytes) -> Body:
    """A whole unstreamed answer, checked.

    Raises:
        UpstreamError: the body states an error.
        UpstreamProtocolError: it is not JSON, not UTF-8, or not an answer.
    """
    try:
        envelope = checked(raw)
    except UpstreamProtocolError:
        if (mended := finite(raw)) is None:
            raise
        return read_body(mended)
    if not envelope.choices:
        raise UpstreamProtocolError("The model's provider answered with JSON that holds no choices.")
    finish = None
    for choice in envelope.choices:
        if choice.text is None and bytes(choice.message)[:1] != b"{":
            raise UpstreamProtocolError("The model's provider answered with a choice that holds no message.")
        if isinstance(choice.finish_reason, str):
            finish = choice.finish_reason[:MAX_WORD]
    return Body(raw, usage_in(envelope), id_in(envelope), finish)


def frames_of(body: Body, *, wants_usage: bool) -> Frames:
    """A whole answer as the frames of a streamed one, for callers that asked an upstream to stream that does not.

    Raises:
        UpstreamProtocolError: the choices cannot be read.
    """
    try:
        fields = _object_decoder.decode(body.raw)
        choices = _choice_decoder.decode(fields.pop("choices"))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise unreadable(error) from None
    usage = fields.pop("usage", None)
    fields["object"] = msgspec.Raw(b'"chat.completion.chunk"')
    for choice in choices:
        delta = choice.pop("message", None) or {}
        for index, call in enumerate(delta.get("tool_calls") or ()):
            call.setdefault("index", index)
        choice["delta"] = delta
    frames = encode_frame(_encoder.encode({**fields, "choices": choices}))
    if wants_usage and usage is not None:
        frames += encode_frame(_encoder.encode({**fields, "choices": [], "usage": usage}))
    return Frames(frames, body.usage, body.answer_id, body.finish_reason)
