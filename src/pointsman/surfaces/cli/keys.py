"""`pointsman keys`: make, list, change, rotate and revoke API keys, whether or not a gateway runs."""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from pointsman.core.errors import InvalidRequest, PointsmanError
from pointsman.core.request import Priority

from .completion import model_names
from .invocation import Invocation, run, with_invocation
from .lazy import Group
from .output import console, note, print_json, styled, table, usd

if TYPE_CHECKING:
    from pointsman.core.keys import ApiKey
    from pointsman.stores.keys import KeyStore, NewKey

T = TypeVar("T")

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
CLEARABLE = ("models", "endpoints", "networks", "tier", "daily-budget", "monthly-budget", "priority", "expires")
"""What `update --clear` takes."""


def key_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the keys that work, for a shell's completion."""
    invocation = ctx.find_object(Invocation) or Invocation()
    try:
        settings = invocation.settings()
        if settings.database.url is None and not settings.database_path.exists():
            return []  # completing a word makes no file
        keys = run(_with_store(invocation, lambda store: store.all()))
    except (PointsmanError, OSError):
        return []
    return [key.name for key in keys if key.revoked_at is None and key.name.startswith(incomplete)]


class Duration(click.ParamType[float]):
    """Seconds, from `90s`, `15m`, `24h`, `30d` or `2w`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        found = re.fullmatch(r"(\d{1,9})([smhdw])", value.strip().lower())
        if found is None:
            self.fail(f"{value!r} is no time; write it like 90s, 15m, 24h, 30d or 2w.", param, ctx)
        return float(found.group(1)) * UNITS[found.group(2)]


class Dollars(click.ParamType[int]):
    """Micro-dollars, from an amount in US dollars."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            amount = Decimal(value.strip().removeprefix("$"))
            micro_usd = amount.scaleb(6)
            if not amount.is_finite() or amount < 0 or amount > 10**9 or micro_usd != micro_usd.to_integral_value():
                raise InvalidOperation
        except InvalidOperation:
            self.fail(f"{value!r} is no amount of dollars, such as 20 or 0.50.", param, ctx)
        return int(micro_usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the options said of a key's bounds; None or empty where they said nothing."""

    models: tuple[str, ...]
    endpoints: tuple[str, ...]
    networks: tuple[str, ...]
    tier: str | None
    daily: int | None
    monthly: int | None
    priority: Priority | None
    expires: float | None

    @property
    def ends(self) -> float | None:
        return None if self.expires is None else time.time() + self.expires


def bounded(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command the options that say what a key is confined to, as its argument `bounds`."""
    names = [field.name for field in fields(Bounds)]

    def call(*args: Any, **options: Any) -> T:
        return command(*args, bounds=Bounds(**{name: options.pop(name) for name in names}), **options)

    wrapped = update_wrapper(call, command)
    for option in reversed(OPTIONS):
        wrapped = option(wrapped)
    return wrapped


OPTIONS = (
    click.option("--model", "models", multiple=True, metavar="MODEL", shell_complete=model_names,
                 help="A model that it may use: id, name, or a pattern such as 'ollama:*'. Repeatable."),
    click.option("--endpoint", "endpoints", multiple=True, metavar="CLASS",
                 help="A class of endpoints: chat, embeddings, models, feedback, decisions, usage, admin. Repeatable."),
    click.option("--network", "networks", multiple=True, metavar="NETWORK",
                 help="Where it may come from: an address, or a network such as 10.0.0.0/8. Repeatable."),
    click.option("--tier", help="The tier of its limits."),
    click.option("--daily-budget", "daily", type=Dollars(), help="US dollars that it may spend a day (UTC)."),
    click.option("--monthly-budget", "monthly", type=Dollars(), help="US dollars a calendar month (UTC)."),
    click.option("--priority", type=click.Choice(get_args(Priority)), help="Of its requests that name none."),
    click.option("--expires", type=Duration(), metavar="TIME", help="When it ends, from now: 90s, 24h, 30d or 2w."),
)  # fmt: skip
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(cls=Group, invoke_without_command=True)
@as_json_option
@click.pass_context
def keys(ctx: click.Context, as_json: bool) -> None:
    """Make, list, change, rotate and revoke API keys; without a command, list.

    Works on the database, whether or not a gateway runs. A change holds in every running gateway within a second.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_keys, as_json=as_json)


@keys.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that were revoked too.")
@as_json_option
@with_invocation
def list_keys(invocation: Invocation, as_json: bool, everything: bool = False) -> None:
    """The keys, newest first. Tokens are not among what is shown: nobody has them but their bearers."""
    found = run(_with_store(invocation, lambda store: store.all()))
    found = [key for key in found if everything or key.revoked_at is None]
    if as_json:
        print_json([_fields(key) for key in found])
        return
    if not found:
        note("There is no key. `pointsman keys create NAME` makes one.")
        return
    columns = ("Name", "Id", "Token", "Role", "State", "Bounds", "Expires", "Last used")
    console().print(table(columns, map(_cells, found), spare=("Id", "Token", "State")))


@keys.command()
@click.argument("name")
@click.option("--admin", is_flag=True, help="May see and change everything.")
@click.option("--viewer", is_flag=True, help="May see its own, and asks no models.")
@bounded
@as_json_option
@with_invocation
def create(invocation: Invocation, name: str, admin: bool, viewer: bool, bounds: Bounds, as_json: bool) -> None:
    """Make a key and print its token, which is shown now and never again."""
    from pointsman.core.caller import Scopes

    if admin and viewer:
        raise click.UsageError("A key is an admin's or a viewer's, not both.")
    scopes = Scopes(
        models=bounds.models,
        endpoints=bounds.endpoints,
        networks=bounds.networks,
        tier=bounds.tier,
        daily_micro_usd=bounds.daily,
        monthly_micro_usd=bounds.monthly,
        priority=bounds.priority,
    )
    role: Any = "admin" if admin else "viewer" if viewer else "member"
    made = run(
        _with_store(
            invocation, lambda store: store.create(name, by=_who(), role=role, scopes=scopes, expires_at=bounds.ends)
        )
    )
    _show_token(made, as_json)


@keys.command()
@click.argument("key", shell_complete=key_names)
@as_json_option
@with_invocation
def show(invocation: Invocation, key: str, as_json: bool) -> None:
    """Everything known of one key, by its name or id."""
    _show(run(_with_store(invocation, lambda store: store.get(key))), as_json)


@keys.command()
@click.argument("key", shell_complete=key_names)
@as_json_option
@with_invocation
def revoke(invocation: Invocation, key: str, as_json: bool) -> None:
    """End a key, by its name or id. Every running gateway refuses it within a second."""
    revoked = run(_with_store(invocation, lambda store: store.revoke(key, by=_who())))
    if as_json:
        print_json(_fields(revoked))
    else:
        click.echo(f"{revoked.name} ({revoked.id}) is revoked.")


@keys.command()
@click.argument("key", shell_complete=key_names)
@click.option("--overlap", type=Duration(), default="24h", show_default=True, metavar="TIME",
              help="How long the token before it still works; 0s ends it now.")  # fmt: skip
@as_json_option
@with_invocation
def rotate(invocation: Invocation, key: str, overlap: float, as_json: bool) -> None:
    """Give a key another token and print it; the one before it works until the overlap ends."""
    _show_token(run(_with_store(invocation, lambda store: store.rotate(key, by=_who(), overlap=overlap))), as_json)


@keys.command()
@click.argument("key", shell_complete=key_names)
@click.option("--name", help="Another name.")
@click.option("--role", type=click.Choice(["admin", "member", "viewer"]), help="Another role.")
@bounded
@click.option("--clear", multiple=True, type=click.Choice(CLEARABLE), help="Lift this bound. Repeatable.")
@as_json_option
@with_invocation
def update(
    invocation: Invocation,
    key: str,
    name: str | None,
    role: str | None,
    clear: tuple[str, ...],
    bounds: Bounds,
    as_json: bool,
) -> None:
    """Change what is given and leave the rest. A list (models, endpoints, networks) is replaced whole."""
    from pointsman.stores.keys import KeyChange

    changes: dict[str, Any] = {
        "name": name, "role": role, "models": bounds.models or None, "endpoints": bounds.endpoints or None,
        "networks": bounds.networks or None, "tier": bounds.tier, "daily_micro_usd": bounds.daily,
        "monthly_micro_usd": bounds.monthly, "priority": bounds.priority, "expires_at": bounds.ends,
    }  # fmt: skip
    changes = {field: value for field, value in changes.items() if value is not None}
    columns = {"daily-budget": "daily_micro_usd", "monthly-budget": "monthly_micro_usd", "expires": "expires_at"}
    for bound in clear:
        field = columns.get(bound, bound)
        if field in changes:
            raise click.UsageError(f"--clear {bound} and a new value for it cannot go together.")
        changes[field] = () if field in ("models", "endpoints", "networks") else None
    if not changes:
        raise InvalidRequest("Nothing is to be changed: give an option.")
    change = KeyChange(**changes)
    _show(run(_with_store(invocation, lambda store: store.update(key, change))), as_json)


@keys.command()
@click.argument("key", shell_complete=key_names)
@click.option("--remove", is_flag=True, help="Let it come unsigned again.")
@as_json_option
@with_invocation
def signing(invocation: Invocation, key: str, remove: bool, as_json: bool) -> None:
    """Give a key a signing secret and print it, shown now and never again: from then on it must sign its requests.

    A second secret replaces the first at once.
    """
    name, key_id, made = run(_sign(invocation, key, remove=remove))
    if as_json:
        print_json({"key": name, "id": key_id, "signing_secret": made})
    elif remove:
        click.echo(f"{name} ({key_id}) may come unsigned.")
    else:
        note(f"{name} ({key_id}) must sign its requests from now on. The secret is shown now and never again:")
        click.echo(made)


async def _sign(invocation: Invocation, reference: str, *, remove: bool) -> tuple[str, str, str | None]:
    """Name and id of the key, and its new signing secret."""
    from .opened import opened_database

    app = importlib.import_module("pointsman.app.secrets")  # it stands above this layer
    key = await _with_store(invocation, lambda store: store.get(reference))
    settings = invocation.settings()
    async with opened_database(settings) as database:
        secrets = app.build_signing(settings, database)
        if not remove:
            if key.revoked_at is not None:
                raise InvalidRequest(f"The key {key.name!r} ({key.id}) was revoked; make another one.")
            return key.name, key.id, await secrets.create(key.id)
        if not await secrets.remove(key.id):
            raise InvalidRequest(f"The key {key.name!r} ({key.id}) has no signing secret.")
        return key.name, key.id, None


async def _with_store(invocation: Invocation, use: Callable[[KeyStore], Awaitable[T]]) -> T:
    app = importlib.import_module("pointsman.app.access")  # it stands above this layer, so it is loaded as the entry is
    async with app.opened_keys(invocation.settings()) as store:
        return await use(store)


def _who() -> str:
    import getpass

    try:
        return f"{getpass.getuser()} (command line)"
    except (OSError, KeyError):
        return "command line"


def _show_token(made: NewKey, as_json: bool) -> None:
    """The token, alone on standard output, so that a script can take it."""
    if as_json:
        print_json({**_fields(made.key), "token": made.token})
        return
    note(f"{made.key.name} ({made.key.id}). This token is shown now and never again:")
    click.echo(made.token)


def _show(key: ApiKey, as_json: bool) -> None:
    if as_json:
        print_json(_fields(key))
        return
    scopes = key.scopes
    facts: list[tuple[str, object]] = [
        ("name", key.name),
        ("id", key.id),
        ("role", key.role),
        ("state", key.state(time.time())),
        ("models", ", ".join(scopes.models) or "all"),
        ("endpoints", ", ".join(scopes.endpoints) or "all"),
        ("networks", ", ".join(scopes.networks) or "everywhere"),
        ("tier", scopes.tier or "that of the settings"),
        ("daily budget", _amount(scopes.daily_micro_usd)),
        ("monthly budget", _amount(scopes.monthly_micro_usd)),
        ("priority", scopes.priority or "that of the settings"),
        ("made", f"{_time(key.created_at)} by {key.created_by}"),
        ("expires", _time(key.expires_at, "never")),
        ("last used", _time(key.last_used_at, "never")),
    ]
    if key.revoked_at is not None:
        facts.append(("revoked", f"{_time(key.revoked_at)} by {key.revoked_by}"))
    for secret in key.secrets:
        until = f", works until {_time(secret.expires_at)}" if secret.expires_at is not None else ""
        facts.append(("token", f"{secret.prefix}_… of {_time(secret.created_at)}{until}"))
    console().print(table(("", ""), [(styled(label, "dim"), value) for label, value in facts]))


def _cells(key: ApiKey) -> tuple[object, ...]:
    scopes = key.scopes
    bounds = [*scopes.models, *scopes.endpoints, *scopes.networks, *([f"tier {scopes.tier}"] if scopes.tier else [])]
    for cap, period in ((scopes.daily_micro_usd, "day"), (scopes.monthly_micro_usd, "month")):
        if cap is not None:
            bounds.append(f"{_amount(cap)} a {period}")
    if scopes.priority is not None:
        bounds.append(f"priority {scopes.priority}")
    state = key.state(time.time())
    return (
        styled(key.name, "bold"),
        key.id,
        " ".join(f"{secret.prefix}_…" for secret in key.secrets),
        key.role,
        styled(state, "" if state == "active" else "yellow"),
        ", ".join(bounds) or "none",
        _time(key.expires_at, "never"),
        _time(key.last_used_at, "never"),
    )


def _fields(key: ApiKey) -> dict[str, Any]:
    import msgspec

    shown: dict[str, Any] = msgspec.to_builtins(key)
    shown.update(shown.pop("scopes"))
    tokens = shown.pop("secrets")
    return {**shown, "state": key.state(time.time()), "tokens": tokens}


def _amount(micro_usd: int | None) -> str:
    return "no cap" if micro_usd is None else "$0" if micro_usd == 0 else usd(micro_usd)


def _time(at: float | None, never: str = "") -> str:
    return never if at is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
