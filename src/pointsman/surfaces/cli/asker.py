"""Calls of a program, asked of a gateway."""

from __future__ import annotations

from typing import Any

from pointsman.core.errors import PointsmanError
from pointsman.core.events import Text
from pointsman.learn.programs.job import Answer, Ask

from .client import GatewayClient


class Asker:
    """Answers calls by the gateway, where the privacy wall, budgets, limits and the log stand."""

    def __init__(self, client: GatewayClient, model: str) -> None:
        self._client = client
        self._model = model

    async def ask(self, ask: Ask) -> Answer:
        """The model's answer; an error of the gateway stands in it."""
        fields: dict[str, Any] = {"model": self._model, "messages": ask.messages, "stream": False}
        if ask.temperature is not None:
            fields["temperature"] = ask.temperature
        if ask.max_tokens is not None:
            fields["max_tokens"] = ask.max_tokens
        try:
            answer = await self._client.chat(fields)
            pieces = [delta.text async for delta in answer.deltas() if isinstance(delta, Text)]
        except PointsmanError as error:
            return Answer(error=error.message)
        return Answer(text="".join(pieces))
