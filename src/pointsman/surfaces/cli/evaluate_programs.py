"""`pointsman eval programs`: how well a step that a model writes does, on labelled examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .completion import model_names
from .invocation import Invocation, run, with_invocation
from .output import console, note, print_json, styled, table
from .train_program import PROGRAMS, named_model

if TYPE_CHECKING:
    from pointsman.evals.programs.measure import Measured

STEPS = tuple(name for name in PROGRAMS if name != "router")


@click.command()
@click.option("--program", type=click.Choice(STEPS), default="judge", show_default=True, help="Which step.")
@click.option("-m", "--model", shell_complete=model_names, help="The model that writes it [default: a quick one].")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Labelled examples: JSON lines with a text for each field [default: those that are shipped].",
)
@click.option("--built-in", is_flag=True, help="The built-in program, not the one in the data folder.")
@click.option("--limit", type=click.IntRange(1), help="Of the examples, the first so many.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@with_invocation
def programs(
    invocation: Invocation,
    program: str,
    model: str | None,
    data: Path | None,
    built_in: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """Score a step that a model writes on labelled examples, with 95 % intervals.

    A judge is asked about every pair in both orders, and its agreement with the labels is counted over both. The
    shipped pairs are plain ones, written for this project: a judge that fails them is of no use, one that passes them
    may still fail yours.
    """
    model, measured = run(_measure(invocation, program, model, data, built_in=built_in, limit=limit))
    if as_json:
        print_json({"program": program, "model": model, **_fields(measured)})
        return
    rows = [
        ("examples", f"{measured.examples}"),
        ("score", f"{measured.score:.3f} ({measured.low:.3f} to {measured.high:.3f})"),
        ("calls", f"{measured.calls}, of them {measured.failed} failed and {measured.unreadable} not readable"),
    ]
    if measured.consistent is not None:
        rows.append(("same in both orders", f"{measured.consistent:.3f}"))
    if measured.first_shown is not None:
        rows.append(("names the one shown first", f"{measured.first_shown:.3f}"))
    console().print(table(("", ""), [(styled(label, "dim"), value) for label, value in rows]))


async def _measure(
    invocation: Invocation, name: str, model: str | None, data: Path | None, *, built_in: bool, limit: int | None
) -> tuple[str, Measured]:
    from pointsman.evals.programs.measure import measure, shipped
    from pointsman.learn.programs.examples import read_examples
    from pointsman.learn.programs.kept import current
    from pointsman.learn.programs.steps import STEPS as ALL

    from .asker import Asker
    from .launch import gateway

    step = ALL[name]
    examples = (read_examples(data, step.program) if data is not None else shipped(step))[:limit]
    if not examples:
        raise click.BadParameter("holds no example", param_hint="--data")
    program = step.program if built_in else current(invocation.settings().data_dir, name, step.program)
    every = max(1, len(examples) // 4)

    def on_done(done: int) -> None:
        if done % every == 0:
            note(f"{done} of {len(examples)} examples")

    async with gateway(invocation) as client:
        model = await named_model(client, model)
        return model, await measure(step, program, examples, Asker(client, model).ask, on_done)


def _fields(measured: Measured) -> dict[str, object]:
    import msgspec

    return msgspec.structs.asdict(measured)
