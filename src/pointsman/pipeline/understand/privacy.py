"""From what was found to what may leave the machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pointsman.core.request import PrivacyLevel
from pointsman.core.signals import Privacy, PrivacyClass

LEVELS: tuple[PrivacyLevel, ...] = ("standard", "high", "max")
"""From the most to the least permissive."""

_LOCAL_ONLY: dict[PrivacyLevel, frozenset[PrivacyClass]] = {
    "standard": frozenset({PrivacyClass.SECRET, PrivacyClass.IDENTITY}),
    "high": frozenset(PrivacyClass),
    "max": frozenset(PrivacyClass),
}


REDACTABLE: dict[PrivacyLevel, frozenset[PrivacyClass]] = {
    "standard": frozenset({PrivacyClass.SECRET, PrivacyClass.IDENTITY}),
    "high": frozenset(),
    "max": frozenset(),
}
"""Classes that, where redaction is on, leave as placeholders rather than stay. At high and max nothing does."""

Fate = Literal["any model", "noted", "redacted", "local only"]
"""What becomes of a request."""


def fate(level: PrivacyLevel, kind: PrivacyClass | None, *, redaction: bool) -> Fate:
    """What becomes of a request in which one class was found, or nothing: the table that the documentation shows."""
    if level == "max":
        return "local only"
    if kind is None:
        return "any model"
    if kind not in _LOCAL_ONLY[level]:
        return "noted"
    return "redacted" if redaction and kind in REDACTABLE[level] else "local only"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyRules:
    """An installation's level and its own sensitive words.

    The level is a floor: a request may ask for a stricter one, never for a laxer one.
    """

    level: PrivacyLevel = "standard"
    sensitive_tokens: tuple[str, ...] = ()


def strictest(*levels: PrivacyLevel | None) -> PrivacyLevel:
    """The strictest of the levels that are given; standard when none is."""
    return max((level for level in levels if level is not None), key=LEVELS.index, default="standard")


NOTHING_FOUND = {level: Privacy(level=level, local_only=level == "max") for level in LEVELS}


def judge(level: PrivacyLevel, detectors: Iterable[str], classes: Mapping[str, PrivacyClass]) -> Privacy:
    """What follows from the detectors that matched.

    Standard keeps secrets and identity numbers on the machine and notes contacts and internal names; high keeps
    every class; max keeps everything, whether or not something was found.
    """
    names = tuple(dict.fromkeys(detectors))
    if not names:
        return NOTHING_FOUND[level]
    found = {classes[name] for name in names}
    return Privacy(
        level=level,
        classes=tuple(kind for kind in PrivacyClass if kind in found),
        detectors=names,
        local_only=level == "max" or not found.isdisjoint(_LOCAL_ONLY[level]),
    )
