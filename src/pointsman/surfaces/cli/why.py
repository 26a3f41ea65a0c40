"""`pointsman why`: one decision, explained."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pointsman.core.errors import NotFound

from .invocation import Invocation, run, with_invocation
from .output import console, print_json

if TYPE_CHECKING:
    from pointsman.settings import Settings


@click.command()
@click.argument("id", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
@with_invocation
def why(invocation: Invocation, id: str | None, as_json: bool) -> None:
    """Explain a decision: the candidates with what was predicted of each, who was ruled out and why, what was
    understood of the request, and how it ended.

    ID is that of a decision (header x-pointsman-decision) or of an answer; without one, the latest decision.
    """
    record = run(_find(invocation, id))
    if as_json:
        print_json(record)
        return
    from .explain import parse_record, show_record

    show_record(console(), parse_record(record))


async def _find(invocation: Invocation, identifier: str | None) -> dict[str, Any]:
    """The record, from the gateway, or from its log when no gateway answers."""
    from .client import connect

    settings = invocation.settings()
    trusted = invocation.trusted(settings)
    async with connect(invocation.gateway_url(settings), invocation.key(settings), trusted) as client:
        if invocation.url is not None or await client.alive():
            return await (client.decision(identifier) if identifier else client.latest_decision())
    found = await _read_log(settings, identifier)
    if found is None:
        where = settings.database_path if settings.database.url is None else "the database"
        what = f"no decision or answer {identifier!r}" if identifier else "no decision yet"
        raise NotFound(f"There is {what} in {where}, and no gateway answers.")
    return found


async def _read_log(settings: Settings, identifier: str | None) -> dict[str, Any] | None:
    if settings.database.url is None and not _exists(settings.database_path):
        return None
    app = importlib.import_module("pointsman.app.stores")  # it stands above this layer, so it is loaded as the entry is
    log = app.build_log(settings, spooling=False)
    await log.open()
    try:
        if identifier:
            found = await log.get(identifier)
        else:
            found = next(iter(await log.recent(1)), None)
        if found is None:
            return None
        return {**found["decision"], "outcome": found["outcome"], "feedback": found["feedback"]}
    finally:
        await log.close()


def _exists(path: Path) -> bool:
    return path.exists()  # opening the log would make the file
