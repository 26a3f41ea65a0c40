"""Who serves gives other threads short turns; who runs a command leaves the interpreter as it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from pointsman.surfaces.cli.invocation import TURN, run


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


async def _turn() -> float:
    return sys.getswitchinterval()


def test_who_serves_waits_shortly_for_the_interpreter() -> None:
    assert run(_turn(), serving=True) == pytest.approx(TURN)


def test_a_command_leaves_the_turns_as_they_are() -> None:
    before = sys.getswitchinterval()
    assert run(_turn()) == before != TURN
