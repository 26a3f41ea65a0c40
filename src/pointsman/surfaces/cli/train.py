"""`pointsman train`: learn from the log and from examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from .completion import model_names
from .invocation import Invocation, run, with_invocation
from .train_program import OPTIMIZERS, PROGRAMS, train_program

if TYPE_CHECKING:
    from pointsman.learn.programs.job import Optimizer


@click.command()
@click.option("--program", type=click.Choice(PROGRAMS), required=True, help="The step to optimise with DSPy.")
@click.option("--optimizer", type=click.Choice(OPTIMIZERS), default="bootstrap", show_default=True, help="How.")
@click.option(
    "-m", "--model", shell_complete=model_names, help="The model that writes the step [default: a quick one]."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Examples: JSON lines with a text for each field [default: the log, where it keeps prompts].",
)
@click.option(
    "--calls", type=click.IntRange(8, 100_000), default=40, show_default=True, help="Calls of the model at most."
)
@click.option("--max-tokens", type=click.IntRange(1), help="Of an answer of the step [default: the step's own].")
@click.option("--seed", type=int, default=0, show_default=True, help="Of whatever is random.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@with_invocation
def train(
    invocation: Invocation,
    program: str,
    optimizer: str,
    model: str | None,
    data: Path | None,
    calls: int,
    max_tokens: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Learn from examples, and keep what does better on those that were held out.

    With --program, a step that a model writes is optimised with DSPy, which lives in an environment of its own that is
    installed at the first use. A gateway is started for the command when none runs.
    """
    run(
        train_program(
            invocation,
            program,
            optimizer=cast("Optimizer", optimizer),
            model=model,
            data=data,
            calls=calls,
            seed=seed,
            max_tokens=max_tokens,
            as_json=as_json,
        )
    )
