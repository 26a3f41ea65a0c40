"""What crosses between the command and the worker that optimises: JSON lines on the worker's standard input and output.

The command sends a `Job`, then an `Answer` to each `Ask`. The worker has no key, no address and no network of its own:
every call of a model is a line to the command, which asks the gateway, counts, and stops it when the calls are spent.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pointsman.core.program import Program

from .metrics import MetricName

Optimizer = Literal["gepa", "mipro", "bootstrap", "grpo"]
Phase = Literal["baseline", "optimise", "score"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to optimise, with what."""

    program: Program
    """Where to begin from: what serves now."""
    metric: MetricName
    optimizer: Optimizer
    train: tuple[dict[str, str], ...]
    held_out: tuple[dict[str, str], ...]
    calls: int
    """Of the model, in all."""
    max_tokens: int
    """Of an answer of the step."""
    seed: int = 0
    model: str = ""


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag="ask"):
    """A call of the model."""

    messages: list[dict[str, str]]
    temperature: float | None = None
    max_tokens: int | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a call: its text, or why there is none."""

    text: str | None = None
    error: str = ""
    model: str = ""


class Entered(msgspec.Struct, frozen=True, kw_only=True, tag="phase"):
    """The worker goes on to another part of its work."""

    phase: Phase


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """What came of it."""

    baseline: tuple[float, ...]
    """The score of each held-out example."""
    optimised: tuple[float, ...] = ()
    """The same of what the optimiser made; empty where it made nothing new."""
    program: Program | None = None
    state: dict[str, Any] = {}
    """DSPy's own, of what the optimiser made."""
    told: str = ""
    """Why there is nothing new."""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """It could not be done."""

    reason: str


Event = Ask | Entered | Done | Failed
