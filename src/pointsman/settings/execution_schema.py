"""How a plan is carried out: settings with their defaults."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pointsman.core.request import Priority

from .section import Section


class BreakerSettings(Section):
    """When a model that fails is left alone. A provider is, when nobody can reach it or several of its models fail."""

    enabled: bool = True
    window: float = 60.0
    """Seconds of which the calls count."""
    min_errors: int = 5
    """Fewer failures in the window say nothing."""
    error_rate: float = 0.5
    """Share of the calls in the window that failed: connecting, with a status of 500 or more or one that refuses our
    key, by a time-out, in the middle of the answer."""
    slow_rate: float = 0.9
    """Share of the calls that failed, were slow, or met a 429 that names no time to wait."""
    slow_factor: float = 5.0
    """How many times the model's usual time to the first byte (95th percentile) is slow."""
    slow_seconds: float = 10.0
    """What begins sooner is never slow by that."""
    slow_beyond: float | None = None
    """Seconds to the first byte that are slow for every model; None: that depends on the model."""
    connect_errors: int = 3
    """Calls in a row that could not reach a provider: all of its models are left alone."""
    open_seconds: float = 5.0
    """How long it is left alone the first time; doubled with each probe that fails."""
    max_open_seconds: float = 300.0
    probes: int = 2
    """Calls that may then try it at the same time, and how many must go well before all may."""
    probe_seconds: float = 30.0
    """After which a probe that has not ended keeps no other from trying."""


class EscalationSettings(Section):
    """Whether a cheap model's answer is judged before it is told, and a stronger model takes over where it is not
    convincing. Off, because a stream then begins later."""

    enabled: bool = False
    priorities: list[Priority] = msgspec.field(default_factory=list)
    """Requests of these priorities are judged although it is not enabled. `routing_preferences.escalate` says it for
    one request."""
    share: float = 0.3
    """Of the answers, at most, that are escalated, as far as those tell that confidence was learned from."""
    threshold: float | None = None
    """The probability of a good answer below which a stronger model is asked, in place of `share`."""
    hold_tokens: int = 48
    """Tokens of a stream that are held back at most while it is judged."""
    hold_seconds: float = 4.0
    """Seconds for which they are held back at most."""
    model: Path | None = None
    """A file that `pointsman eval confidence --fit` wrote, by which answers are judged; null: by what was learned from
    small models. It is read at the start."""


class HedgingSettings(Section):
    """Whether a second model is asked when the first takes longer to begin than in 19 of 20 cases; who begins first
    answers, and the other is cancelled. What was cancelled may be billed."""

    enabled: bool = False
    most_micro_usd: int = 2000
    """What the second is expected to cost, at most, in millionths of a US dollar."""
    share: float = 0.05
    """Of the requests, at most."""


class Execution(Section):
    """How a plan is carried out: what is tried again, and what another model goes on with."""

    retries: int = 1
    """How often the same model is asked again, after a pause, where that can help."""
    longest_wait: float = 10.0
    """Seconds that an upstream may ask us to wait while a caller waits; longer, and its error is told."""
    splice: bool = True
    """Whether another model goes on with a stream that broke off, where it left off. Tool calls are then told when they
    are whole."""
    escalation: EscalationSettings = msgspec.field(default_factory=EscalationSettings)
    hedging: HedgingSettings = msgspec.field(default_factory=HedgingSettings)
    breaker: BreakerSettings = msgspec.field(default_factory=BreakerSettings)
