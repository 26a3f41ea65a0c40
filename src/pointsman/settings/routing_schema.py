"""How models are chosen, and what is learned of them: settings with their defaults."""

from __future__ import annotations

from typing import Literal

import msgspec

from pointsman.core.request import Priority

from .section import Section


class ExplorationSettings(Section):
    """How far models are tried to learn of them. Never with requests that name a model, ask for quality, are at privacy
    level max, or say `routing_preferences.explore: false`."""

    share: float = 0.02
    """Of the requests, at most; 0: never."""
    daily: float = 0.05
    """US dollars a day, in each process, that tries may be expected to cost beyond the models thought best."""


class DevelopmentSettings(Section):
    """Development mode: requests stay with local models, but for those that ask for more."""

    enabled: bool = False
    allow: list[str] = msgspec.field(default_factory=list)
    """Regular expressions (RE2, any case): a request whose last ask matches one may go to the cloud."""
    cloud_requests_per_day: int | None = None
    """Attempts at remote models that all callers may make together in a day (UTC); None: as many as match."""
    cloud_tokens_per_day: int | None = None
    """Tokens in and out that these may take."""


class Routing(Section):
    """How a model is chosen."""

    policy: Literal["learned", "rules"] = "learned"
    """The built-in policy that serves where none is promoted: one that learns from outcomes, or rules alone."""
    priority: Priority = "balanced"
    weights: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    """Per priority: what costs (cost), seconds (latency), leaving the machine (remote) and hard requests (hard) weigh,
    and how much success is enough (enough), where that differs from what is built in."""
    quality_floor: float | None = None
    """The cheapest model whose success is at most so far below the best model's, with 95 % confidence, answers; 0.02 is
    two points. A promise on the average of the traffic. None: the weights decide."""
    exploration: ExplorationSettings = msgspec.field(default_factory=ExplorationSettings)
    development: DevelopmentSettings = msgspec.field(default_factory=DevelopmentSettings)
    intent_model: str | None = None
    """A model's id: it is asked what a message wants where a model is to be chosen and rules and classifier are unsure.
    None: nobody is. Private requests are shown to it only where it is local."""
    intent_timeout: float = 1.5
    """Seconds that it may take; then the word of rules and classifier holds."""
    intent_micro_usd_per_day: int = 0
    """What asking it may cost a day (UTC), in millionths of a US dollar; 0: it is asked only if it costs nothing."""
    model_names: Literal["override", "hint"] = "override"
    """Whether a known model name in a request forces that model or only prefers it. `provider:model` always forces."""
    complexity_threshold: float = 0.65
    complexity_weights: list[float] = msgspec.field(default_factory=lambda: [0.3, 0.4, 0.3])
    """Of length, specialised terms and structure."""
    default_provider: str | None = None
    """Preferred among candidates of equal utility."""
    force_provider: str | None = None
    """Only this provider's models may be chosen (FORCE_OLLAMA, FORCE_OPENAI)."""
    aliases: dict[str, str] = msgspec.field(default_factory=dict)
    """Your own names for models: `fast: embedded:smollm2:135m`."""
    fallbacks: dict[str, list[str]] = msgspec.field(default_factory=dict)
    """Per model id: which models follow when it fails, in order. Others get a chain by utility."""
    equivalents: dict[str, list[str]] = msgspec.field(default_factory=dict)
    """Per model id or name: models that stand in for it in an outage, best first, in place of those that its card
    knows; an empty list: none."""
    named_stand_ins: bool = False
    """Whether an equivalent answers when a model that the request names cannot. Otherwise only routing.fallbacks
    does."""
    max_attempts: int = 4
    choose_effort: bool = False
    """Whether reasoning models are also tried at a lower and a higher effort than their own, where a request does not
    name one: an arm is then a model with an effort."""
    tier_models: dict[str, dict[str, list[str]]] = msgspec.field(default_factory=dict)
    """Budget tier (high, medium, low) → intent (or `*`) → models to choose from, when one of them can do it."""
    embedding_model: str = "embedded:static-minilm-v1"
    """Embeds the texts of callers that name no model, or `auto`. Vectors of two models cannot be compared: after a
    change what is stored must be embedded anew."""
    default_temperature: float | None = None
    default_max_tokens: int | None = None


class RewardSettings(Section):
    """What an answer was worth: success − cost_factor × dollars − latency_penalty × seconds."""

    cost_factor: float = 30.0
    """Per US dollar: at 30, a good answer is worth about three cents."""
    latency_penalty: float = 0.004
    """Per second: at 0.004, a good answer is worth about four minutes."""


class JudgeSettings(Section):
    """A model that judges a sample of the answers. Private requests are never shown to it."""

    share: float = 0.0
    """Of the answers whose requests hold nothing private; 0: none."""
    model: str | None = None
    """Who judges: a model's id."""
    micro_usd_per_day: int = 100_000
    """What judging may cost a day (UTC), in millionths of a US dollar."""


class LearningSettings(Section):
    """What is learned from outcomes while the gateway runs."""

    window_days: float = 90.0
    """Outcomes of older requests no longer count; of younger ones the latest 20,000 do."""
    key_share: float = 0.5
    """Of what is learned of a model, how much one API key may say once several do; 1: no bound."""
    implicit: bool = True
    """Whether what callers do next (a complaint, a retry, a tool's result) is noted as a sign of how good an answer
    was. It counts only as far as it agrees with feedback."""
    reward: RewardSettings = msgspec.field(default_factory=RewardSettings)
    judge: JudgeSettings = msgspec.field(default_factory=JudgeSettings)
