"""One provider, several servers of the same kind: what is told of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec


class InstanceStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One server of a provider, as last seen."""

    url: str
    """As it may be shown to admins."""
    up: bool
    reason: str = ""
    """Why it is not up."""
    models: int = 0
    """How many it has."""
    loaded: tuple[str, ...] = ()
    """Those that it holds in memory; empty where it does not tell."""
    in_flight: int = 0
    """Answers of this process under way there."""
    others: int = 0
    """Requests of others that it had when it was last asked; 0 where it does not tell."""
    slots: int = 1


class Ensured(msgspec.Struct, frozen=True, kw_only=True):
    """A model is at a provider now."""

    status: str = "success"
    model: str
    """`provider:name`."""
    provider: str
    instance: str | None = None
    """Which of the provider's servers has it; None where that is not known."""
    pulled: bool
    """Whether it had to be fetched."""


@runtime_checkable
class Pooled(Protocol):
    """A provider of several servers."""

    name: str
    look_seconds: float
    """How often it wants to be asked for its models: that is when it looks after its servers."""

    def standing(self) -> Sequence[InstanceStanding]:
        """Every server as last seen; nobody is asked."""

    def unavailable(self) -> Mapping[str, str]:
        """Name of a model → why none of the servers that have it can be asked now."""
