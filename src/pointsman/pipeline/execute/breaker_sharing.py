"""Tells other replicas of circuits that open and close here, and learns of theirs.

A request never waits for this: one task exchanges notices once a second, and at once when there is news. While the
board is away each replica goes by what it sees itself; its news waits.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Literal
from uuid import uuid4

import msgspec

from pointsman.core.circuits import Board
from pointsman.core.shared import StateUnavailable

from .breaker import CircuitBreakers
from .circuit import Circuit, Scope

EVERY = 1.0
"""Seconds between two looks at the board."""

KEEP = 3600.0
"""Seconds that a notice is kept. One of an opening means nothing once its time is over."""


class Said(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A notice's text, as JSON."""

    scope: Scope
    name: str
    by: str
    """The replica."""
    number: int
    """Of the replica's notices; two with the same words are told apart by it."""
    state: Literal["open", "closed"]
    seconds: float = 0.0
    """For which it is open, from when it was said."""
    why: str = ""
    level: int = 0
    unreached: bool = False


class SharedBreakers:
    """Takes `breakers.on_change`; `run` exchanges until it is cancelled."""

    def __init__(self, breakers: CircuitBreakers, board: Board, *, every: float = EVERY) -> None:
        self._breakers = breakers
        self._board = board
        self._every = every
        self._id = uuid4().hex[:12]
        self._number = 0
        self._news: dict[str, Circuit] = {}
        self._wake = asyncio.Event()
        self._known: dict[str, tuple[str, int]] = {}
        """Key of a notice → replica and number of the one that was taken up last."""
        breakers.on_change = self._changed

    async def run(self) -> None:
        while True:
            with suppress(StateUnavailable):  # whoever holds the link has said so in the log
                await self.exchange()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._wake.wait()

    async def exchange(self) -> None:
        """Say what is new here, then take up what is new elsewhere.

        Raises:
            StateUnavailable: what was to be said is kept for the next time.
        """
        self._wake.clear()
        news, self._news = self._news, {}
        try:
            found = await self._board.exchange({key: self._say(circuit) for key, circuit in news.items()}, keep=KEEP)
        except BaseException:
            self._news = {**news, **self._news}
            raise
        for key, notice in found.items():
            try:
                said = msgspec.json.decode(notice.text, type=Said)
            except msgspec.MsgspecError:  # of another version
                continue
            token = (said.by, said.number)
            if self._known.get(key) == token or key in self._news:
                continue
            self._known[key] = token
            if said.by != self._id:
                self._take_up(said, notice.age)
        for key in self._known.keys() - found.keys():
            del self._known[key]

    def _changed(self, circuit: Circuit) -> None:
        self._news[f"{circuit.scope}:{circuit.name}"] = circuit
        self._wake.set()

    def _say(self, circuit: Circuit) -> str:
        self._number += 1
        said = Said(
            scope=circuit.scope,
            name=circuit.name,
            by=self._id,
            number=self._number,
            state="open" if circuit.until else "closed",
            seconds=self._breakers.seconds_open(circuit),
            why=circuit.why,
            level=circuit.level,
            unreached=circuit.unreached,
        )
        return msgspec.json.encode(said).decode()

    def _take_up(self, said: Said, age: float) -> None:
        if said.state == "closed":
            self._breakers.adopt_closed(said.scope, said.name)
        elif said.seconds > age:
            self._breakers.adopt(
                said.scope,
                said.name,
                seconds=said.seconds - age,
                why=said.why,
                level=said.level,
                unreached=said.unreached,
            )
