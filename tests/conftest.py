"""What every test shares."""

from __future__ import annotations

import os

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """In CI a skipped client or engine test is a failure: a missing part must not pass for a tested one."""
    report = yield
    marked = any(item.get_closest_marker(name) for name in ("engine", "client"))
    if report.skipped and marked and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
