"""What to do while the counters that replicas share cannot be reached."""

from __future__ import annotations

import logging
import time

from pointsman.core.shared import StateUnavailable

log = logging.getLogger(__name__)

QUIET_SECONDS = 60.0


class WhenAway:
    """Lets requests pass unlimited, or refuses them; says so in the log once a minute."""

    def __init__(self, *, open_: bool, what: str) -> None:
        """
        Args:
            open_: whether requests pass.
            what: what is not counted meanwhile, for the log.
        """
        self._open = open_
        self._what = what
        self._told = float("-inf")

    def pass_or_raise(self, error: StateUnavailable) -> None:
        """
        Raises:
            StateUnavailable: requests are to be refused. It says nothing of the store, which is not for every caller.
        """
        now = time.monotonic()
        if now - self._told >= QUIET_SECONDS:
            self._told = now
            does = "requests pass without" if self._open else "requests are refused, as the settings say, without"
            log.warning("%s %s: %s", does, self._what, error.message)
        if not self._open:
            raise StateUnavailable("The gateway cannot count requests now; try again shortly.") from None
