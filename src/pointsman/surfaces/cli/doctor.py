"""`pointsman doctor`: check every part, and say how to mend what is broken."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import click

from .invocation import Invocation, run, with_invocation
from .output import console, print_json, styled

if TYPE_CHECKING:
    from rich.console import Console

    from .checks import Finding

MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "broken": ("✗", "bold red")}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quick", is_flag=True, help="Leave out what takes seconds: hashes of weights, a start of the engine.")
@with_invocation
def doctor(invocation: Invocation, as_json: bool, quick: bool) -> None:
    """Check every part and say how to mend what is broken. Exit code 1 when something is."""
    findings = run(_examine(invocation, quick=quick, shown=None if as_json else console()))
    if as_json:
        ok = all(finding.status != "broken" for finding in findings)
        print_json({"ok": ok, "findings": findings})
    if any(finding.status == "broken" for finding in findings):
        sys.exit(1)


async def _examine(invocation: Invocation, *, quick: bool, shown: Console | None) -> list[Finding]:
    """Every finding; each is shown as it comes, for some take seconds."""
    findings = []
    async for finding in _findings(invocation, quick=quick):
        findings.append(finding)
        if shown is not None:
            _show(shown, finding)
    if shown is not None:
        count = sum(finding.status == "broken" for finding in findings)
        shown.print(styled(f"\n{count} broken" if count else "\nEverything that was looked at works.", "bold"))
    return findings


async def _findings(invocation: Invocation, *, quick: bool) -> AsyncIterator[Finding]:
    from pointsman.transport.pool import Pool

    from . import checks, checks_engine, checks_network

    for check in (checks.python, checks.packages, checks.terminal, checks.environment):
        for finding in check():
            yield finding
    settings, found = checks.settings_file(invocation)
    for finding in found:
        yield finding
    if settings is None:
        return
    for finding in [
        *checks.folder("Data folder", settings.data_dir, "POINTSMAN_DATA_DIR"),
        *checks.folder("Cache folder", settings.cache_dir, "POINTSMAN_CACHE_DIR"),
        *(checks.store(settings.database_path) if settings.database.url is None else ()),
        *await checks.database(settings),
        *(await checks_engine.names(settings) if settings.privacy.named_entities else ()),
    ]:
        yield finding
    yield await checks_network.shared_state(settings)
    yield await checks_network.gateway(invocation, settings)
    pool = Pool()
    try:
        async for finding in checks_network.providers(settings, pool):
            yield finding
        if not quick:
            async for finding in checks_engine.embedded(settings, pool):
                yield finding
    finally:
        await pool.close()


def _show(out: Console, finding: Finding) -> None:
    mark, style = MARKS[finding.status]
    line = styled(f"{mark} ", style).append_text(styled(f"{finding.part}: ", "bold"))
    out.print(line.append_text(styled(finding.detail)))
    if finding.mend:
        out.print(styled(f"  → {finding.mend}", style.removeprefix("bold ")))
