"""What every test shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from services import Postgres, Valkey

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""As the command has it: several processes of tests, each with as many threads as the machine has, only wait."""
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")
"""How long one example takes says nothing while other tests run beside it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs a model has the machine to itself."""
    for item in items:
        if item.get_closest_marker("engine"):
            item.add_marker(pytest.mark.alone)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """In CI a skipped client or engine test is a failure: a missing part must not pass for a tested one."""
    report = yield
    marked = any(item.get_closest_marker(name) for name in ("engine", "client"))
    if report.skipped and marked and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A Postgres server for the whole session; a test that kills it takes one of its own (`services.postgres()`)."""
    from services import postgres

    with postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """A database of this test's own, at the newest schema."""
    url = postgres_server.migrated()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def empty_postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """A database of this test's own, without a table."""
    url = postgres_server.url(postgres_server.fresh())
    yield url
    postgres_server.drop(url)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Valkey]:
    """A Valkey server for the whole session; a test that kills it takes one of its own (`services.valkey()`). Take a
    `prefix` of your own, such as a fresh uuid."""
    from services import valkey

    with valkey() as server:
        yield server
