"""`pointsman db`: the database's schema, looked at and upgraded."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import click
import msgspec

from pointsman.core.errors import InvalidRequest

from .invocation import Invocation, run, with_invocation
from .lazy import Group
from .output import console, note, print_json, styled

if TYPE_CHECKING:
    from pointsman.stores.migrate import DatabaseState
    from pointsman.stores.upgrade import Upgraded

APP = "pointsman.app.stores"  # it stands above this layer, so it is loaded as the entry is


@click.group(cls=Group, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def db(ctx: click.Context, as_json: bool) -> None:
    """Look at the database's schema, and upgrade it; without a command, tell its version.

    The database is the SQLite file of the data folder, or the Postgres of DATABASE_URL.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(status, as_json=as_json)


@db.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def upgrade(invocation: Invocation, as_json: bool) -> None:
    """Bring the database to the newest schema.

    A SQLite file is copied first, and the copy stays beside it; of a Postgres database make a backup yourself. All of
    it happens or nothing, and several may run at once. Stop gateways of an older version before.
    """
    settings = invocation.settings()
    done: Upgraded = run(importlib.import_module(APP).upgrade_database(settings))
    if as_json:
        print_json(done)
        return
    out = console()
    for name in done.applied:
        out.print(styled(f"applied {name}"))
    if done.backup is not None:
        note(f"A copy of the file as it was: {done.backup}")
    out.print(styled(f"The schema is at version {done.after}" + ("." if done.applied else " already.")))


@db.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def status(invocation: Invocation, as_json: bool) -> None:
    """Tell the schema's version. Exit code 1 when a gateway would not start on it."""
    settings = invocation.settings()
    state: DatabaseState = run(importlib.import_module(APP).database_state(settings))
    if as_json:
        print_json({**msgspec.to_builtins(state), "usable": state.usable})
    else:
        console().print(styled(f"{state.backend}: {state.where}"))
        console().print(styled(told(state)))
    if not state.usable:
        sys.exit(1)


@db.command("begin-anew")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_invocation
def begin_anew(invocation: Invocation, yes: bool) -> None:
    """Say that the loss of the database with its keys and users is meant.

    A database file that was damaged or deleted is begun anew, and holds no keys. The gateway then lets nobody in, as
    before. After this command and a restart it is as open as a new one: on loopback to everybody on this
    machine. To keep what you had, put a copy of the database back instead.
    """
    mark = importlib.import_module(APP).guard_mark(invocation.settings())
    if mark is None:
        raise InvalidRequest(
            "The database is a server's; what it holds is what counts, and nothing else is remembered."
        )
    if not yes:
        click.confirm("Forget that there were API keys and users, which can open the port?", abort=True, err=True)
    gone = mark.forget()
    click.echo(
        "Forgotten; restart the gateway." if gone else "Nothing was remembered: no key or user was ever made here."
    )


def told(state: DatabaseState) -> str:
    """The state in a sentence, with the mend."""
    if state.version is None:
        return state.error or "It cannot be read."
    if state.version == state.newest:
        return f"The schema is at version {state.version}, the newest."
    if state.version > state.newest:
        return f"The schema is at version {state.version}, newer than this Pointsman knows ({state.newest})."
    if state.version == 0 and state.backend == "sqlite":
        return "There is no file yet; the first start makes it."
    at = f"is at version {state.version}" if state.version else "has no tables yet"
    return f"The schema {at}; `pointsman db upgrade` brings it to {state.newest}."
