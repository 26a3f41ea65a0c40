"""What it costs to leave the model that a conversation is with.

Three things speak for staying. The provider's prompt cache holds the turns so far, so the model in use is reckoned
with cached tokens at their own price, and with less to read. A local model that was not used of late must be loaded.
And a change in mid-work costs an agent its bearings: going up to a model that is likelier to succeed is cheap, going
down is not, least of all between a tool call and what follows it.

One thing speaks for leaving: an agent that is stuck. What the model in use failed at so often it will likely fail at
again, and so will a weaker one. Going up is then free, and those that failed stay behind for some turns.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.signals import Needs, Signals

from .predict import Arm
from .speed import latency
from .threads import InUse, Place

CACHE_SECONDS = 300.0
"""How long providers keep a prompt, unless more is asked for; the default of Anthropic, the least of OpenAI."""
LEAST_CACHED = 1_024
"""Tokens below which the large providers cache nothing."""
LOADED_SECONDS = 300.0
"""How long a local server keeps a model that nobody asks; Ollama's default."""
UP, DOWN = 0.01, 0.06
"""What a change to a likelier model, or to another, takes from its utility, in probability of success. Judgement."""
MID_WORK = 2.0
"""What these are multiplied with while a tool's result waits to be read."""
STUCK = 0.7
"""Share of its success that a model keeps which the agent was stuck with, or which is no likelier to succeed than that
one. Judgement, until outcomes say more: the stage is among the features that deviations are learned over."""


def weigh_switch(arms: Sequence[Arm], signals: Signals, place: Place) -> list[Arm]:
    """The arms as they look from the middle of the conversation, in the same order."""
    in_use = place.in_use
    needs = signals.needs
    if in_use is None:
        return [arm if arm.card.load_seconds is None else _moved(arm, place, 0.0) for arm in arms]
    with_it = next((arm for arm in arms if arm.card.id == in_use.model), None)
    stuck = signals.conversation.stage == "stuck"
    failed = (*place.failed, in_use.model) if stuck else place.failed
    # What the strongest of those that failed was thought to be able to.
    vain = max((arm.quality for arm in arms if arm.card.id in failed), default=-1.0) if failed else -1.0
    waiting = MID_WORK if signals.conversation.awaiting_tool_result else 1.0
    seen = []
    for arm in arms:
        unlikely = arm.quality <= vain
        if arm.card.id == in_use.model:
            arm = _stay(arm, needs, in_use, place.now)
        elif with_it is None:
            arm = _moved(arm, place, 0.0)
        elif arm.quality > with_it.quality:
            arm = _moved(arm, place, 0.0 if stuck else UP * waiting)
        else:
            arm = _moved(arm, place, DOWN * waiting)
        if unlikely:
            arm = msgspec.structs.replace(arm, quality=arm.quality * STUCK, ability=arm.ability * STUCK)
        seen.append(arm)
    return seen


def _moved(arm: Arm, place: Place, cost: float) -> Arm:
    """An arm that is not in use, with what it takes to go over to it."""
    seconds = arm.card.load_seconds
    if seconds is None or place.idle(arm.card.id) <= LOADED_SECONDS:
        if not cost:
            return arm
        seconds = 0.0
    return msgspec.structs.replace(arm, latency_seconds=arm.latency_seconds + seconds, switching_cost=cost)


def _stay(arm: Arm, needs: Needs, in_use: InUse, now: float) -> Arm:
    """The arm in use, with what its cache saves."""
    card = arm.card
    held = min(in_use.prompt_tokens, needs.prompt_tokens)
    if now - in_use.at > CACHE_SECONDS or (not card.local and held < LEAST_CACHED):
        return arm
    read = needs.prompt_tokens - held
    before = latency(card, needs.prompt_tokens, arm.output_tokens)
    after = latency(card, read, arm.output_tokens)
    saved = _saved_micro_usd(card, needs, held)
    return msgspec.structs.replace(
        arm,
        cost_micro_usd=None if arm.cost_micro_usd is None else max(0, arm.cost_micro_usd - saved),
        weighed_micro_usd=max(0, arm.weighed_micro_usd - saved),
        latency_seconds=arm.latency_seconds * after / before,
    )


def _saved_micro_usd(card: ModelCard, needs: Needs, held: int) -> int:
    """What so many cached tokens save; nothing where the provider caches only what is marked, and nothing is."""
    explicit = card.cache_write_percent != (100, 100) and not card.writes_unasked
    if explicit and not needs.cache_marks:
        return 0
    full = card.cost_micro_usd(needs.prompt_tokens, 0)
    cached = card.cost_micro_usd(needs.prompt_tokens, 0, held)
    return 0 if full is None or cached is None else max(0, full - cached)
