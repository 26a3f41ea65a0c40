"""What a failed attempt says of the model that was asked, and of its provider."""

from __future__ import annotations

from enum import Enum

from pointsman.core.errors import (
    CallerKeyRefused,
    CircuitOpen,
    EngineDied,
    EngineError,
    OutOfFiles,
    PointsmanError,
    UpstreamConnectError,
    UpstreamContextTooLong,
    UpstreamError,
    UpstreamLacks,
    UpstreamStatus,
    UpstreamTimeout,
)

NOT_THE_REQUESTS = frozenset({401, 402, 408})
"""Statuses below 500 that are not of the request's own making: our key, our account, a time-out over there."""


class Blame(Enum):
    """What was learned of a model."""

    NOTHING = "nothing"
    SLOW = "slow"
    """It answers, but not as it should; many of these are needed before it is left alone."""
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    """Failed, and its provider could not even be reached."""


def blame(error: PointsmanError) -> Blame:
    """What an error says. Nothing that a caller can bring about with a request, a key or by leaving counts against a
    model, nor what the request's own deadline cut short.

    A 429 with a Retry-After is the throttle's matter. One without says nothing of when it is over, so it counts as a
    slow answer: only where nearly every answer is one is the model left alone.
    """
    if isinstance(error, UpstreamStatus):
        status = error.upstream_status
        if status == 429:
            return Blame.NOTHING if error.retry_after else Blame.SLOW
        return Blame.FAILED if status >= 500 or status in NOT_THE_REQUESTS else Blame.NOTHING
    if isinstance(error, EngineDied):  # one death ends every call under way, and says no more by that
        return Blame.FAILED if error.counts else Blame.NOTHING
    if isinstance(error, EngineError):  # each embedded model has a process of its own
        return Blame.FAILED if error.retry_after is None else Blame.NOTHING  # it is being loaded, and says how long
    if isinstance(error, OutOfFiles):  # our own
        return Blame.NOTHING
    if isinstance(error, UpstreamConnectError):
        return Blame.UNREACHABLE
    if isinstance(error, UpstreamTimeout):
        if error.phase == "total":  # what earlier attempts left of the request's time, or an answer that was long
            return Blame.NOTHING
        return Blame.UNREACHABLE if error.phase == "connect" else Blame.FAILED
    if isinstance(error, UpstreamContextTooLong | UpstreamLacks | CircuitOpen | CallerKeyRefused):
        return Blame.NOTHING
    return Blame.FAILED if isinstance(error, UpstreamError) else Blame.NOTHING
