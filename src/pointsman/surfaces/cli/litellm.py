"""`pointsman litellm`: LiteLLM's proxy beside the gateway, installed, started, stopped and looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pointsman.core.errors import PointsmanError

from .invocation import Invocation, run, with_invocation
from .lazy import Group
from .output import console, note, print_json, styled, table
from .text import safe_line

if TYPE_CHECKING:
    from .litellm_actions import Standing


@click.group(cls=Group, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def litellm(ctx: click.Context, as_json: bool) -> None:
    """Run LiteLLM's proxy beside the gateway; without a command, tell how it stands.

    It reaches what the gateway does not reach directly: Bedrock, Vertex, Azure, Cohere and many more. It lives in an
    environment and a process of its own, on loopback, under a key that is made at each start.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(status, as_json=as_json)


@litellm.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A LiteLLM configuration of your own [default: ours, with what the environment has variables for].",
)
@click.option("--foreground", is_flag=True, help="Stay here and keep it running until Ctrl-C, as services want it.")
@with_invocation
def up(invocation: Invocation, config: Path | None, foreground: bool) -> None:
    """Install LiteLLM, once, and start its proxy; a gateway takes it up within a minute.

    It goes on running behind this command, and is started again when it ends, until `pointsman litellm down`.
    """
    from . import litellm_actions as actions

    settings = invocation.settings({"litellm.config": config})
    if foreground:
        run(actions.keep(settings))
        return
    found = run(actions.start(settings, invocation.config))
    click.echo(f"LiteLLM answers at {found.base_url} and offers {', '.join(found.offers)}.")
    note("A gateway that runs takes it up within a minute; `pointsman models` then lists its models as litellm:….")


@litellm.command()
@with_invocation
def down(invocation: Invocation) -> None:
    """Stop the proxy that `pointsman litellm up` started."""
    from . import litellm_actions as actions

    stopped = run(actions.stop(invocation.settings()))
    click.echo("LiteLLM is stopped." if stopped else "No LiteLLM runs here.")


@litellm.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def status(invocation: Invocation, as_json: bool) -> None:
    """Whether it is installed and runs, where, and what it offers."""
    from . import litellm_actions as actions

    found = actions.standing(invocation.settings())
    if as_json:
        print_json(found)
        return
    console().print(table(("", ""), [(styled(label, "dim"), value) for label, value in _rows(found)]))


def _rows(found: Standing) -> list[tuple[str, str]]:
    installed = str(found.environment) if found.installed else "no: `pointsman litellm up` installs it"
    rows = [("version", found.version), ("installed", installed)]
    if found.base_url is not None:
        rows += [("runs", f"at {found.base_url}, process {found.pid}"), ("offers", ", ".join(found.offers))]
    elif found.kept_by is not None:
        rows.append(("runs", "not yet, or not for the moment"))
    else:
        rows.append(("runs", "no"))
    if found.kept_by is not None:
        rows.append(("kept by", f"{found.kept_by}, process {found.keeper}"))
    return [*rows, ("log", str(found.log))]


@litellm.command()
@click.option("-n", "--lines", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
@with_invocation
def logs(invocation: Invocation, lines: int) -> None:
    """The last lines of the proxy's own log, with what looks like a secret masked."""
    from . import litellm_actions as actions

    told = actions.last_lines(invocation.settings(), lines)
    if not told:
        raise PointsmanError("There is no log: LiteLLM has not run here.", code="no_log")
    click.echo("\n".join(map(safe_line, told)))
