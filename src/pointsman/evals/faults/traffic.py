"""What is asked: by seed, in every dialect, with the fate of each attempt; and a client that reports what it saw."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .dialects import DIALECTS, Dialect
from .faults import CONNECTIONS, FAULTS

WORDS = 48
"""In every answer."""
TOOL = "note"
ATTEMPTS = 6
"""Fates that are drawn for a request; later attempts go well."""
AGAIN = 0.35
"""Probability that the next attempt fails too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request.

    Attributes:
        model: as it stands in the request.
        fates: the fault of each attempt at an upstream, in order.
        places: where in its answer each attempt's fault comes, in [0, 1).
        fault: what the report counts it under: the first attempt's.
        relays: whether the named model has others behind it.
    """

    number: int
    dialect: Dialect
    model: str
    fault: str
    fates: tuple[str, ...]
    places: tuple[float, ...]
    stream: bool
    tools: bool
    relays: bool

    @property
    def text(self) -> str:
        """The whole answer. Every word names its request and its place: nothing can be lost, mixed up or said twice
        unseen; some letters take two bytes."""
        return " ".join(f"{self.number}.{place}{'é' if place % 5 == 4 else ''}" for place in range(WORDS))

    @property
    def call(self) -> Mapping[str, Any] | None:
        """The arguments of the tool call that the answer ends with."""
        return {"request": self.number, "words": self.text} if self.tools else None

    @property
    def harmless(self) -> bool:
        """Whether no attempt of it meets more than an oddity, so that it must be answered whole."""
        return self.fault in FAULTS and all(FAULTS[fate].harmless for fate in self.fates)

    def body(self) -> bytes:
        prompt = f"Write the numbered words. request-{self.number}-end"
        return json.dumps(self.dialect.asked(self.model, prompt, stream=self.stream, tools=self.tools)).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """Which models may be asked for.

    Attributes:
        plain: models with others behind them, by the dialect that is asked (`""`: any).
        alone: the same models without.
        apart: those of providers that play the faults which the gateway remembers.
        connections: fault of `CONNECTIONS` → its models, with others behind them and without.
    """

    plain: Mapping[str, Sequence[str]]
    alone: Mapping[str, Sequence[str]]
    apart: Sequence[str]
    connections: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def of(self, kind: Mapping[str, Sequence[str]], dialect: Dialect) -> Sequence[str]:
        return (*kind.get("", ()), *kind.get(dialect.name, ()))


def asks(count: int, *, seed: int, routes: Routes, first: int = 0, faults: bool = True) -> list[Ask]:
    """Requests by seed: every fault in turn in every dialect, so that each pair comes up as soon as it can.

    Args:
        first: the number of the first.
        faults: whether anything goes wrong; without, all first attempts are right.
    """
    rng = random.Random(seed)  # noqa: S311 - no secret
    dialects = list(DIALECTS.values())
    names = [*FAULTS, *routes.connections] if faults else ["none"]
    weights = [FAULTS[name].weight if name in FAULTS else 0.7 for name in names]
    found = []
    for index in range(count):
        dialect = dialects[(first + index) % len(dialects)]
        # The first round names each fault once, so that a short run meets them all.
        fault = names[index] if index < len(names) else rng.choices(names, weights)[0]
        found.append(_ask(rng, first + index, dialect, fault, routes, faults=faults))
    return found


def _ask(rng: random.Random, number: int, dialect: Dialect, fault: str, routes: Routes, *, faults: bool) -> Ask:
    stream = rng.random() < 0.6 or (fault in FAULTS and FAULTS[fault].streams_only)
    relays = rng.random() < 0.75
    if fault in CONNECTIONS:
        models = routes.connections[fault]
        model = models[0] if relays else models[-1]
    elif fault in FAULTS and FAULTS[fault].apart:
        model = rng.choice(routes.apart)
        relays = True
    elif rng.random() < 0.15:
        model, relays = "auto", True
    else:
        model = rng.choice(routes.of(routes.plain if relays else routes.alone, dialect))
    fates = [] if fault in CONNECTIONS else [fault]
    while faults and len(fates) < ATTEMPTS:
        again = rng.random() < AGAIN and (not fates or fates[0] != "none")
        drawn = rng.choice([name for name, each in FAULTS.items() if not each.apart]) if again else "none"
        fates.append(drawn if stream or drawn not in FAULTS or not FAULTS[drawn].streams_only else "none")
    return Ask(
        number=number,
        dialect=dialect,
        model=model,
        fault=fault,
        fates=tuple(fates),
        places=tuple(rng.random() for _ in fates),
        stream=stream,
        tools=dialect.tools and rng.random() < 0.3,
        relays=relays,
    )


@dataclass(slots=True)
class Seen:
    """What the client of one request saw."""

    status: int = 0
    """0: no answer began."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    whole: bool = False
    """Whether the answer's framing ended as HTTP wants it."""
    late: bool = False
    """Whether the client gave up waiting."""
    seconds: float = 0.0

    @property
    def decision(self) -> str | None:
        return self.headers.get("x-pointsman-decision")


class Client:
    """One connection to a gateway, kept while answers end well."""

    def __init__(self, port: int, *, patience: float) -> None:
        self._port, self._patience = port, patience
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> Seen:
        """One request; whoever is not answered within `patience` seconds leaves."""
        seen = Seen()
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(self._patience):
                await self._exchange(method, path, body, seen)
        except TimeoutError:
            seen.late = True
            self.close()
        except (asyncio.IncompleteReadError, OSError, ValueError):
            self.close()
        seen.seconds = loop.time() - started
        return seen

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, method: str, path: str, body: bytes, seen: Seen) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        reader, writer = self._streams
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        seen.status = int(lines[0].split(" ")[1])
        seen.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}
        if seen.headers.get("transfer-encoding") == "chunked":
            while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
                seen.body += (await reader.readexactly(size + 2))[:size]
            await reader.readexactly(2)
        else:
            seen.body += await reader.readexactly(int(seen.headers.get("content-length", "0")))
        seen.whole = True
        if seen.headers.get("connection") == "close":
            self.close()
