"""How well a language model tells intents, asked as serving asks it: of held-out templates, one ask each."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from pointsman.core.errors import PointsmanError
from pointsman.core.events import Body, Event
from pointsman.core.program import Program
from pointsman.core.signals import Intent
from pointsman.evals.privacy.score import Share
from pointsman.learn.intent.asks import Ask, own_asks
from pointsman.pipeline.understand.complexity import ComplexityRules, ComplexityScore
from pointsman.pipeline.understand.features import FeatureReader
from pointsman.pipeline.understand.intent_by_model import UNSURE, asked_plainly, read_chat, read_plain
from pointsman.pipeline.understand.intent_program import INTENT_TOKENS
from pointsman.pipeline.understand.intent_prompt import TOP, prompt, shown
from pointsman.pipeline.understand.reading import Reader
from pointsman.providers.static_embedding.model import embed_one

Post = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""A path and a body to the gateway; its answer. Raises PointsmanError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One way to tell intents. `general` counts as wrong where the label is another."""

    method: str
    asks: int
    right: int
    low: float
    high: float
    """95 % interval of the share (Wilson 1927)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByModel:
    """What came of it."""

    model: str
    form: str
    """`completion`: the next word was asked for; `chat`: the program's form."""
    asks: int
    unsure: int
    """Asks of which rules and classifier were unsure: the only ones that serving asks a model about."""
    no_answer: int
    """Calls that failed or said nothing that could be read."""
    rows: tuple[Told, ...]
    seconds: float
    """The median of a call."""
    seconds_high: float
    """Nine calls of ten were as quick."""


def sample(limit: int, *, seed: int) -> list[Ask]:
    """One ask of each held-out template, at most `limit` of them, drawn by the seed."""
    by_template = {ask.group: ask for ask in own_asks("heldout", seed=seed + 1)}
    asks = [by_template[group] for group in sorted(by_template)]
    random.Random(seed).shuffle(asks)  # noqa: S311 - which asks are taken is no secret
    return asks[:limit]


async def measure_model(
    model: str,
    asks: Sequence[Ask],
    *,
    program: Program,
    capabilities: Collection[str],
    post: Post,
    progress: Callable[[str], None] = lambda line: None,
) -> ByModel:
    """Ask about every ask once: the model alone, and where it has a say beside rules and classifier."""
    plain = asked_plainly(program, capabilities)
    read = Reader(ComplexityScore(ComplexityRules()), FeatureReader(embed_one))
    right = {"rules and classifier": 0, "model": 0, "together": 0}
    among = {"rules and classifier": 0, "together": 0}
    unsure = no_answer = 0
    seconds = []
    for number, ask in enumerate(asks, 1):
        reading = read(ask.text, featured=True)
        started = time.monotonic()
        said = await _say(model, shown(ask.text), program, plain, post)
        seconds.append(time.monotonic() - started)
        no_answer += said is None
        doubted = reading.intent is Intent.GENERAL or reading.confidence < UNSURE
        together = said if doubted and said not in (None, Intent.GENERAL) else reading.intent
        right["rules and classifier"] += reading.intent is ask.intent
        right["model"] += said is ask.intent
        right["together"] += together is ask.intent
        if doubted:
            unsure += 1
            among["rules and classifier"] += reading.intent is ask.intent
            among["together"] += together is ask.intent
        if number % 10 == 0:
            progress(f"{number} of {len(asks)} asks")
    rows = [_told(method, len(asks), count) for method, count in right.items()]
    rows += [_told(f"{method}, of the unsure", unsure, count) for method, count in among.items() if unsure]
    seconds.sort()
    return ByModel(
        model=model,
        form="completion" if plain else "chat",
        asks=len(asks),
        unsure=unsure,
        no_answer=no_answer,
        rows=tuple(rows),
        seconds=seconds[len(seconds) // 2],
        seconds_high=seconds[min(len(seconds) - 1, int(len(seconds) * 0.9))],
    )


async def _say(model: str, message: str, program: Program, plain: bool, post: Post) -> Intent | None:
    if not message:
        return None
    fields: dict[str, Any] = {"model": model, "temperature": 0}
    try:
        if plain:
            asked = {**fields, "prompt": prompt(message), "max_tokens": 1, "logprobs": TOP}
            return read_plain(_events(await post("/v1/completions", asked)))
        asked = {**fields, "messages": program.messages({"message": message}), "max_tokens": INTENT_TOKENS}
        return read_chat(program, _events(await post("/v1/chat/completions", asked)))
    except PointsmanError:
        return None


def _events(answer: Any) -> list[Event]:
    return [Body(msgspec.json.encode(answer))]


def _told(method: str, asks: int, right: int) -> Told:
    low, high = Share(right, asks).interval
    return Told(method=method, asks=asks, right=right, low=low, high=high)
