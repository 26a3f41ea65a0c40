"""What was chosen, and why: a value, queued for the log before it is acted on."""

from __future__ import annotations

import os
import time
from typing import Literal

import msgspec

from .signals import Signals


class Candidate(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A model that may be chosen, with what is predicted of it for this request."""

    model: str
    quality: float
    """Predicted probability of success, in [0, 1]."""
    cost_micro_usd: int | None
    """Expected cost of this request in micro-dollars; None when the price is unknown."""
    latency_seconds: float
    """Expected time to the end of the answer."""
    cost_high_micro_usd: int | None = None
    """What it costs at most in nine cases of ten."""
    latency_high_seconds: float | None = None
    """How long it takes at most in nine cases of ten."""
    utility: float
    uncertainty: float = 0.0
    """Standard deviation of what is believed of `quality`; 0 where the policy does not say."""
    effort: str | None = None
    """The reasoning effort that this arm asks the model for; None: as the request says, or the model's own."""
    switching_cost: float = 0.0
    """What leaving the model in use takes from the utility, in probability of success."""
    queue_seconds: float = 0.0
    """Of the expected time, the wait for a slot of its engine."""
    propensity: float = 0.0
    """Probability with which the policy picks this candidate."""


class Dropped(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A model that a hard constraint excluded."""

    model: str
    constraint: str
    """A stable word: privacy, tools, vision, json, logprobs, context, unhealthy, disabled …"""
    detail: str


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Which model answers, in which order others follow, and everything needed to judge the choice later.

    Fields are given by name, but for the first six where every request makes one: beyond fifteen names the interpreter
    builds a dictionary to call with.
    """

    id: str
    created_at: float
    """Seconds since the epoch, UTC."""
    model: str
    """The primary model's id, `provider:name`."""
    plan: tuple[str, ...]
    """The primary and then its fallbacks, in order."""
    mode: Literal["auto", "forced", "hint"]
    requested_model: str
    candidates: tuple[Candidate, ...]
    dropped: tuple[Dropped, ...]
    propensity: float
    policy: str
    """`name@version` of the policy that chose."""
    reasons: tuple[str, ...]
    """Sentences, the most telling first."""
    signals: Signals
    estimated_cost_micro_usd: int | None
    effort: str | None = None
    """The reasoning effort that the chosen arm asks for; None: as the request says, or the model's own."""
    stream: bool = False
    explored: bool = False
    """Whether chance picked another arm than the one of the highest utility."""
    conversation: str = ""
    """Keyed hash of how the conversation began; empty where it cannot be told. Its turns share it."""
    key_id: str | None = None
    """Which API key asked; None for the local user of an open loopback port."""


def new_decision_id(now: float | None = None) -> str:
    """`dec_` and 26 hexadecimal digits: 12 of milliseconds since the epoch, so that ids sort by time, 14 random."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    try:
        drawn = _DRAWN.pop()
    except IndexError:  # one call of the system for many ids
        fresh = os.urandom(7 * 256).hex()
        _DRAWN.extend([fresh[at : at + 14] for at in range(14, len(fresh), 14)])
        drawn = fresh[:14]
    return f"dec_{milliseconds:012x}{drawn}"


_DRAWN: list[str] = []
"""Random parts of ids to come. Emptied in a child of a fork: no two processes may give one id."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_DRAWN.clear)
