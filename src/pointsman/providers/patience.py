"""An upstream's own time-outs."""

from __future__ import annotations

import msgspec

from pointsman.core.ports import Timeouts


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds for each phase of a call, in place of the installation's; None: that one. `total` only shortens: what is
    left of the whole request's time bounds every attempt."""

    connect: float | None = None
    first_byte: float | None = None
    between_bytes: float | None = None
    total: float | None = None

    def with_(self, usual: Timeouts) -> Timeouts:
        """The time-outs of one call."""
        if self == NO_OWN:
            return usual
        return Timeouts(
            connect=usual.connect if self.connect is None else self.connect,
            first_byte=usual.first_byte if self.first_byte is None else self.first_byte,
            between_bytes=usual.between_bytes if self.between_bytes is None else self.between_bytes,
            total=usual.total if self.total is None else min(self.total, usual.total),
        )


NO_OWN = Patience()
