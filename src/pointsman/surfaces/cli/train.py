"""`pointsman train`: learn from the log and from examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from .completion import model_names
from .engines import engine_options
from .invocation import Invocation, run, with_invocation
from .learning import Period
from .numbers import Seed
from .policy import check_name
from .train_program import OPTIMIZERS, PROGRAMS, train_program

if TYPE_CHECKING:
    from pointsman.learn.engine import Engine
    from pointsman.learn.programs.job import Optimizer
    from pointsman.learn.training import Trainer

TRAINERS = ("linucb", "thompson", "grpo", "distill")


def _checked(ctx: click.Context, param: click.Parameter, name: str | None) -> str | None:
    return name if name is None else check_name(ctx, param, name)


@click.command()
@click.argument("trainer", required=False, type=click.Choice(TRAINERS))
@click.option("--since", type=Period(), default="30d", show_default=True, help="How far back the log is read.")
@click.option("--name", callback=_checked, help="What the policy is called [default: the trainer].")
@click.option("--promote", is_flag=True, help="Let it serve, if the log says that it is better.")
@click.option("--every", type=Period(), help="Train again and again, such as every 1d, until interrupted.")
@click.option("--program", type=click.Choice(PROGRAMS), help="A step that a model writes, to optimise with DSPy.")
@click.option("--optimizer", type=click.Choice(OPTIMIZERS), default="bootstrap", show_default=True, help="How.")
@click.option(
    "-m", "--model", shell_complete=model_names, help="The model that writes the step [default: a quick one]."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    metavar="FILE|DIR",
    help="A table of what every model made of the same prompts; of a program, examples as JSON lines with a text for"
    " each field [default: the log].",
)
@click.option(
    "--calls", type=click.IntRange(8, 100_000), default=40, show_default=True, help="Calls of the model at most."
)
@click.option("--max-tokens", type=click.IntRange(1), help="Of an answer of the step [default: the step's own].")
@engine_options
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Of whatever is random.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@with_invocation
def train(
    invocation: Invocation,
    trainer: str | None,
    since: float,
    name: str | None,
    promote: bool,
    every: float | None,
    program: str | None,
    optimizer: str,
    model: str | None,
    data: Path | None,
    calls: int,
    max_tokens: int | None,
    engine: Engine,
    jobs: int,
    seed: int,
    as_json: bool,
) -> None:
    """Learn from the log or from examples, and keep what came of it.

    A routing policy is trained by `linucb` or `thompson` (posteriors of each model's success), `grpo` (a small
    network) or, of tables alone, `distill`. It is kept as a version with a report of how it did on what was held
    out, and serves only when it is promoted. With --program, a step that a model writes is optimised with DSPy,
    which lives in an environment of its own that is installed at the first use. A gateway is started for the
    command when none runs.
    """
    if (trainer is None) == (program is None):
        raise click.UsageError(f"Name a trainer ({', '.join(TRAINERS)}), or a step with --program.")
    if trainer is not None:
        from .train_policy import train_policy

        run(
            train_policy(
                invocation,
                cast("Trainer", trainer),
                since=since,
                data=data,
                seed=seed,
                name=name or trainer,
                promote=promote,
                every=every,
                engine=engine,
                jobs=jobs,
                as_json=as_json,
            )
        )
        return
    assert program is not None
    if name or promote or every or engine != "local" or jobs != 1:
        raise click.UsageError("--name, --promote, --every, --engine and --jobs belong to trainers of policies.")
    if data is not None and data.is_dir():
        raise click.UsageError("--data of a program must be a file.")
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
