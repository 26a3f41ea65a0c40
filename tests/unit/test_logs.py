"""What the gateway's own log leaves out."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
from collections.abc import Iterator

import pytest

from pointsman import logs

NAMES = ("pointsman", "asyncio", "uvicorn")


@pytest.fixture
def configured() -> Iterator[None]:
    before = [(logger := logging.getLogger(name), logger.handlers, logger.propagate, logger.level) for name in NAMES]
    logs.configure("warning", "text")
    yield
    for logger, handlers, propagate, level in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.parametrize(("error", "told"), [(ssl.SSLError(1, "wrong version number"), False), (OSError(1, "a"), True)])
async def test_a_handshake_that_nobody_waits_for_any_more_is_no_news(configured, capsys, error, told):
    asyncio.get_running_loop().create_future().set_exception(error)
    gc.collect()
    await asyncio.sleep(0)
    assert ("never retrieved" in capsys.readouterr().err) is told
