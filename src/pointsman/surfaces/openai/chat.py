"""`POST /v1/chat/completions`: the hot endpoint."""

from __future__ import annotations

from contextlib import aclosing
from typing import TypeVar

from pointsman.core.caller import Caller
from pointsman.core.errors import InvalidRequest, PointsmanError, UpstreamProtocolError
from pointsman.core.events import DONE
from pointsman.core.request import ChatRequest, Priority, PrivacyLevel
from pointsman.pipeline.answer import Answer
from pointsman.pipeline.decide import header_reason
from pointsman.pipeline.run import Pipeline, Wishes
from pointsman.surfaces.errors import for_caller
from pointsman.transport.http import Headers, HttpRequest, Responder

from .errors import JSON, to_frame, to_openai

EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx in front would else hold the stream back
]


Word = TypeVar("Word", bound=str)

LEVELS: tuple[PrivacyLevel, ...] = ("standard", "high", "max")
"""From the most to the least permissive."""
PRIORITIES: tuple[Priority, ...] = ("balanced", "speed", "quality", "privacy", "cost")


class ChatCompletions:
    """Reads the body, runs the pipeline, writes the answer."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def __call__(self, http: HttpRequest, respond: Responder, caller: Caller) -> None:
        try:
            request, wishes = self._read(http, caller)
            answer = await self._pipeline.run(request, caller, wishes)
        except PointsmanError as error:
            status, headers, body = to_openai(for_caller(error, caller))
            respond.send(status, headers, body)
            return
        async with aclosing(answer.events()) as events:
            headers = decision_headers(answer)
            if not request.stream:
                try:
                    body = b"".join([event.raw async for event in events])
                    if not body:
                        raise UpstreamProtocolError("The model's provider answered with an empty body.")
                except PointsmanError as error:
                    status, error_headers, body = to_openai(for_caller(error, caller))
                    respond.send(status, [*error_headers, *headers], body)
                    return
                respond.send(200, [JSON, *headers], body)
                return
            respond.start(200, [*EVENT_STREAM, *headers])
            try:
                async for event in events:
                    if event.raw:
                        respond.write(event.raw)
                        await respond.drain()
                respond.write(DONE)
            except PointsmanError as error:
                respond.write(to_frame(for_caller(error, caller)))
        respond.finish()

    def _read(self, http: HttpRequest, caller: Caller) -> tuple[ChatRequest, Wishes]:
        request: ChatRequest | None = None
        try:
            request = ChatRequest.parse(http.body)
            return request, read_wishes(request, http.headers)
        except PointsmanError as error:
            self._pipeline.refused(error, caller, request)
            raise


def read_wishes(request: ChatRequest, headers: Headers = ()) -> Wishes:
    """What the caller asks of the router, in headers and in the body's `routing_preferences`.

    Of several privacy levels the strictest holds, whoever named it; of several priorities the body's.

    Raises:
        InvalidRequest: a header with a word that is none of its choices.
    """
    preferences = request.params.routing_preferences
    levels = _words(headers, "x-pointsman-privacy", LEVELS)
    priorities = _words(headers, "x-pointsman-priority", PRIORITIES)
    if preferences is not None:
        if preferences.privacy_level is not None:
            levels.append(preferences.privacy_level)
        wish = preferences.priority or preferences.latency_preference
        if wish is not None:
            priorities = [wish]
    return Wishes(
        privacy_level=max(levels, key=LEVELS.index, default=None), priority=priorities[0] if priorities else None
    )


def _words(headers: Headers, name: str, choices: tuple[Word, ...]) -> list[Word]:
    """The words that a header holds, wherever it stands; a proxy in front may have added its own."""
    encoded = name.encode()
    found: list[Word] = []
    for key, value in headers:
        if key == encoded:
            for word in value.decode("latin-1").split(","):
                known = next((choice for choice in choices if choice == word.strip().lower()), None)
                if known is None:
                    raise InvalidRequest(
                        f"Invalid header `{name}`: one of {', '.join(choices)} is expected.", param=name
                    )
                found.append(known)
    return found


def decision_headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    """The `x-pointsman-*` headers of an answer."""
    decision = answer.decision
    model = answer.model
    reason = header_reason(decision)
    if model != decision.model:
        reason = f"fallback: {decision.model} {'was passed over' if answer.passed_over else 'failed'}; {reason}"
    headers = [
        (b"x-pointsman-decision", decision.id.encode()),
        (b"x-pointsman-model", _ascii(model)),
        (b"x-pointsman-provider", _ascii(model.partition(":")[0])),
        (b"x-pointsman-intent", decision.signals.intent.encode()),
        (b"x-pointsman-reason", _ascii(reason)),
    ]
    if decision.estimated_cost_micro_usd is not None:
        headers.append((b"x-pointsman-estimated-cost-usd", format_usd(decision.estimated_cost_micro_usd).encode()))
    if answer.placeholders:
        headers.append((b"x-pointsman-redacted", str(answer.placeholders).encode()))
    return headers


def format_usd(micro_usd: int) -> str:
    """Micro-dollars as dollars with six decimals."""
    return f"{micro_usd // 1_000_000}.{micro_usd % 1_000_000:06d}"


def _ascii(text: str) -> bytes:
    text = text[:256]
    if not (text.isascii() and text.isprintable()):
        text = "".join(char if " " <= char <= "~" else "?" for char in text)
    return text.encode("ascii")
