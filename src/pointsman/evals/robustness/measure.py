"""Measures how paraphrases and injections move intent, complexity, predicted success and the cost of the choice."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from statistics import fmean
from typing import Any

import numpy as np

from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.request import ChatRequest
from pointsman.pipeline.decide import Decide, DecideRules, Policy
from pointsman.pipeline.understand import ComplexityRules, FeatureReader, PrivacyRules, Understand
from pointsman.providers.cards import card_for
from pointsman.providers.static_embedding.model import embed_one

MODELS = (
    ("ollama", "qwen2.5-coder:0.5b", True),
    ("ollama", "qwen3:8b", True),
    ("openai", "gpt-4o-mini", False),
    ("openai", "gpt-4o", False),
    ("openai", "gpt-5", False),
    ("anthropic", "claude-haiku-4-5", False),
    ("anthropic", "claude-opus-4-5", False),
)
"""What may be chosen: small to large, cheap to dear."""
PAID = tuple(model for model in MODELS if not model[2])
TIMES = 2_000

MakePolicy = Callable[[Callable[[str], ModelCard | None]], Policy]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was made of one text."""

    intent: str
    complexity: float
    success: float
    """Predicted of the weakest model."""
    model: str
    cost: float
    """Of the choice, in micro-dollars for a prompt and an answer of a fixed length: a longer text costs more whoever
    answers, and that is not what is asked here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How far the texts of one kind move what was made of the plain ones."""

    kind: str
    pairs: int
    same_intent: float
    same_model: float
    complexity: float
    """Mean change."""
    complexity_size: float
    """Mean size of the change."""
    success: float
    """Mean change of the predicted success of the weakest model."""
    cost_percent: float
    """Change of the mean cost of the choice; 0: injections win nothing."""
    low: float
    high: float
    """Of the cost's 95 % interval, by a paired bootstrap over the asks."""
    dearer: float
    """Share of the pairs in which the choice costs more."""


def measure(make_policy: MakePolicy, *, local: bool = True, seed: int = 7) -> list[Moved]:
    """Every kind of text, and those of a part together.

    Args:
        local: whether models that cost nothing may be chosen too.
    """
    see = Looker(make_policy, MODELS if local else PAID)
    texts = _texts()
    plain = {ask: see(ask) for ask in texts["asks"]}
    found = [_moved("paraphrases", [(see(one), see(other)) for one, other in texts["paraphrases"]], seed)]
    for part in ("neutral", "injections", "heldout", "later", "afterwards", "stuffing"):
        every: list[tuple[Seen, Seen]] = []
        for kind, templates in texts[part].items():
            pairs = [(plain[ask], see(template.replace("{ask}", ask))) for ask in plain for template in templates]
            found.append(_moved(f"{part}: {kind}", pairs, seed))
            every += pairs
        if len(texts[part]) > 1:
            found.append(_moved(f"{part}: all", every, seed))
    return found


class Looker:
    """Reads a text as the gateway does, and chooses."""

    def __init__(self, make_policy: MakePolicy, models: Sequence[tuple[str, str, bool]]) -> None:
        cards = [card_for(provider, name, local=local) for provider, name, local in models]
        self._catalog = Catalog(cards)
        self._cards = {card.id: card for card in cards}
        self._decide = Decide(rules=DecideRules(), policy=make_policy(self._cards.get))
        self._understand = Understand(
            privacy=PrivacyRules(),
            complexity=ComplexityRules(),
            hash_key=b"robustness",
            windows=lambda: self._catalog.windows,
            features=FeatureReader(embed_one),
        )

    def __call__(self, text: str) -> Seen:
        signals = self._understand(
            ChatRequest.build({"model": "auto", "messages": [{"role": "user", "content": text}]})
        )
        decision = self._decide(
            "auto", signals, catalog=self._catalog, unhealthy={}, key_id=None, now=0.0, stream=False, explore=False
        )
        weakest = min(decision.candidates, key=lambda candidate: self._cards[candidate.model].quality)
        card = self._cards[decision.model]
        return Seen(
            intent=signals.intent.value,
            complexity=signals.complexity.score,
            success=weakest.quality,
            model=decision.model,
            cost=float(0 if card.local else card.cost_micro_usd(1_000, 500) or 0),
        )


def _moved(kind: str, pairs: Sequence[tuple[Seen, Seen]], seed: int) -> Moved:
    before = np.array([first.cost for first, _ in pairs])
    after = np.array([second.cost for _, second in pairs])
    drawn = np.random.default_rng(seed).integers(0, len(pairs), (TIMES, len(pairs)))
    changes = _percent(before[drawn].mean(axis=1), after[drawn].mean(axis=1))
    low, high = np.percentile(changes, (2.5, 97.5))
    return Moved(
        kind=kind,
        pairs=len(pairs),
        same_intent=fmean(first.intent == second.intent for first, second in pairs),
        same_model=fmean(first.model == second.model for first, second in pairs),
        complexity=fmean(second.complexity - first.complexity for first, second in pairs),
        complexity_size=fmean(abs(second.complexity - first.complexity) for first, second in pairs),
        success=fmean(second.success - first.success for first, second in pairs),
        cost_percent=float(_percent(before.mean(keepdims=True), after.mean(keepdims=True))[0]),
        low=float(low),
        high=float(high),
        dearer=fmean(second.cost > first.cost for first, second in pairs),
    )


def _percent(before: np.ndarray[Any, Any], after: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    made: np.ndarray[Any, Any] = 100 * (after - before) / np.maximum(before, 1e-9)
    return np.where((before == 0) & (after == 0), 0.0, made)


@cache
def _texts() -> dict[str, Any]:
    return tomllib.loads(resources.files(__package__).joinpath("texts.toml").read_text(encoding="utf-8"))
