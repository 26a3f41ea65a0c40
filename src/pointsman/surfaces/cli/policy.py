"""`pointsman policy`: which routing policy serves, and which served before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from .invocation import Invocation, run, with_invocation
from .lazy import Group
from .output import console, print_json, table

if TYPE_CHECKING:
    from pointsman.stores.policies import PolicyStore, StoredPolicy

BUILT_IN = "the built-in rules"


def complete_version(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the versions there are."""
    invocation = ctx.find_object(Invocation) or Invocation()

    async def versions() -> list[str]:
        async with _store(invocation) as store:
            return [policy.version for policy in await store.all()]

    return [version for version in run(versions()) if version.startswith(incomplete)]


@click.group(cls=Group, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def policy(ctx: click.Context, as_json: bool) -> None:
    """List, add, promote and roll back routing policies; without a command, list.

    A promotion holds in every running gateway within a second.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_policies, as_json=as_json)


@policy.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def list_policies(invocation: Invocation, as_json: bool) -> None:
    """Every version, and which one serves."""

    async def read() -> tuple[list[StoredPolicy], StoredPolicy | None]:
        async with _store(invocation) as store:
            return await store.all(), await store.promoted()

    found, promoted = run(read())
    serving = promoted.version if promoted is not None else None
    if as_json:
        print_json({"serving": serving, "policies": [_fields(policy) for policy in found]})
        return
    rows = [
        ("→" if policy.version == serving else "", policy.version, policy.kind, _day(policy.created_at), policy.note)
        for policy in found
    ]
    rows.append(("→" if serving is None else "", BUILT_IN, "rules", "", ""))
    console().print(table(["", "Version", "Kind", "Added", "Note"], rows))


@policy.command()
@click.argument("version", required=False, shell_complete=complete_version)
@with_invocation
def show(invocation: Invocation, version: str | None) -> None:
    """Print a version's artefact; without one, that of the built-in rules, to begin a policy of your own from."""
    if version is None:
        from pointsman.pipeline.decide import RulePolicy, dump_policy

        click.echo(dump_policy(RulePolicy(complexity_threshold=invocation.settings().routing.complexity_threshold)))
        return

    async def read() -> StoredPolicy:
        async with _store(invocation) as store:
            return await store.get(version)

    click.echo(run(read()).artefact)


@policy.command()
@click.argument("name")
@click.argument("file", type=click.File("rb"))
@click.option("--note", default="", help="What it is for.")
@click.option("--promote", "at_once", is_flag=True, help="Let it serve at once.")
@with_invocation
def add(invocation: Invocation, name: str, file: Any, note: str, at_once: bool) -> None:
    """Keep the artefact in FILE (`-`: standard input) as the next version of NAME."""
    from pointsman.pipeline.decide import RulePolicy, load_policy

    if (
        not name.replace("-", "").replace("_", "").isalnum()
        or not name.isascii()
        or name in ("rules", "forced", "none")
    ):
        raise click.BadParameter("letters, digits, - and _; not rules, forced or none", param_hint="NAME")
    content = file.read()
    load_policy("rules", content, version=name, base=RulePolicy())  # refuse now what could not serve later

    async def write() -> str:
        async with _store(invocation) as store:
            kept = await store.add(name, kind="rules", artefact=content.decode(), note=note)
            if at_once:
                await store.promote(kept.version)
            return kept.version

    version = run(write())
    click.echo(f"{version} is kept{' and serves now' if at_once else ''}.")


@policy.command()
@click.argument("version", shell_complete=complete_version)
@with_invocation
def promote(invocation: Invocation, version: str) -> None:
    """Let a version (`built-in` for the built-in rules) choose from now on."""
    from pointsman.stores.policies import BUILT_IN as NONE

    async def write() -> None:
        async with _store(invocation) as store:
            await store.promote(NONE if version == "built-in" else version)

    run(write())
    click.echo("The built-in rules serve now." if version == "built-in" else f"{version} serves now.")


@policy.command()
@with_invocation
def rollback(invocation: Invocation) -> None:
    """Undo the latest promotion."""

    async def write() -> str:
        async with _store(invocation) as store:
            return await store.roll_back()

    serving = run(write())
    click.echo(f"{serving} serves now." if serving else f"{BUILT_IN.capitalize()} serve now.")


@asynccontextmanager
async def _store(invocation: Invocation) -> AsyncIterator[PolicyStore]:
    from pointsman.core.ports import SystemClock
    from pointsman.stores.policies import PolicyStore

    from .opened import opened_database

    async with opened_database(invocation.settings()) as database:
        yield PolicyStore(database, SystemClock())


def _fields(policy: StoredPolicy) -> dict[str, Any]:
    import msgspec

    return {**msgspec.structs.asdict(policy), "artefact": msgspec.json.decode(policy.artefact)}


def _day(seconds: float) -> str:
    import datetime

    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
