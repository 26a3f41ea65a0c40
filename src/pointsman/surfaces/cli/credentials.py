"""`pointsman credentials`: upstreams' keys, kept encrypted in the database."""

from __future__ import annotations

import importlib
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from pointsman.core.errors import PointsmanError

from .invocation import Invocation, run, with_invocation
from .lazy import Group
from .opened import opened_database
from .output import console, note, print_json, styled, table

if TYPE_CHECKING:
    from pointsman.settings import Settings


def provider_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names that a shell may complete."""
    invocation = ctx.find_object(Invocation) or Invocation()
    with suppress(PointsmanError, OSError):
        return [name for name in _known(invocation.settings()) if name.startswith(incomplete)]
    return []


@click.group(cls=Group, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def credentials(ctx: click.Context, as_json: bool) -> None:
    """Keys of providers, kept encrypted in the database; without a command, list.

    Running gateways follow within a second. A key in the settings or the environment comes before a stored one.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, as_json=as_json)


@credentials.command("set")
@click.argument("provider", shell_complete=provider_names)
@click.option("--from-env", metavar="NAME", help="Take the key from this environment variable.")
@click.option("--organization", metavar="ID", help="The organization that the provider is told.")
@with_invocation
def set_(invocation: Invocation, provider: str, from_env: str | None, organization: str | None) -> None:
    """Store PROVIDER's API key: asked for, or read from standard input. Never an argument: others see those."""
    from pointsman.core.credential import Credential

    settings = invocation.settings()
    _check_name(settings, provider)
    credential = Credential(api_key=_read_key(provider, from_env), organization=organization)

    async def store() -> None:
        app = importlib.import_module("pointsman.app.secrets")  # it stands above this layer: loaded as the entry is
        async with opened_database(settings) as database:
            await app.build_credentials(settings, database).set(provider, credential)

    run(store())
    click.echo(f"The key of {provider} is stored ({credential.masked}).")
    own = settings.providers.get(provider)
    if own is not None and own.api_key is not None:
        note(f"note: the settings have a key for {provider} ({_source(provider)}), which comes first.")
    if not importlib.import_module("pointsman.app.providers").reachable(provider, settings):
        note(f"note: {provider} has no usual address: set providers.{provider}.base_url too.")


@credentials.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def list_(invocation: Invocation, as_json: bool) -> None:
    """Every provider that has a key: where it was set, and since when. Keys show their last four characters."""
    rows = run(_list(invocation.settings()))
    if as_json:
        print_json(rows)
        return
    if not rows:
        note("No provider has a key. `pointsman credentials set PROVIDER` stores one.")
        return
    columns = ("Provider", "Key", "Where", "Since", "In use")
    cells = [
        (
            row["provider"],
            row["key"],
            row["where"],
            time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(row["since"])) if row["since"] else "-",
            styled(row["problem"], "red") if row["problem"] else "yes" if row["in_use"] else "no",
        )
        for row in rows
    ]
    console().print(table(columns, cells))


@credentials.command()
@click.argument("provider", shell_complete=provider_names)
@with_invocation
def remove(invocation: Invocation, provider: str) -> None:
    """Forget PROVIDER's stored key."""
    settings = invocation.settings()

    async def forget() -> bool:
        app = importlib.import_module("pointsman.app.secrets")
        async with opened_database(settings) as database:
            gone: bool = await app.build_credentials(settings, database).remove(provider)
            return gone

    if not run(forget()):
        raise click.ClickException(f"No key of {provider} is stored. `pointsman credentials list` shows what is.")
    click.echo(f"The key of {provider} is forgotten.")
    note("Revoke it with the provider too if it may have leaked.")


