"""Which models suit a use in general: the constraints, predictions and policy of a request, for one that is made up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from pointsman.core.caller import Caller
from pointsman.core.catalog import ModelCard
from pointsman.core.decision import Candidate
from pointsman.core.request import Priority
from pointsman.core.signals import Complexity, Conversation, Intent, Needs, Privacy, Signals

from .candidates import part
from .constraints import Demand
from .explain import expected
from .policy import Policy
from .predict import TYPICAL, predict

TIERS: Mapping[str, Priority] = MappingProxyType(
    {
        "high": "quality", "quality": "quality",
        "medium": "balanced", "balanced": "balanced",
        "low": "cost", "cost": "cost",
        "fast": "speed", "speed": "speed",
    }
)  # fmt: skip
"""Word for a performance tier → the routing priority that it stands for."""
PROMPT, ANSWER = 600, 400
"""Tokens of a made-up request."""
LONG = 100_000
GOOD = 0.65
"""The prior success from which on a model is recommended for an intent."""


class Use(NamedTuple):
    """What a use takes."""

    intent: Intent
    needs: Needs
    private: bool = False


def _needs(*, prompt: int = PROMPT, tools: bool = False, vision: bool = False, json_schema: bool = False) -> Needs:
    return Needs(
        tools=tools, vision=vision, json_schema=json_schema, prompt_tokens=prompt, prompt_tokens_low=prompt,
        prompt_tokens_high=prompt, prompt_tokens_most=prompt, expected_output=ANSWER,
    )  # fmt: skip


USES: Mapping[str, Use] = MappingProxyType(
    {
        **{intent.value: Use(intent, _needs()) for intent in Intent},
        "coding": Use(Intent.REFACTORING, _needs()),
        "debugging": Use(Intent.ERROR_ANALYSIS, _needs()),
        "chat": Use(Intent.CONVERSATION, _needs()),
        "writing": Use(Intent.CREATIVE, _needs()),
        "agent": Use(Intent.REFACTORING, _needs(tools=True)),
        "tools": Use(Intent.GENERAL, _needs(tools=True)),
        "vision": Use(Intent.GENERAL, _needs(vision=True)),
        "structured_output": Use(Intent.GENERAL, _needs(json_schema=True)),
        "long_context": Use(Intent.SUMMARIZATION, _needs(prompt=LONG)),
        "private": Use(Intent.GENERAL, _needs(), private=True),
    }
)
"""Every intent, and what people also call their work."""


class Recommended(NamedTuple):
    card: ModelCard
    expected: Candidate
    why: str


def recommend(
    cards: Iterable[ModelCard],
    use: Use,
    priority: Priority,
    *,
    policy: Policy,
    unhealthy: Mapping[str, str],
    caller: Caller | None = None,
) -> list[Recommended]:
    """The models that can do it, the most fitting first: as the policy would rank them for an everyday request.

    Args:
        caller: who asks; a key may be confined to some models.
    """
    privacy = Privacy(level="max", local_only=True) if use.private else Privacy()
    confined = caller if caller is not None and caller.scopes.models else None
    kept, _ = part(cards, Demand(needs=use.needs, privacy=privacy, unhealthy=unhealthy, caller=confined))
    if not kept:
        return []
    signals = Signals(
        intent=use.intent,
        complexity=Complexity(score=TYPICAL, length=TYPICAL, terms=TYPICAL, structure=TYPICAL),
        privacy=privacy,
        needs=use.needs,
        conversation=Conversation(),
        priority=priority,
    )
    known = {card.id: card for card in kept}
    ranked = policy.rank(predict(kept, signals), signals)
    strongest = max(ranked, key=lambda candidate: candidate.quality).model
    return [
        Recommended(known[one.model], one, _why(known[one.model], one, use, strongest=one.model == strongest))
        for one in ranked
    ]


def _why(card: ModelCard, candidate: Candidate, use: Use, *, strongest: bool) -> str:
    said = [f"{expected(candidate)} for an everyday request of {use.intent.value}"]
    if strongest:
        said.append("the strongest that can do it")
    if card.local:
        said.append("on this machine")
    if card.strengths:
        said.append(f"known for {', '.join(card.strengths)}")
    return "; ".join(said) + "."


def recommended_uses(card: ModelCard) -> list[str]:
    """Intents that a model is good for by its prior: at least `GOOD`, or else what it is best at."""
    if "chat" not in card.capabilities:
        return sorted(card.capabilities)
    priors = {intent.value: card.qualities.get(intent.value, card.quality) for intent in Intent}
    best = max(priors.values())
    return [intent for intent, prior in priors.items() if prior >= min(GOOD, best)]
