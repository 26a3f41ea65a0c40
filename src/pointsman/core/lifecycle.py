"""Where a gateway stands between its start and its end."""

from __future__ import annotations

from .errors import Overloaded


class Stopping(Overloaded):
    """The gateway is stopping; ask again, and another one or the next one will answer."""

    code = "shutting_down"
    retry_after = 1.0


class Lifecycle:
    """Told by whoever runs the gateway, asked by whoever answers.

    Attributes:
        leaving: whether it was told to stop: whoever spreads requests should send none any more.
        ending: whether the time of answers that still run is over.
    """

    __slots__ = ("ending", "leaving")

    def __init__(self) -> None:
        self.leaving = False
        self.ending = False

    def leave(self) -> None:
        self.leaving = True

    def end(self) -> None:
        self.leaving = self.ending = True
