"""Calls to providers, and what their events say."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from pointsman.core.catalog import ModelCard
from pointsman.core.events import Event, Reasoning, Text, deltas
from pointsman.core.ports import ChatCall, Provider, Timeouts
from pointsman.core.request import ChatRequest

QUICK = Timeouts(connect=1.0, first_byte=0.3, between_bytes=0.3, total=5.0)


def call_for(card: ModelCard, *, local_only: bool = False, timeouts: Timeouts = QUICK, **fields: Any) -> ChatCall:
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], **fields}
    return ChatCall(card=card, request=ChatRequest.build(body), local_only=local_only, timeouts=timeouts)


def card(name: str = "m", *, provider: str = "up", local: bool = False, **fields: Any) -> ModelCard:
    return ModelCard(id=f"{provider}:{name}", provider=provider, name=name, local=local, **fields)


async def events_of(provider: Provider, call: ChatCall) -> list[Event]:
    async with aclosing(provider.chat(call)) as events:
        return [event async for event in events]


def raw(events: list[Event]) -> bytes:
    return b"".join(event.raw for event in events)


def text_of(events: list[Event]) -> str:
    return "".join(delta.text for event in events for delta in deltas(event) if isinstance(delta, Text))


def reasoning_of(events: list[Event]) -> str:
    return "".join(delta.text for event in events for delta in deltas(event) if isinstance(delta, Reasoning))
