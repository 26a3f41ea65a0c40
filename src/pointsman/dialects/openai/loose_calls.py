"""Tool calls of streams that tell them loosely, as Gemini's OpenAI-compatible endpoint does, put in OpenAI's order.

There a call comes without an `index`, which clients need to join its pieces, the answer ends with `stop` where it ends
with calls, and each chunk tells the role again, which OpenAI's own client joins as if it were text.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.events import Frames, encode_frame, payloads

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


class LooseCalls:
    """Mends the frames of one answer. A block in which nothing is to be mended passes as it came."""

    def __init__(self) -> None:
        self._calls: dict[Any, dict[Any, int]] = {}
        """Choice → a call's id → its index."""
        self._last: dict[Any, int] = {}
        self._roles: set[Any] = set()
        """Choices whose role was told."""

    def mend(self, event: Frames) -> Frames:
        loose = b'"tool_calls"' in event.raw or b'"role"' in event.raw
        if not loose and not (self._calls and event.finish_reason == "stop"):
            return event
        mended = [self._frame(payload) for payload in payloads(event.raw)]
        finish = "tool_calls" if self._calls and event.finish_reason == "stop" else event.finish_reason
        return msgspec.structs.replace(event, raw=b"".join(mended), finish_reason=finish)

    def _frame(self, payload: bytes) -> bytes:
        try:
            chunk = _decoder.decode(payload)
            for choice in chunk["choices"]:
                self._choice(choice)
        except (msgspec.MsgspecError, RecursionError, TypeError, KeyError, AttributeError):
            return encode_frame(payload)
        return encode_frame(_encoder.encode(chunk))

    def _choice(self, choice: dict[str, Any]) -> None:
        at = choice.get("index", 0)
        if at in self._roles:
            (choice.get("delta") or {}).pop("role", None)
        self._roles.add(at)
        for call in (choice.get("delta") or {}).get("tool_calls") or ():
            if call.get("index") is None:
                call["index"] = self._index(at, call)
            else:
                self._calls.setdefault(at, {})[call.get("id") or f"#{call['index']}"] = call["index"]
        if choice.get("finish_reason") == "stop" and self._calls.get(at):
            choice["finish_reason"] = "tool_calls"

    def _index(self, at: Any, call: dict[str, Any]) -> int:
        """A name begins a call, and an id that is new; what has neither goes on with the last one."""
        calls = self._calls.setdefault(at, {})
        identifier = call.get("id") or None
        if identifier in calls:
            return calls[identifier]
        if identifier is None and calls and not (call.get("function") or {}).get("name"):
            return self._last[at]
        self._last[at] = calls[identifier or f"#{len(calls)}"] = len(calls)
        return self._last[at]


def signed(raw: msgspec.Raw) -> msgspec.Raw:
    """A message of an assistant whose first call has no signature of Gemini's, with the word that Gemini takes in its
    place: it made no such call, another model of the conversation did.

    Source: Gemini's guide to thought signatures, on histories that another model began.
    """
    if b'"tool_calls"' not in bytes(raw) or b'"thought_signature"' in bytes(raw):
        return raw
    try:
        message = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        calls = msgspec.json.decode(message.get("tool_calls", b"null"), type=list[dict[str, Any]] | None)
    except msgspec.MsgspecError:
        return raw
    if not calls:
        return raw
    calls[0]["extra_content"] = {"google": {"thought_signature": "skip_thought_signature_validator"}}
    return msgspec.Raw(_encoder.encode({**message, "tool_calls": calls}))
