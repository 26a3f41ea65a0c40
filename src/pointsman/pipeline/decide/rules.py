"""The settings of the stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideRules:
    """The settings of the stage. Aliases come with the catalog, the priority with the signals."""

    model_names: Literal["override", "hint"] = "override"
    force_provider: str | None = None
    default_provider: str | None = None
    fallbacks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Model id or name → those that follow when it fails, in order."""
    equivalents: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Model id or name → those that stand in for it in an outage, in place of what its card says."""
    named_stand_ins: bool = False
    """Whether they do so for a model that the request names too."""
    max_attempts: int = 4
    tier_models: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    """Budget tier → intent or `*` → models to choose from, when one of them can do it."""
    complexity_threshold: float = 0.65
    """For the explanation; the policy has its own."""
    development: bool = False
    """Whether requests stay with local models unless their ask matches a pattern (`Signals.cloud_asked`)."""
    choose_effort: bool = False
    """Whether models that think are also tried at other efforts, where a request does not name one."""
    embedding_model: str = ""
    """Embeds the texts of callers that name no model; empty: they are refused."""
    quality_floor: float | None = None
    """How far below the best model's success a choice may lie, for requests that do not say; None: as weights say."""
