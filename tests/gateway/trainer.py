"""The trainer's environment for tests: made once on a machine, where other runs find it too."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from pointsman.core.errors import UpstreamConnectError
from pointsman.learn.programs.environment import TRAINER

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pointsman-tests"


def installed() -> Path:
    """The cache folder that holds it. A quarter of a minute, the first time."""
    try:
        asyncio.run(TRAINER.ensure(CACHE, dict(os.environ)))
    except UpstreamConnectError as error:
        if any(sign in error.message for sign in ("connection", "No matching distribution", "timed out")):
            pytest.skip(f"the package index cannot be reached: {error.message}")
        raise
    return CACHE
