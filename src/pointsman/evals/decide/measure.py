"""Processor time and memory of understanding a prompt and deciding, by part."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median, quantiles
from typing import TypeVar

import msgspec

from pointsman.core.budget import AMPLE
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.request import ChatRequest
from pointsman.core.signals import Signals
from pointsman.pipeline.decide import Decide, DecideRules, Explorer, Policy
from pointsman.pipeline.decide.candidates import part
from pointsman.pipeline.decide.constraints import Demand
from pointsman.pipeline.decide.predict import predict
from pointsman.pipeline.understand import ComplexityRules, FeatureReader, PrivacyRules, Understand
from pointsman.pipeline.understand.ask import find_ask
from pointsman.pipeline.understand.complexity import ComplexityScore
from pointsman.pipeline.understand.intent import IntentRules
from pointsman.pipeline.understand.intent_model import read_intent
from pointsman.providers.cards import card_for, known_models
from pointsman.providers.static_embedding.model import embed_one

from .prompts import prompts

SIZES = (200, 2_000, 20_000)
CATALOGS = (3, 10, 40)
WARM = 100
"""Prompts before the clock runs: tables are read, patterns compiled, common words met."""
WEIGHED = 25
"""Decisions of which the memory is watched."""

MakePolicy = Callable[[Callable[[str], ModelCard | None]], Policy]
"""A policy for a catalog, of which it may ask a card."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Milliseconds of processor time of one part, or of their sum for one prompt."""

    part: str
    median: float
    p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    bytes: int
    models: int
    policy: str
    prompts: int
    parts: tuple[Cost, ...]
    """Of prompts that were never seen before. `total` is what features and decision take together: `ask` to
    `features`, and `decide`, in the order in which they serve. `candidates` and `policy`, which are parts of `decide`,
    and `understand`, the whole stage with the search for private content, are measured on other prompts."""
    remembered: tuple[Cost, ...]
    """Of prompts that were seen before: `understand`, `decide`, and their `total`."""
    peak_kib: float
    """Memory that a fresh prompt's understanding and decision hold at the most, the median."""


def measure(
    make_policy: MakePolicy,
    *,
    sizes: Sequence[int] = SIZES,
    catalogs: Sequence[int] = CATALOGS,
    count: int = 300,
    seed: int = 7,
    explorer: Callable[[], Explorer] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Measure every size with every catalog.

    Args:
        catalogs: how many models may be chosen from: the first of the table of known ones.
        count: prompts of each size, all different.
        explorer: what lets a policy explore, as it does when it serves; None: it may not.
    """
    return [
        _measure(make_policy, size, models, count, seed, explorer, progress) for size in sizes for models in catalogs
    ]


def catalog_of(models: int) -> Catalog:
    """The first known chat models by name, every third of them local."""
    cards: list[ModelCard] = []
    for name in sorted(known_models()):
        local = len(cards) % 3 == 0
        card = card_for("ollama" if local else "openai", name, local=local)
        if card.routable and "chat" in card.capabilities:
            cards.append(card)
        if len(cards) == models:
            return Catalog(cards)
    raise ValueError(f"the table knows {len(cards)} chat models, not {models}")


def _measure(
    make_policy: MakePolicy,
    size: int,
    models: int,
    count: int,
    seed: int,
    explorer: Callable[[], Explorer] | None,
    progress: Callable[[str], None],
) -> Row:
    progress(f"{size:,} bytes, {models} models")
    catalog = catalog_of(models)
    cards = {card.id: card for card in catalog}
    policy = make_policy(cards.get)
    decide = Decide(rules=DecideRules(), policy=policy, explorer=explorer() if explorer is not None else None)
    understand = Understand(
        privacy=PrivacyRules(),
        complexity=ComplexityRules(),
        hash_key=b"bench",
        windows=lambda: catalog.windows,
        features=FeatureReader(embed_one),
    )
    rules, score, read = IntentRules(), ComplexityScore(ComplexityRules()), FeatureReader(embed_one)
    spent: dict[str, list[int]] = {}

    def timed(name: str, call: Callable[[], T]) -> T:
        start = time.thread_time_ns()
        made = call()
        spent.setdefault(name, []).append(time.thread_time_ns() - start)
        return made

    def choose(signals: Signals) -> None:
        decide("auto", signals, catalog=catalog, unhealthy={}, key_id=None, now=time.time(), stream=False, means=AMPLE)

    stream = prompts(size, seed=seed)
    usual = understand(_request(next(stream)))

    def one(text: str) -> None:
        ask = timed("ask", lambda: find_ask(text))
        complexity = timed("complexity", lambda: score(ask))
        features = timed("features", lambda: read(ask, complexity))
        intent, confidence = timed("intent", lambda: read_intent(features, rules.weigh(ask)))
        signals = msgspec.structs.replace(
            usual, intent=intent, intent_confidence=confidence, complexity=complexity, features=features
        )
        timed("decide", lambda: choose(signals))

    def whole(text: str) -> None:
        signals = timed("understand", lambda: understand(_request(text)))
        demand = Demand(needs=signals.needs, privacy=signals.privacy, unhealthy={}, means=AMPLE, now=0.0)
        arms = timed("candidates", lambda: predict(part(catalog, demand).kept, signals))
        timed("policy", lambda: policy.rank(arms, signals))

    for call in (one, whole):
        for text in islice(stream, WARM):
            call(text)
    spent.clear()
    # Each prompt is read once: what was just read stands in the processor's caches.
    for text in islice(stream, count):
        one(text)
    texts = list(islice(stream, count))
    for text in texts:
        whole(text)
    spent["total"] = _sums(spent, ("ask", "intent", "complexity", "features", "decide"))
    fresh = _costs(
        spent, ("ask", "intent", "complexity", "features", "candidates", "policy", "decide", "total", "understand")
    )
    spent.clear()
    requests = [_request(text) for text in texts]
    for request in requests:
        signals = timed("understand", lambda request=request: understand(request))  # type: ignore[misc]  # bound at once
        timed("decide", lambda signals=signals: choose(signals))  # type: ignore[misc]  # bound at once
    spent["total"] = _sums(spent, ("understand", "decide"))
    return Row(
        bytes=size,
        models=models,
        policy=policy.version,
        prompts=count,
        parts=fresh,
        remembered=_costs(spent, ("understand", "decide", "total")),
        peak_kib=_peak(islice(stream, WEIGHED), lambda request: choose(understand(request))),
    )


def _request(text: str) -> ChatRequest:
    return ChatRequest.build({"model": "auto", "messages": [{"role": "user", "content": text}]})


def _sums(spent: dict[str, list[int]], parts: Sequence[str]) -> list[int]:
    return [sum(row) for row in zip(*(spent[name] for name in parts), strict=True)]


def _costs(spent: dict[str, list[int]], parts: Sequence[str]) -> tuple[Cost, ...]:
    return tuple(
        Cost(part=name, median=median(spent[name]) / 1e6, p95=quantiles(spent[name], n=20)[-1] / 1e6) for name in parts
    )


def _peak(texts: Iterable[str], call: Callable[[ChatRequest], None]) -> float:
    found = []
    tracemalloc.start()
    try:
        for text in texts:
            request = _request(text)
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            call(request)
            found.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    return median(found) / 1024
