"""The events of an answer in actions (`dialects.simulated_tools`) as those that the caller asked for."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.events import Body, Event, encode_frame, payloads
from pointsman.dialects.prompted.simulated import ActionReader, Simulation

_encoder = msgspec.json.Encoder()


class SimulatedAnswer:
    """Turns the events of an answer in actions into those that the caller asked for.

    Nothing is told before there is something to tell: an answer that is malformed from the start can still fall back.

    Raises, whenever it is asked: UpstreamProtocolError, for an answer that is malformed.
    """

    def __init__(self, simulation: Simulation) -> None:
        self._reader = ActionReader(simulation)
        self._begun = False
        self._ended = False

    def told(self, event: Event) -> Event | None:
        if isinstance(event, Body):
            return self._body(event)
        frames: list[bytes] = []
        finish = None
        for payload in payloads(event.raw):
            chunk = _decoded(payload)
            for choice in chunk.get("choices") or ():
                finish = self._choice(choice) or finish
            said = [choice for choice in chunk.get("choices") or () if choice["delta"] or choice.get("finish_reason")]
            if said or chunk.get("usage"):
                frames.append(encode_frame(_encoder.encode({**chunk, "choices": said})))
        if not frames and event.usage is None:
            return None
        raw = b"".join(frames)
        return msgspec.structs.replace(event, raw=raw, finish_reason=finish or event.finish_reason)

    def _choice(self, choice: dict[str, Any]) -> str | None:
        """Rewrite one choice of a chunk; its finish reason, when it has one."""
        delta = choice.get("delta") or {}
        told = {name: delta[name] for name in ("reasoning_content", "reasoning") if delta.get(name)}
        content = "" if self._ended else self._reader.feed(delta.get("content") or "")
        reason = choice.get("finish_reason")
        if reason and not self._ended:
            self._ended = True
            rest, call, reason = self._reader.end(reason)
            content += rest
            if call is not None:
                told["tool_calls"] = [{"index": 0, **call}]
            choice["finish_reason"] = reason
        if content:
            told["content"] = content
        if told and not self._begun:
            self._begun = True
            told = {"role": "assistant", "content": None if "tool_calls" in told else "", **told}
        choice["delta"] = told
        choice.pop("logprobs", None)
        return reason

    def _body(self, body: Body) -> Body:
        whole = _decoded(body.raw)
        choices = whole.get("choices") or []
        if not choices:
            raise UpstreamProtocolError("The model's provider sent an answer without a choice.")
        choice = choices[0]
        message = choice.get("message") or {}
        content = self._reader.feed(message.get("content") or "")
        rest, call, reason = self._reader.end(choice.get("finish_reason") or "stop")
        message["content"] = content + rest
        if call is not None:
            message |= {"content": None, "tool_calls": [call]}
        choice |= {"message": message, "finish_reason": reason}
        choice.pop("logprobs", None)
        return msgspec.structs.replace(body, raw=_encoder.encode({**whole, "choices": [choice]}), finish_reason=reason)


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        chunk = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UpstreamProtocolError(f"The model's provider sent a chunk that cannot be read: {error}.") from None
    if not isinstance(chunk, dict):
        raise UpstreamProtocolError("The model's provider sent a chunk that is no object.")
    return chunk
