"""A bound on the memory that request bodies take together: each has one of its own, and there may be many at once."""

from __future__ import annotations

from .head import Refusal
from .limits import ServerLimits

SMALL_BODY = 64 * 1024
"""Bytes of a body that is not counted: the bound on connections bounds these."""


class BodyBudget:
    """Bytes of bodies that are being read, or whose requests are being answered."""

    __slots__ = ("_most", "held")

    def __init__(self, limits: ServerLimits) -> None:
        self._most = max(limits.max_body_memory, limits.max_body_bytes)  # one body of the largest size always fits
        self.held = 0

    def take(self, size: int) -> None:
        """Count `size` more bytes.

        Raises:
            Refusal: 503, there is no room for them; they are not counted.
        """
        if self.held + size > self._most:
            raise Refusal(503, "overloaded", "Too many large requests are being answered; try again shortly.")
        self.held += size

    def give_back(self, size: int) -> None:
        self.held -= size
