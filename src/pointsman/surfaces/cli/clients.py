"""`pointsman clients`: applications that users sign in to through the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .invocation import Invocation, run, with_invocation
from .lazy import Group
from .output import console, note, print_json, table
from .people import completed, when, with_people

if TYPE_CHECKING:
    from pointsman.stores.clients import OAuthClient
    from pointsman.surfaces.sign_in import People


def client_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    async def ids(people: People) -> list[str]:
        return [client.id for client in await people.clients.everyone()]

    return completed(ctx, ids, incomplete)


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(cls=Group, invoke_without_command=True)
@as_json_option
@click.pass_context
def clients(ctx: click.Context, as_json: bool) -> None:
    """Register applications that act for users (OAuth 2.1, authorization code with PKCE); without a command, list."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_clients, as_json=as_json)


@clients.command("list")
@as_json_option
@with_invocation
def list_clients(invocation: Invocation, as_json: bool) -> None:
    """Every registered application."""
    found = run(with_people(invocation, lambda people: people.clients.everyone()))
    if as_json:
        print_json([_fields(client) for client in found])
        return
    if not found:
        note("There is no application. `pointsman clients add NAME --redirect-uri URI` registers one.")
        return
    columns = ("Name", "Id", "Kind", "Scopes", "Redirect URIs", "Since")
    console().print(table(columns, map(_cells, found), spare=("Since", "Kind")))


@clients.command("add")
@click.argument("name")
@click.option("--redirect-uri", "redirect_uris", multiple=True, required=True, metavar="URI",
              help="Where answers go, exactly; at a loopback address the port may differ. Repeatable.")  # fmt: skip
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE",
              help="What it may ask for: chat, embeddings, models, feedback, decisions, usage, admin. Repeatable"
              " [default: chat and models].")  # fmt: skip
@click.option("--confidential", is_flag=True, help="It runs on a server and can keep a secret, which is printed once.")
@click.option("--first-party", is_flag=True, help="It is your own: users are not asked to consent.")
@as_json_option
@with_invocation
def add(
    invocation: Invocation,
    name: str,
    redirect_uris: tuple[str, ...],
    scopes: tuple[str, ...],
    confidential: bool,
    first_party: bool,
    as_json: bool,
) -> None:
    """Register an application."""

    async def work(people: People) -> tuple[OAuthClient, str | None]:
        return await people.clients.add(
            name, redirect_uris=redirect_uris, scopes=scopes or ("chat", "models"), confidential=confidential,
            first_party=first_party,
        )  # fmt: skip

    client, secret = run(with_people(invocation, work))
    if as_json:
        print_json({**_fields(client), **({"client_secret": secret} if secret is not None else {})})
        return
    note(f"{client.name} is registered. Its client id:")
    click.echo(client.id)
    if secret is not None:
        note("Its secret, which is shown here alone:")
        click.echo(secret)


@clients.command("remove")
@click.argument("client", shell_complete=client_ids)
@as_json_option
@with_invocation
def remove(invocation: Invocation, client: str, as_json: bool) -> None:
    """Remove an application by its id, and end what users have granted it."""

    async def work(people: People) -> int:
        sessions = await people.clients.remove(client)
        for session in sessions:
            await people.families.end(session, "revoked")
        return len(sessions)

    ended = run(with_people(invocation, work))
    if as_json:
        print_json({"id": client, "ended_sessions": ended})
    else:
        note(f"{client} is removed; {ended} session{'s' if ended != 1 else ''} of it ended.")


def _cells(client: OAuthClient) -> tuple[str, ...]:
    kind = "public" if client.secret_hash is None else "confidential"
    return (
        client.name,
        client.id,
        f"{kind}, first-party" if client.first_party else kind,
        " ".join(client.scopes),
        " ".join(client.redirect_uris),
        when(client.created_at),
    )


def _fields(client: OAuthClient) -> dict[str, Any]:
    return {
        "id": client.id,
        "name": client.name,
        "redirect_uris": list(client.redirect_uris),
        "scopes": list(client.scopes),
        "confidential": client.secret_hash is not None,
        "first_party": client.first_party,
        "created_at": client.created_at,
    }
