"""One answer, drawn while it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from pointsman.core.events import Finish, Reasoning, Text, ToolCallDelta, Usage

from .client import ChatAnswer, Facts, GatewayClient
from .markdown import MarkdownStream, PlainStream

TICK = 0.1
"""Seconds between two looks at whether the screen is behind."""


@dataclass(slots=True, kw_only=True)
class Spoken:
    """What came of a request so far; it is filled while the answer comes, so that a broken one is kept too."""

    text: str = ""
    facts: Facts = field(default_factory=Facts)
    usage: Usage | None = None
    finish: str | None = None
    seconds: float = 0.0


async def speak(client: GatewayClient, console: Console, fields: Mapping[str, Any], spoken: Spoken) -> None:
    """Ask, and draw the answer as it comes; `spoken` is filled on the way.

    Raises:
        PointsmanError: the answer failed.
        asyncio.CancelledError: it was stopped. What had come is drawn and in `spoken` in either case.
    """
    dumb = console.is_dumb_terminal or not console.is_terminal
    screen = PlainStream(console) if dumb else MarkdownStream(console)
    began = time.monotonic()
    waiting = _Waiting(screen)
    ticking = asyncio.create_task(waiting.tick())
    try:
        answer = await client.chat({**fields, "stream": True, "stream_options": {"include_usage": True}})
        spoken.facts = answer.facts
        await _receive(answer, screen, spoken, waiting)
    finally:
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking
        spoken.seconds = time.monotonic() - began
        screen.finish()


async def _receive(answer: ChatAnswer, screen: MarkdownStream | PlainStream, spoken: Spoken, waiting: _Waiting) -> None:
    async with aclosing(answer.deltas()) as deltas:
        async for delta in deltas:
            match delta:
                case Text(text):
                    waiting.word = ""
                    spoken.text += text
                    screen.feed(text)
                case Reasoning():
                    waiting.word = "thinking"
                case ToolCallDelta(name=name) if name:
                    waiting.word = ""
                    screen.feed(f"\n\n*The model asks for the tool* `{name}`*.*\n\n")
                case Usage():
                    spoken.usage = delta
                case Finish(reason):
                    spoken.finish = reason


class _Waiting:
    """The line that shows that something is going on before there is text."""

    def __init__(self, screen: MarkdownStream | PlainStream) -> None:
        self.word = "waiting"
        self._screen = screen

    async def tick(self) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(TICK)
            if self.word:
                self._screen.status(f"{self.word}… {time.monotonic() - began:.0f} s")
            self._screen.refresh()
