"""`pointsman secret`: the installation's secret, which everything stored is encrypted under, and its rotation."""

from __future__ import annotations

import importlib
from typing import Any

import click

from .invocation import Invocation, run, with_invocation
from .lazy import Group
from .opened import opened_database
from .output import console, note, print_json, table

AFTER = (
    "API keys, upstream credentials and signing secrets work on. Restart the gateways when it suits: until then they"
    " sign sessions with the old secret. Sessions hold as long as the old secret is at hand. Prompt hashes begin anew"
    " at the restart: old and new ones in the decision log cannot be compared."
)


@click.group(cls=Group, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def secret(ctx: click.Context, as_json: bool) -> None:
    """The installation's secret: see what stands under it, and rotate it; without a command, its status."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(status, as_json=as_json)


@secret.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def status(invocation: Invocation, as_json: bool) -> None:
    """Which secret is in force, and which ones the stored secrets are encrypted under."""
    now = run(_status(invocation))
    if as_json:
        print_json(now)
        return
    rows = [
        ("Secret", f"{now['fingerprint']} (from {'the settings' if now['configured'] else 'the key file'})"),
        ("Previous", now["previous"] or "-"),
        ("Database is under", now["database"] or "-"),
        ("Stored secrets", f"{now['current']} under this one, {now['under_previous']} under the previous one"),
    ]
    if now["unreadable"]:
        rows.append(("Unreadable", f"{now['unreadable']} are under a secret that is not at hand"))
    console().print(table(("What", "Value"), rows))
    if now["unfinished"]:
        note("A rotation has begun and not ended: run `pointsman secret rotate`.")


async def _status(invocation: Invocation) -> dict[str, Any]:
    app = importlib.import_module(
        "pointsman.app.secrets"
    )  # it stands above this layer, so it is loaded as the entry is
    settings = invocation.settings()
    async with opened_database(settings) as database:
        now = await app.standing(settings, database)
    return {
        "fingerprint": now.fingerprint,
        "previous": now.previous,
        "database": now.database,
        "configured": now.configured,
        "current": now.wrapping.current,
        "under_previous": now.wrapping.previous,
        "unreadable": now.wrapping.unknown,
        "unfinished": now.unfinished,
    }


@secret.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def rotate(invocation: Invocation, as_json: bool) -> None:
    """Put everything stored under a new secret, in one transaction.

    With a key file, a new one is made and the old one kept as secret.key.previous. With a secret from the environment,
    first set POINTSMAN_SECRET_KEY to the new one and POINTSMAN_PREVIOUS_SECRET_KEY to the old one in every gateway.
    A rotation that was interrupted is taken up again.
    """

    async def turn() -> Any:
        app = importlib.import_module("pointsman.app.secrets")
        settings = invocation.settings()
        async with opened_database(settings) as database:
            return await app.rotate(settings, database)

    done = run(turn())
    if as_json:
        print_json({"new_key_file": done.made, "rewrapped": done.rewrapped, "fingerprint": done.fingerprint})
        return
    count = f"{done.rewrapped} stored secret{'' if done.rewrapped == 1 else 's'}"
    made = "A new secret.key was made, the old one is kept as secret.key.previous. " if done.made else ""
    click.echo(f"{made}{count} moved to the secret {done.fingerprint}.")
    note(AFTER)


@secret.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_invocation
def forget(invocation: Invocation, yes: bool) -> None:
    """Give up stored secrets that cannot be decrypted any more, because their secret is lost."""

    async def give_up() -> list[str]:
        app = importlib.import_module("pointsman.app.secrets")
        settings = invocation.settings()
        async with opened_database(settings) as database:
            gone: list[str] = await app.build_sealed(settings, database).forget_unreadable(tell=("credentials", "keys"))
            return gone

    if not yes:
        click.confirm("Delete every stored secret that cannot be decrypted?", abort=True, err=True)
    gone = run(give_up())
    click.echo("\n".join(f"forgot {name}" for name in gone) or "Every stored secret can be decrypted.")
