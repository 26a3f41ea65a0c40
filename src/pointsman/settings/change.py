"""Settings that may be changed while a gateway runs, and their checks: those of the settings file, and one more."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import reduce
from operator import attrgetter, getitem
from typing import Any

import msgspec

from pointsman.core.errors import SettingsError

from .checks import check
from .conversion import choices_of, convert
from .execution_schema import BreakerSettings, EscalationSettings, HedgingSettings
from .schema import Settings

CHANGEABLE: tuple[str, ...] = (
    "routing.policy", "routing.weights", "routing.quality_floor", "routing.priority", "routing.model_names",
    "routing.complexity_threshold", "routing.default_provider",
    "routing.force_provider", "routing.aliases", "routing.fallbacks", "routing.equivalents", "routing.named_stand_ins",
    "routing.intent_model", "routing.intent_timeout",
    "routing.max_attempts", "routing.tier_models", "routing.default_temperature", "routing.default_max_tokens",
    "privacy.level", "execution.retries", "execution.longest_wait", "execution.splice",
    *(f"execution.escalation.{name}" for name in EscalationSettings.__struct_fields__ if name != "model"),
    *(f"execution.hedging.{name}" for name in HedgingSettings.__struct_fields__),
    *(f"execution.breaker.{name}" for name in BreakerSettings.__struct_fields__),
)  # fmt: skip
"""None of them opens a door: no address, file, key, limit or budget, and the privacy level may only be raised."""

SECTIONS = frozenset(name.rpartition(".")[0] for name in CHANGEABLE)
LEVELS = ("standard", "high", "max")
NAMES_PROVIDER = ("routing.default_provider", "routing.force_provider")


def flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The dotted names and values of a tree of changes, `{"routing": {"priority": "speed"}}`.

    Raises:
        SettingsError: a name that may not be changed while a gateway runs; names those that may.
    """
    found = dict(_walk(tree))
    for name in found:
        if name not in CHANGEABLE:
            raise SettingsError(_told(name), "…", f"cannot be changed here; these can: {', '.join(CHANGEABLE)}")
    return found


def _walk(tree: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = before + key  # which may be written dotted
        if name not in CHANGEABLE and isinstance(value, Mapping) and (not before or name in SECTIONS):
            yield from _walk(value, f"{name}.")
        else:
            yield name, value


def changed(base: Settings, changes: Mapping[str, Any], *, providers: Collection[str] | None = None) -> Settings:
    """The settings with changes in place, checked as a file's are. `base` stays as it is.

    Args:
        changes: dotted name → value; null is the default of a setting that may be empty.
        providers: names that a setting which names a provider may have; None: whatever it says.

    Raises:
        SettingsError: naming the key, the value and the mend.
    """
    routing = msgspec.to_builtins(base.routing)
    execution = msgspec.to_builtins(base.execution, enc_hook=str)  # paths
    tree: dict[str, Any] = {"routing": routing, "privacy": {"level": base.privacy.level}, "execution": execution}
    for name, value in changes.items():
        *sections, last = name.split(".")
        reduce(getitem, sections, tree)[last] = value
    read = convert(tree)
    level, least = read.privacy.level, base.privacy.level
    if LEVELS.index(level) < LEVELS.index(least):
        raise SettingsError("privacy.level", level, f"can only be raised here; the settings file says {least}")
    for name in NAMES_PROVIDER:
        wanted = changes.get(name)
        if wanted is not None and providers is not None and wanted not in providers:
            raise SettingsError(name, "…", f"must be one of {', '.join(sorted(providers)) or 'no provider'}, or null")
    settings = msgspec.structs.replace(
        base,
        routing=read.routing,
        privacy=msgspec.structs.replace(base.privacy, level=level),
        execution=read.execution,
    )
    check(settings)
    return settings


def at(settings: Settings, name: str) -> Any:
    """The value of a changeable setting, as JSON has it."""
    return msgspec.to_builtins(attrgetter(name)(settings))


def choices(name: str) -> list[str] | None:
    """The words that a setting may be, where it may only be certain words."""
    return choices_of(name) or None


def _told(name: str) -> str:
    """A name as an error may repeat it: what is not made of plain letters may be anything."""
    fine = len(name) <= 80 and all(part.isidentifier() and part.isascii() for part in name.split("."))
    return name if fine else "a setting"
