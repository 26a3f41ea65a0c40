"""What crosses between the command and the worker that optimises: JSON lines on the worker's standard input and output.

The command sends a `Job`, then an `Answer` to each `Ask`. The worker has no key, no address and no network of its own:
every call of a model is a line to the command, which asks the gateway, counts, and stops it when the calls are spent.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.program import Program

from .metrics import MetricName

Optimizer = Literal["gepa", "mipro", "bootstrap", "grpo"]
Phase = Literal["baseline", "optimise", "score"]


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """The policy that serves, for a router that is to be optimised, and the models that it may choose."""

    cards: tuple[ModelCard, ...]
    kind: str = ""
    """Of a stored policy; empty: the built-in one."""
    artefact: str = ""
    version: str = ""
    learns: bool = True
    """Whether the built-in one is the learned one, not the rules alone."""
    complexity_threshold: float = 0.65


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
    routing: Routing | None = None
    """Judges the program by where it leads requests; None: by the outputs of the examples."""

    @property
    def given(self) -> list[str]:
        """Names of what the student is called with."""
        more = ["signals"] if self.routing is not None else []
        return [field.name for field in self.program.inputs] + more


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
    """Why there is nothing new, or what else there is."""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """It could not be done."""

    reason: str


Event = Ask | Entered | Done | Failed
