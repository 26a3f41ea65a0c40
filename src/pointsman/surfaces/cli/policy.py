"""`pointsman policies`: which routing policy serves, which are on trial, and which served before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from .invocation import Invocation, run, with_invocation
from .lazy import Group
from .learning import Period
from .numbers import Finite
from .output import console, note, print_json, table

if TYPE_CHECKING:
    from pointsman.stores.policies import PolicyStore, Standing, StoredPolicy, Why
    from pointsman.stores.trials import ShadowSummary, TrialStore

BUILT_IN = "the built-in policy"
TAKEN = ("rules", "forced", "none", "learned", "built-in")
"""Names that decisions use for what is built in."""


def complete_version(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the versions there are."""
    invocation = ctx.find_object(Invocation) or Invocation()

    async def versions() -> list[str]:
        async with opened(invocation) as (store, _):
            return [policy.version for policy in await store.all()]

    return [version for version in run(versions()) if version.startswith(incomplete)]


def check_name(ctx: click.Context, param: click.Parameter, name: str) -> str:
    """A name for policies that decisions use for none that is built in."""
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii() or name in TAKEN:
        raise click.BadParameter(f"letters, digits, - and _; not {', '.join(TAKEN[:-1])} or {TAKEN[-1]}")
    return name


@click.group(cls=Group, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def policies(ctx: click.Context, as_json: bool) -> None:
    """List, compare, promote and roll back routing policies; without a command, list.

    A change holds in every running gateway within a second.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_policies, as_json=as_json)


@policies.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def list_policies(invocation: Invocation, as_json: bool) -> None:
    """Every version, which one serves, and which are on trial."""

    async def read() -> tuple[list[StoredPolicy], Standing, list[ShadowSummary]]:
        async with opened(invocation) as (store, trials):
            return await store.all(), await store.standing(), await trials.summaries()

    found, standing, shadows = run(read())
    unusable = unusable_in(standing)
    serving = serving_in(standing, unusable)
    if as_json:
        staged = standing.staged
        print_json(
            {
                "serving": serving,
                "promoted": standing.promoted or None,
                "unusable": unusable,
                "staged": {"version": staged[0].version, "share": staged[0].share} if staged is not None else None,
                "shadows": [trial.version for trial, _ in standing.shadows],
                "shadowed": shadows,
                "policies": [_fields(policy) for policy in found],
            }
        )
        return
    roles = {trial.version: "in the shadow" for trial, _ in standing.shadows}
    if standing.staged is not None:
        roles[standing.staged[0].version] = f"{standing.staged[0].share:.0%} of decisions"
    if serving is not None:
        roles[serving] = "serves"
    roles |= dict.fromkeys(unusable, "cannot be used")
    agreements = {one.version: f"{one.agreement:.0%} of {one.decisions}" for one in shadows}
    rows = [
        (
            "→" if policy.version == serving else "",
            policy.version,
            policy.kind,
            roles.get(policy.version, ""),
            agreements.get(policy.version, ""),
            _day(policy.created_at),
            policy.note,
        )
        for policy in found
    ]
    from pointsman.pipeline.decide.learned.policy import BUILT_IN_VERSION as LEARNED
    from pointsman.pipeline.decide.policy import BUILT_IN_VERSION as RULES

    kind = invocation.settings().routing.policy
    name = f"the built-in policy ({RULES if kind == 'rules' else LEARNED})"
    rows.append(("→" if serving is None else "", name, kind, "" if serving else "serves", "", "", ""))
    headings = ["", "Version", "Kind", "Role", "Agrees", "Added", "Note"]
    console().print(table(headings, rows, spare=["Note", "Added", "Agrees", "Kind"]))
    for version, reason in unusable.items():
        note(f"{version} cannot be used. {reason}")


@policies.command()
@click.argument("version", required=False, shell_complete=complete_version)
@click.option("--report", is_flag=True, help="How it was trained, and what it did in the shadow, in place of it.")
@with_invocation
def show(invocation: Invocation, version: str | None, report: bool) -> None:
    """Print a version's artefact (`built-in`: of what ships); without one, that of the built-in rules, to begin a
    policy of your own from."""
    if version == "built-in" and not report:
        from pointsman.pipeline.decide.learned.artefact import dump_artefact
        from pointsman.pipeline.decide.learned.shipped import shipped

        click.echo(dump_artefact(shipped()))
        return
    if version is None:
        from pointsman.pipeline.decide import RulePolicy, dump_policy

        click.echo(dump_policy(RulePolicy(complexity_threshold=invocation.settings().routing.complexity_threshold)))
        return

    async def read() -> tuple[StoredPolicy, list[ShadowSummary]]:
        async with opened(invocation) as (store, trials):
            return await store.get(version), await trials.summaries()

    policy, shadows = run(read())
    if not report:
        click.echo(policy.artefact)
        return
    print_json(
        {
            "training": _fields(policy)["report"],
            "shadow": next((one for one in shadows if one.version == version), None),
        }
    )


@policies.command()
@click.argument("name", callback=check_name)
@click.argument("file", type=click.File("rb"))
@click.option("--kind", type=click.Choice(("rules", "learned", "network")),
              help="What the artefact describes; else its fields tell.")  # fmt: skip
@click.option("--note", default="", help="What it is for.")
@click.option("--promote", "at_once", is_flag=True, help="Let it serve at once.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def add(
    invocation: Invocation, name: str, file: Any, kind: str | None, note: str, at_once: bool, as_json: bool
) -> None:
    """Keep the artefact in FILE (`-`: standard input) as the next version of NAME."""
    from pointsman.pipeline.decide import RulePolicy, kind_of, load_policy

    content = file.read()
    described = kind or kind_of(content)
    load_policy(described, content, version=name, base=RulePolicy())  # refuse now what could not serve later

    async def write() -> str:
        async with opened(invocation) as (store, _):
            kept = await store.add(name, kind=described, artefact=content.decode(), note=note)
            if at_once:
                await store.promote(kept.version, why=why("added with --promote"))
            return kept.version

    version = run(write())
    if as_json:
        print_json({"version": version, "promoted": at_once})
    else:
        click.echo(f"{version} is kept{' and serves now' if at_once else ''}.")


@policies.command()
@click.argument("version", shell_complete=complete_version)
@click.option("--share", type=Finite(0, 1, min_open=True, max_open=True), metavar="SHARE",
              help="Give it only this share of the decisions, such as 0.1.")  # fmt: skip
@click.option("--non-inferior", "margin", type=Finite(0, 1), metavar="MARGIN",
              help="Let it serve if it is at most this much worse than what serves.")  # fmt: skip
@click.option("--since", type=Period(), default="30d", show_default=True, help="How far back the log is read.")
@click.option("--force", is_flag=True, help="Let it serve whatever the log says of it.")
@click.option("--reason", default="", help="Why, for the history.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def promote(
    invocation: Invocation,
    version: str,
    share: float | None,
    margin: float | None,
    since: float,
    force: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Let a version (`built-in` for the built-in policy) choose from now on.

    It must be better than what serves, as far as the log can tell: the lower bound of what it would have earned beyond
    that is above 0. --share tries it on a part of the decisions first, which needs no proof; whatever does worse than
    what it replaces is rolled back by the gateway.
    """
    from .policy_gate import promote_if_better

    run(
        promote_if_better(
            invocation,
            "" if version == "built-in" else version,
            share=share,
            margin=margin,
            since=since,
            force=force,
            reason=reason,
            as_json=as_json,
        )
    )


@policies.command()
@click.argument("version", shell_complete=complete_version)
@click.option("--off", is_flag=True, help="End it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def shadow(invocation: Invocation, version: str, off: bool, as_json: bool) -> None:
    """Have a version say of every decision what it would have chosen; no request notices."""

    async def write() -> None:
        async with opened(invocation) as (store, _):
            await (store.withdraw(version, why=why("")) if off else store.shadow(version, why=why("")))

    run(write())
    if as_json:
        print_json({"version": version, "shadow": not off})
        return
    click.echo(
        f"{version} is {'no longer' if off else 'now'} in the shadow; `pointsman policies` shows how far it agrees."
    )


@policies.command()
@click.option("--reason", default="", help="Why, for the history.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def rollback(invocation: Invocation, reason: str, as_json: bool) -> None:
    """End the trial of a version that has a share, or undo the latest promotion."""

    async def write() -> str:
        async with opened(invocation) as (store, _):
            return await store.roll_back(why=why(reason))

    serving = run(write())
    if as_json:
        print_json({"serving": serving or None})
    else:
        click.echo(f"{serving or BUILT_IN.capitalize()} serves now.")


@policies.command()
@click.option("-n", "limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def history(invocation: Invocation, limit: int, as_json: bool) -> None:
    """What was promoted, tried and rolled back, by whom and why."""

    async def read() -> list[Any]:
        async with opened(invocation) as (store, _):
            return list(await store.history(limit))

    events = run(read())
    if as_json:
        print_json(events)
        return
    rows = [
        (
            _day(event.at),
            event.action.replace("_", " ") + (f" at {event.share:.0%}" if event.share is not None else ""),
            event.version or BUILT_IN,
            event.by,
            event.reason,
        )
        for event in events
    ]
    console().print(table(["When", "What", "Version", "By", "Why"], rows, spare=["By"]))


@policies.command()
@click.argument("before", shell_complete=complete_version)
@click.argument("after", shell_complete=complete_version)
@click.option("-n", "limit", type=click.IntRange(1, 100_000), default=500, show_default=True,
              help="Logged decisions to compare them on.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def diff(invocation: Invocation, before: str, after: str, limit: int, as_json: bool) -> None:
    """Which numbers differ between two versions (`built-in` too), and which logged decisions would go elsewhere."""
    from .policy_diff import compare

    run(compare(invocation, before, after, limit=limit, as_json=as_json))


@asynccontextmanager
async def opened(invocation: Invocation) -> AsyncIterator[tuple[PolicyStore, TrialStore]]:
    """The policies of the database that the settings name, and what became of those on trial."""
    from pointsman.core.ports import SystemClock
    from pointsman.stores.policies import PolicyStore
    from pointsman.stores.trials import TrialStore

    from .opened import opened_database

    async with opened_database(invocation.settings()) as database:
        yield PolicyStore(database, SystemClock()), TrialStore(database)


def why(reason: str, detail: dict[str, Any] | None = None) -> Why:
    """What the history says of a change that somebody makes at a command line."""
    import getpass

    from pointsman.stores.policies import Why

    try:
        who = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user that the machine has no name for
        who = "the command line"
    return Why(by=who, reason=reason, detail=detail)


def unusable_in(standing: Standing) -> dict[str, str]:
    """The versions that were promoted or are on trial and cannot be loaded, with the reason."""
    from pointsman.core.errors import PointsmanError
    from pointsman.pipeline.decide import RulePolicy, load_policy

    unusable = {}
    if standing.promoted and standing.serving is None:
        unusable[standing.promoted] = "It is not in the database any longer."
    tried = [standing.serving, *standing.earlier, *(stored for _, stored in standing.shadows)]
    if standing.staged is not None:
        tried.append(standing.staged[1])
    for stored in filter(None, tried):
        try:
            load_policy(stored.kind, stored.artefact, version=stored.version, base=RulePolicy())
        except PointsmanError as error:
            unusable[stored.version] = error.message
    return unusable


def serving_in(standing: Standing, unusable: Mapping[str, str]) -> str | None:
    """The version that gateways take: the promoted one, or the latest before it that can serve; None: the built-in."""
    stored = filter(None, (standing.serving, *standing.earlier))
    return next((one.version for one in stored if one.version not in unusable), None) if standing.promoted else None


def _fields(policy: StoredPolicy) -> dict[str, Any]:
    import msgspec

    fields = msgspec.structs.asdict(policy)
    return {**fields, "artefact": _read(policy.artefact), "report": _read(policy.report) if policy.report else None}


def _read(text: str) -> Any:
    """JSON, or the text itself where it is damaged."""
    import msgspec

    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _day(seconds: float) -> str:
    import datetime

    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