@credentials.command()
@click.argument("provider", required=False, shell_complete=provider_names)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def check(invocation: Invocation, provider: str | None, as_json: bool) -> None:
    """Ask PROVIDER, or each one that has a key, whether the key works."""
    found = run(_check(invocation.settings(), provider))
    if as_json:
        print_json(found)
    elif not found:
        note("No provider has a key. `pointsman credentials set PROVIDER` stores one.")
    else:
        cells = [
            (
                row["provider"],
                styled("ok", "green") if row["ok"] else styled("failed", "red"),
                f"{row['detail']} {row['mend']}".strip(),
            )
            for row in found
        ]
        console().print(table(("Provider", "State", "What it said"), cells))
    if not all(row["ok"] for row in found):
        click.get_current_context().exit(1)


async def _list(settings: Settings) -> list[dict[str, Any]]:
    from pointsman.core.credential import Credential

    rows: list[dict[str, Any]] = [
        {
            "provider": name,
            "key": Credential(api_key=own.api_key.reveal()).masked,
            "where": _source(name),
            "since": None,
            "in_use": own.enabled,
            "problem": None,
        }
        for name, own in settings.providers.items()
        if own.api_key is not None
    ]
    configured = {row["provider"] for row in rows}
    for stored in await _stored(settings):
        own = settings.providers.get(stored.provider)
        rows.append(
            {
                "provider": stored.provider,
                "key": stored.credential.masked if stored.credential is not None else "…",
                "where": "database",
                "since": stored.changed_at,
                "in_use": stored.credential is not None
                and stored.provider not in configured
                and (own is None or own.enabled),
                "problem": stored.problem,
            }
        )
    return sorted(rows, key=lambda row: (row["provider"], row["where"]))


async def _check(settings: Settings, wanted: str | None) -> list[dict[str, Any]]:
    app = importlib.import_module("pointsman.app.providers")
    outbound = importlib.import_module("pointsman.app.transport").build_outbound(settings)
    stored = {row.provider: row.credential for row in await _stored(settings) if row.credential is not None}
    keyed = {name for name, own in settings.providers.items() if own.api_key is not None} | stored.keys()
    if wanted is not None and wanted not in keyed:
        raise click.ClickException(f"{wanted} has no key. `pointsman credentials set {wanted}` stores one.")
    found = []
    try:
        for name in sorted(keyed) if wanted is None else [wanted]:
            provider = app.build_provider(name, settings, outbound, stored.get(name))
            if provider is None:
                found.append({"provider": name, "ok": False, "detail": "It is not in use.", "mend": ""})
                continue
            health = await provider.health()
            found.append({"provider": name, "ok": health.ok, "detail": health.detail, "mend": health.mend})
    finally:
        await outbound.close()
    return found


async def _stored(settings: Settings) -> list[Any]:
    app = importlib.import_module("pointsman.app.secrets")
    async with opened_database(settings) as database:
        found: list[Any] = await app.build_credentials(settings, database).all()
        return found


def _known(settings: Settings) -> list[str]:
    from pointsman.providers.cards import presets

    return list(dict.fromkeys([*presets(), *settings.providers]))


def _check_name(settings: Settings, provider: str) -> None:
    known = _known(settings)
    if provider not in known:
        import difflib

        close = difflib.get_close_matches(provider, known, n=1)
        hint = (
            f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}; others need providers.NAME first"
        )
        raise click.ClickException(f"There is no provider {provider!r}; {hint}")


def _read_key(provider: str, from_env: str | None) -> str:
    if from_env is not None:
        from pointsman.settings import environment_value

        value = environment_value(from_env)
        if not value:
            raise click.ClickException(f"The environment has no {from_env}, or it is empty.")
        return value
    if sys.stdin.isatty():
        entered: str = click.prompt(f"API key of {provider}", hide_input=True, err=True)
        return entered.strip()
    return sys.stdin.read().strip()


def _source(provider: str) -> str:
    """Where the settings have a key from, as far as it can be told."""
    from pointsman.settings import ENVIRONMENT, environment_value

    names = [name for name, path in ENVIRONMENT if path == f"providers.{provider}.api_key" and environment_value(name)]
    return f"environment ({', '.join(names)})" if names else "settings file"
