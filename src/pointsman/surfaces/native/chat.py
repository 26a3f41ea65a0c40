"""`POST /api/v1/chat/…`: OpenAI's chat, with wishes for the router in the body and its doings in the answer."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import msgspec

from pointsman.core.aside import aside
from pointsman.core.caller import Caller
from pointsman.core.decision import Decision
from pointsman.core.errors import PointsmanError
from pointsman.core.events import DONE, Body, Event, encode_frame
from pointsman.core.request import ChatRequest
from pointsman.dialects.native import first_frames, read_request, with_metrics
from pointsman.pipeline.answer import Answer
from pointsman.surfaces.converse import EVENT_STREAM, Refusal
from pointsman.transport.http import HttpRequest

from .errors import describe, to_native

_encoder = msgspec.json.Encoder()

PrivacyImpact = Literal["none", "noted", "redacted", "local_only"]


class NativeChat:
    """A `surfaces.converse.Dialect`.

    Args:
        mode: the only mode of the endpoint; None: the body chooses.
        streams: whether it always streams.
    """

    stream_headers = EVENT_STREAM

    def __init__(self, *, mode: str | None = None, streams: bool = False) -> None:
        self._mode = mode
        self._streams = streams

    async def read(self, http: HttpRequest, caller: Caller) -> ChatRequest:
        return await aside(partial(read_request, http.body, mode=self._mode, stream=self._streams), len(http.body))

    def writer(self, request: ChatRequest, answer: Answer) -> NativeWriter:
        return NativeWriter(answer)

    def refuse(self, error: PointsmanError) -> Refusal:
        return to_native(error)


class NativeWriter:
    """A `surfaces.converse.Writer`. What the router did stands in the first chunk of a stream: clients that show it
    need not wait for the end."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._told = False

    def begin(self) -> bytes:
        return b""

    def write(self, event: Event) -> bytes:
        if not self._told:
            told = first_frames(event.raw, routing(self._answer))
            if told is not None:
                self._told = True
                return told
        return event.raw

    async def end(self) -> bytes:
        return DONE

    def broken(self, error: PointsmanError) -> bytes:
        return encode_frame(_encoder.encode({"error": describe(error)}))

    async def whole(self, body: Body) -> bytes:
        return with_metrics(body.raw, routing(self._answer))


def routing(answer: Answer) -> dict[str, Any]:
    """`provider` and `routing_metrics` of an answer."""
    decision, model = answer.decision, answer.model
    factors = list(decision.reasons)
    if model != decision.model:
        how = "was passed over" if answer.passed_over else "failed"
        factors.insert(0, f"{decision.model} {how}, and {model} stepped in.")
    return {
        "provider": model.partition(":")[0],
        "routing_metrics": {
            "complexity_score": round(decision.signals.complexity.score, 4),
            "privacy_impact": privacy_impact(decision),
            "decision_factors": factors,
        },
    }


def privacy_impact(decision: Decision) -> PrivacyImpact:
    """What the privacy rules did to a request: nothing was found; something was noted; placeholders went out in its
    place; it had to stay on this machine."""
    privacy = decision.signals.privacy
    if privacy.local_only:
        return "local_only"
    if privacy.redacted:
        return "redacted"
    return "noted" if privacy.classes else "none"
