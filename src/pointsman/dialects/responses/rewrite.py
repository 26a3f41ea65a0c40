"""A relayed answer of OpenAI's Responses, made this gateway's own where it must be.

The upstream keeps nothing of the answer and knows neither the earlier ones nor tools with namespaces. So the response
object, which stands in a stream's first events and in its last, gets the id under which the answer is kept here, and
calls get the names that the caller knows. Every other event passes as the bytes that came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.events import payloads

from .names import Known
from .output import object_of
from .relay import BLANK

Body = dict[str, Any]
_LIFE = re.compile(rb'"type"\s*:\s*"response\.(created|queued|in_progress|completed|incomplete)"')
_LAST = ("response.completed", "response.incomplete")
_CALL = re.compile(rb'"type"\s*:\s*"function_call"')
_NUMBER = re.compile(rb'"sequence_number"\s*:\s*([0-9]{1,15})')
_decoder = msgspec.json.Decoder(dict[str, Any])
_encoder = msgspec.json.Encoder()


class Relayed:
    """Rewrites one answer.

    Args:
        told: fields of the response object that take the place of the upstream's.
        known: the tools by the names that the upstream has for them.
    """

    def __init__(self, told: Mapping[str, Any], known: Mapping[str, Known]) -> None:
        self._told = told
        self._known = {
            name: tool for name, tool in known.items() if tool.kind == "tool_search" or tool.namespace is not None
        }
        self._last: Body | None = None
        self._tail = b""

    @property
    def next_number(self) -> int:
        """Of the event that follows what was written."""
        numbers = _NUMBER.findall(self._tail)
        return int(numbers[-1]) + 1 if numbers else 0

    def frames(self, raw: bytes) -> bytes:
        """What to write now. The last event is kept back for `last`, so that the answer can be kept before.

        Raises:
            UpstreamProtocolError: an event cannot be read.
        """
        if b'"sequence_number"' in raw:  # and is no comment
            self._tail = raw
        if _LIFE.search(raw) is None and not (self._known and _CALL.search(raw)):
            return raw
        written = []
        start = 0
        for found in BLANK.finditer(raw):
            frame, start = raw[start : found.end()], found.end()
            written.append(self._frame(frame))
        return b"".join(written)

    def response(self, raw: bytes) -> Body:
        """An unstreamed answer. Raises UpstreamProtocolError."""
        return self._own(_decoded(raw))

    def last(self) -> tuple[Body, Body] | None:
        """The last event, and the response in it."""
        return None if self._last is None else (self._last, self._last["response"])

    def _frame(self, frame: bytes) -> bytes:
        if _LIFE.search(frame) is None and not (self._known and _CALL.search(frame)):
            return frame
        event = _decoded(next(payloads(frame), b""))
        if isinstance(event.get("response"), dict):
            event["response"] = self._own(event["response"])
            if event.get("type") in _LAST:
                self._last = event
                return b""
        elif isinstance(event.get("item"), dict):
            event["item"] = self._item(event["item"])
        return encoded(event)

    def _own(self, response: Body) -> Body:
        output = response.get("output")
        if not isinstance(output, list):
            raise UpstreamProtocolError("The model's provider sent a response without its output.")
        items = [self._item(item) if isinstance(item, dict) else item for item in output]
        return {**response, **self._told, "output": items}

    def _item(self, item: Body) -> Body:
        known = self._known.get(str(item.get("name"))) if item.get("type") == "function_call" else None
        if known is None:
            return item
        if known.kind != "tool_search":
            return {**item, "name": known.name, "namespace": known.namespace}
        kept: Body = {name: item[name] for name in ("id", "call_id", "status") if name in item}
        arguments = object_of(str(item.get("arguments") or ""))
        return {**kept, "type": "tool_search_call", "execution": "client", "arguments": arguments}


def encoded(event: Body) -> bytes:
    """An event as its frame."""
    return b"event: %b\ndata: %b\n\n" % (str(event.get("type")).encode(), _encoder.encode(event))


def _decoded(payload: bytes) -> Body:
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UpstreamProtocolError(f"The model's provider sent an answer that cannot be read: {error}.") from None
