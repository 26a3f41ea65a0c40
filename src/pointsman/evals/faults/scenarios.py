"""The runs of the bench: what is asked of which upstreams, and what is done to them meanwhile."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .traffic import Ask, Routes, asks
from .upstream import ALONE, MODEL, NOWHERE, PLAIN, POOL, Upstreams, spoken

POOLED = "pool"
"""The provider of several servers."""

Disturb = Callable[[Upstreams, random.Random], Awaitable[None]]
"""What is done to the upstreams until it is cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run.

    Attributes:
        title: what the report calls it.
        told: what happens, in a sentence.
        share: of the requests of the whole bench.
        routes: the models that are asked for.
        settings: of the gateway, beside those of every run.
        label: what its requests are counted under; None: each under its own fault.
        pace: seconds before each frame of an answer; one that is not streamed takes as long as its frames would.
        answers_all: whether a request may never be refused: another server could have answered it.
    """

    title: str
    told: str
    share: float
    routes: Callable[[Upstreams], Routes]
    settings: Callable[[Upstreams], Mapping[str, Any]]
    label: str | None = None
    pace: float = 0.0
    disturb: Disturb | None = None
    answers_all: bool = False

    def asks(self, count: int, upstreams: Upstreams, *, seed: int, first: int) -> list[Ask]:
        """Requests by seed."""
        routes = self.routes(upstreams)
        drawn = asks(count, seed=seed, routes=routes, first=first, faults=self.label is None)
        return [ask if self.label is None else dataclasses.replace(ask, fault=self.label) for ask in drawn]


# Every fault by itself

ANY = {"": ["auto"]}


def _faulty(upstreams: Upstreams) -> dict[str, Any]:
    # Every provider fails at half of its calls here: left to themselves, all would soon be left alone.
    return {"execution": {"breaker": {"enabled": False}}}


def _judged(upstreams: Upstreams) -> dict[str, Any]:
    return {
        "execution": {
            "breaker": {"enabled": False},
            "escalation": {"enabled": True, "threshold": 0.995},
            "hedging": {"enabled": True, "share": 0.9},
        }
    }


# Whole providers, for a while

STORMS = ("500", "429", "429 with Retry-After", "stall before the first byte", "reset behind the first byte")
"""What every answer of a provider is while its outage lasts; that nobody listens is one more kind."""
OUTAGE, BREATH = 0.5, 0.2
"""Seconds that an outage lasts, and between two."""


def _reachable(upstreams: Upstreams) -> dict[str, Any]:
    known = upstreams.providers()
    return {"providers": {name: known[name] for name in known if name not in NOWHERE.values()}}


async def _outages(upstreams: Upstreams, rng: random.Random) -> None:
    """One or two providers at a time, in a way drawn anew."""
    try:
        while True:
            struck = rng.sample(PLAIN, rng.choice((1, 2)))
            ways = [rng.choice((*STORMS, None)) for _ in struck]
            for provider, way in zip(struck, ways, strict=True):
                if way is None:
                    await upstreams.servers[provider].refuse()
                else:
                    upstreams.stage.storms[provider] = way
            await asyncio.sleep(OUTAGE)
            upstreams.stage.storms.clear()
            for provider, way in zip(struck, ways, strict=True):
                if way is None:
                    await upstreams.servers[provider].listen()
            await asyncio.sleep(BREATH)
    finally:
        upstreams.stage.storms.clear()
        await upstreams.all_listen()


# A pool of two servers


async def _kills(upstreams: Upstreams, rng: random.Random) -> None:
    """The first server of the pool is killed and comes back, again and again; the other one stays."""
    killed = upstreams.servers[POOL[0]]
    try:
        while True:
            await asyncio.sleep(rng.uniform(0.3, 0.8))
            await killed.refuse()
            await asyncio.sleep(rng.uniform(0.2, 0.6))
            await killed.listen()
    finally:
        await upstreams.all_listen()


def _pool(upstreams: Upstreams) -> dict[str, Any]:
    # Slots for all, so that nobody waits for one while the other server is away.
    instances = [{"url": upstreams.servers[name].root, "slots": 512} for name in POOL]
    pooled = {"type": "ollama", "instances": instances, "models": [spoken(MODEL), spoken(ALONE)]}
    return {"providers": {POOLED: pooled, "ollama": {"enabled": False}}, "routing": {"exploration": {"share": 0.0}}}


def _pool_routes(upstreams: Upstreams) -> Routes:
    both = {"": [f"{POOLED}:{MODEL}", f"{POOLED}:{ALONE}"]}
    return Routes(plain=both, alone=both, apart=[])


SCENARIOS = (
    Scenario(
        title="Every fault",
        told="Each attempt at an upstream meets a fault that is drawn for it; circuit breakers are off, as every"
        " provider fails at half of its calls.",
        share=0.5,
        routes=Upstreams.routes,
        settings=_faulty,
    ),
    Scenario(
        title="Judged and hedged",
        told="The same with the choice left to the gateway, which judges what cheap models say and asks a better one"
        " where it is not convinced (told as a fallback), and a second one where the first is slow to begin.",
        share=0.15,
        routes=lambda upstreams: Routes(plain=ANY, alone=ANY, apart=["auto"]),
        settings=_judged,
    ),
    Scenario(
        title="Outages",
        told="One or two of five providers at a time fail at everything for a while: nobody listens, or every answer is"
        " a 500, a 429 with or without Retry-After, a stall or a reset in the middle. Circuit breakers are on.",
        share=0.2,
        routes=lambda upstreams: dataclasses.replace(upstreams.routes(), connections={}),
        settings=_reachable,
        label="outage",
        pace=0.02,
        disturb=_outages,
    ),
    Scenario(
        title="A pool whose server is killed",
        told="Two servers of one provider, of which the first is killed and comes back again and again.",
        share=0.15,
        routes=_pool_routes,
        settings=_pool,
        label="killed server",
        pace=0.02,
        disturb=_kills,
        answers_all=True,
    ),
)
