"""What a caller asks of the router beside the request itself."""

from __future__ import annotations

from operator import itemgetter
from typing import TypeVar

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import ChatRequest, Priority, PrivacyLevel, RoutingPreferences
from pointsman.pipeline.run import Wishes
from pointsman.transport.http import Headers

Word = TypeVar("Word", bound=str)

LEVELS: tuple[PrivacyLevel, ...] = ("standard", "high", "max")
"""From the most to the least permissive."""
PRIORITIES: tuple[Priority, ...] = ("balanced", "speed", "quality", "privacy", "cost")
MODES = ("auto", "hybrid", "local")
"""Where a request may go: as the policy says; to local models first; to local models alone, as at level max."""
_ASKS = frozenset({b"x-pointsman-privacy", b"x-pointsman-priority", b"x-pointsman-timeout"})
LONGEST = 86_400.0
"""Seconds."""
_NO_WISHES = Wishes()
_name_of = itemgetter(0)


def read_wishes(request: ChatRequest, headers: Headers = ()) -> Wishes:
    """What the caller asks of the router, in headers and in the body's `routing_preferences`.

    Of several privacy levels the strictest holds, whoever named it; of several priorities the body's.

    Raises:
        InvalidRequest: a header, or the mode, with a word that is none of its choices; a floor outside [0, 1].
    """
    preferences = request.params.routing_preferences
    if preferences is None and _ASKS.isdisjoint(map(_name_of, headers)):
        return _NO_WISHES
    asked = [pair for pair in headers if pair[0] in _ASKS]
    levels = _words(asked, "x-pointsman-privacy", LEVELS)
    floor = preferences.quality_floor if preferences is not None else None
    if floor is not None and not 0 <= floor <= 1:
        raise InvalidRequest("Invalid `quality_floor`: a number between 0 and 1 is expected.", param="quality_floor")
    priorities = _words(asked, "x-pointsman-priority", PRIORITIES)
    if preferences is not None:
        if preferences.privacy_level is not None:
            levels.append(preferences.privacy_level)
        if preferences.mode is not None and preferences.mode not in MODES:
            raise InvalidRequest(f"Invalid `mode`: one of {', '.join(MODES)} is expected.", param="mode")
        if preferences.mode == "local":
            levels.append("max")
        wish = _priority(preferences)
        if wish is not None:
            priorities = [wish]
    return Wishes(
        privacy_level=max(levels, key=LEVELS.index, default=None),
        priority=priorities[0] if priorities else None,
        force_provider=preferences.force_provider if preferences is not None else None,
        local_first=preferences is not None and preferences.mode == "hybrid",
        quality_floor=floor,
        explore=preferences is None or preferences.explore is not False,
        escalate=preferences.escalate if preferences is not None else None,
        timeout=_seconds(asked, b"x-pointsman-timeout"),
    )


def _priority(preferences: RoutingPreferences) -> Priority | None:
    """The most telling first: a priority by name, privacy before speed, and a word about speed before a mere yes."""
    if preferences.priority is not None:
        return preferences.priority
    if preferences.prioritize_privacy:
        return "privacy"
    return preferences.latency_preference or ("speed" if preferences.prioritize_speed else None)


def _seconds(headers: Headers, name: bytes) -> float | None:
    """The least number of seconds that a header gives."""
    found: list[float] = []
    for key, value in headers:
        if key == name:
            try:
                seconds = float(value)
            except ValueError:
                seconds = 0.0
            if not 0 < seconds <= LONGEST:
                told = name.decode()
                raise InvalidRequest(f"Invalid header `{told}`: a number of seconds above 0 is expected.", param=told)
            found.append(seconds)
    return min(found, default=None)


def _words(headers: Headers, name: str, choices: tuple[Word, ...]) -> list[Word]:
    """The words that a header holds, wherever it stands; a proxy in front may have added its own."""
    encoded = name.encode()
    found: list[Word] = []
    for key, value in headers:
        if key == encoded:
            for word in value.decode("latin-1").split(","):
                known = next((choice for choice in choices if choice == word.strip().lower()), None)
                if known is None:
                    raise InvalidRequest(
                        f"Invalid header `{name}`: one of {', '.join(choices)} is expected.", param=name
                    )
                found.append(known)
    return found
