"""`pointsman users`: who may sign in, whether or not a gateway runs."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

import click
import msgspec

from .invocation import Invocation, run, with_invocation
from .lazy import Group
from .output import console, note, print_json, table
from .people import completed, when, with_people

if TYPE_CHECKING:
    from pointsman.stores.users import User, UserRole
    from pointsman.surfaces.sign_in import People

ROLES = ("admin", "member", "viewer")


def user_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    async def names(people: People) -> list[str]:
        return [user.name for user in await people.users.everyone()]

    return completed(ctx, names, incomplete)


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
user_argument = click.argument("user", shell_complete=user_names)


@click.group(cls=Group, invoke_without_command=True)
@as_json_option
@click.pass_context
def users(ctx: click.Context, as_json: bool) -> None:
    """Add people who may sign in, change their roles, end their access; without a command, list.

    Works on the database, whether or not a gateway runs. A change holds in every running gateway within a second. With
    the first user, an open gateway is open no longer.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_users, as_json=as_json)


@users.command("list")
@as_json_option
@with_invocation
def list_users(invocation: Invocation, as_json: bool) -> None:
    """Everybody who may sign in, by name."""
    found = run(with_people(invocation, lambda people: people.users.everyone()))
    if as_json:
        print_json([_fields(user) for user in found])
        return
    if not found:
        note("There is no user. `pointsman users add NAME` makes the first, an admin.")
        return
    console().print(
        table(
            ("Name", "Id", "Role", "State", "Last sign-in"),
            [(user.name, user.id, user.role, _state(user), when(user.seen_at)) for user in found],
            spare=("Id",),
        )
    )


@users.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), help="What they may do [default: admin for the first user].")
@click.option("--code", "with_code", is_flag=True, help="Print a code with which they set the password themselves.")
@as_json_option
@with_invocation
def add(invocation: Invocation, name: str, role: str | None, with_code: bool, as_json: bool) -> None:
    """Add a user. The password is asked for, or read from a pipe as one line; it is never an argument.

    admin: everything. member: asks models, sees its own. viewer: sees its own, asks nothing.
    """
    password = None if with_code else _password()

    async def work(people: People) -> tuple[User, str | None]:
        chosen = role or ("member" if await people.users.exist() else "admin")
        user = await people.users.add(name, cast("UserRole", chosen), password)
        return user, await people.users.password_code(user) if with_code else None

    user, code = run(with_people(invocation, work))
    if as_json:
        print_json({**_fields(user), **({"code": code} if code is not None else {})})
        return
    note(f"{user.name} is added as {user.role}, id {user.id}.")
    if code is not None:
        _show_code(code)


@users.command("role")
@user_argument
@click.argument("role", type=click.Choice(ROLES))
@as_json_option
@with_invocation
def role(invocation: Invocation, user: str, role: str, as_json: bool) -> None:
    """Change what a user may do. USER is a name or an id."""

    async def work(people: People, found: User) -> None:
        await people.users.set_role(found, cast("UserRole", role))

    _change(invocation, user, as_json, work, f"is {role} now")


@users.command("disable")
@user_argument
@as_json_option
@with_invocation
def disable(invocation: Invocation, user: str, as_json: bool) -> None:
    """End a user's sessions and let them in no more, until they are enabled."""

    async def work(people: People, found: User) -> None:
        await people.users.set_disabled(found, True)

    _change(invocation, user, as_json, work, "is disabled, and every session of theirs is ended")


@users.command("enable")
@user_argument
@as_json_option
@with_invocation
def enable(invocation: Invocation, user: str, as_json: bool) -> None:
    """Let a disabled user in again."""

    async def work(people: People, found: User) -> None:
        await people.users.set_disabled(found, False)

    _change(invocation, user, as_json, work, "may sign in again")


@users.command("unlock")
@user_argument
@as_json_option
@with_invocation
def unlock(invocation: Invocation, user: str, as_json: bool) -> None:
    """Forget a user's failed sign-ins, so that the next attempt need not wait."""

    async def work(people: People, found: User) -> None:
        await people.users.unlock(found)

    _change(invocation, user, as_json, work, "may try to sign in at once")


@users.command("reset-password")
@user_argument
@click.option("--code", "with_code", is_flag=True, help="Print a code with which they set it themselves.")
@as_json_option
@with_invocation
def reset_password(invocation: Invocation, user: str, with_code: bool, as_json: bool) -> None:
    """Set a new password, which ends every session; or, with --code, let the user set one."""
    password = None if with_code else _password()

    async def work(people: People) -> tuple[User, str | None]:
        found = await people.users.find(user)
        if password is None:
            return found, await people.users.password_code(found)
        await people.users.set_password(found, password)
        return await people.users.find(found.id), None

    found, code = run(with_people(invocation, work))
    if as_json:
        print_json({**_fields(found), **({"code": code} if code is not None else {})})
    elif code is not None:
        _show_code(code)
    else:
        note(f"{found.name} has a new password, and every session of theirs is ended.")


@users.command("remove")
@user_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json_option
@with_invocation
def remove(invocation: Invocation, user: str, yes: bool, as_json: bool) -> None:
    """Remove a user and end their sessions. Their decisions stay in the log, under their id."""
    if not yes:
        click.confirm(f"Remove {user}?", abort=True, err=True)

    async def work(people: People) -> User:
        found = await people.users.find(user)
        await people.users.remove(found)
        return found

    found = run(with_people(invocation, work))
    if as_json:
        print_json(_fields(found))
    else:
        note(f"{found.name} is removed.")


def _change(
    invocation: Invocation, name: str, as_json: bool, act: Callable[[People, User], Awaitable[None]], told: str
) -> None:
    async def work(people: People) -> User:
        user = await people.users.find(name)
        await act(people, user)
        return await people.users.find(user.id)

    user = run(with_people(invocation, work))
    if as_json:
        print_json(_fields(user))
    else:
        note(f"{user.name} {told}.")


def _password() -> str:
    """From the person at the terminal, twice; from a pipe, one line."""
    if sys.stdin.isatty():
        asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return asked
    line = sys.stdin.readline(5000)
    if not line:
        raise click.UsageError("The password is read from the terminal or from a pipe, and there was none.")
    return line.rstrip("\r\n")


def _show_code(code: str) -> None:
    note("To be entered at /set-password of the gateway within two days; it is shown here alone:")
    click.echo(code)


def _state(user: User) -> str:
    return "disabled" if user.disabled else "may sign in" if user.has_password else "has no password yet"


def _fields(user: User) -> dict[str, Any]:
    return cast("dict[str, Any]", msgspec.to_builtins(user))
