"""What every measurement of the gateway shares, without anything that must be installed for it."""

from __future__ import annotations

import socket

from pointsman.core.errors import PointsmanError


class BenchError(PointsmanError):
    """The benchmark cannot run here."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
