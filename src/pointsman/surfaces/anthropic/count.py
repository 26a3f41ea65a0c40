"""`POST /v1/messages/count_tokens`: how long a prompt is, without asking a model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from pointsman.core.caller import Caller
from pointsman.core.errors import PointsmanError
from pointsman.core.request import ChatRequest
from pointsman.core.signals import Needs
from pointsman.surfaces.converse import JSON
from pointsman.transport.http import HttpRequest, Responder

from .errors import to_anthropic
from .messages import read_request

_encoder = msgspec.json.Encoder()


class CountTokens:
    """A hot handler.

    The count is the estimate by which the router chooses: no two models count alike, and none is asked.
    """

    def __init__(self, measure: Callable[[ChatRequest], Awaitable[Needs]]) -> None:
        self._measure = measure

    async def __call__(self, http: HttpRequest, respond: Responder, caller: Caller) -> None:
        try:
            needs = await self._measure(await read_request(http, bounded=False))
        except PointsmanError as error:
            respond.send(*to_anthropic(error))
            return
        respond.send(200, [JSON], _encoder.encode({"input_tokens": needs.prompt_tokens}))
