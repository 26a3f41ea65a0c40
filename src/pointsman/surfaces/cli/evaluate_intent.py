"""`pointsman eval intent`: how well intents are told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .completion import model_names
from .invocation import Invocation, run, with_invocation
from .numbers import Seed
from .output import console, note, print_json, table

if TYPE_CHECKING:
    from pointsman.evals.intent.by_model import ByModel
    from pointsman.evals.intent.measure import Figure


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder of the public labelled sets [default: the project's own asks alone].",
)
@click.option("--seed", type=Seed(), default=7, show_default=True, help="Of the folds, the asks and the draws.")
@click.option(
    "-m", "--model", shell_complete=model_names, help="Judge a language model instead, as routing.intent_model has it."
)
@click.option("--limit", type=click.IntRange(1), default=60, show_default=True, help="Asks of a language model.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@with_invocation
def intent(invocation: Invocation, data: Path | None, seed: int, model: str | None, limit: int, as_json: bool) -> None:
    """Accuracy, macro-F1 and calibration of the intent: the rules alone, and with the learned classifier.

    Intervals are at 95 %, by drawing whole groups of asks. Sets marked with a star never teach the classifier that is
    judged on them; on the others it is judged by cross-validation.

    With --model: of held-out templates, what the model says alone, and what is told where it has a say beside rules and
    classifier. It is asked as it would be while serving, but for the time-out.
    """
    from dataclasses import asdict

    from pointsman.core.errors import PointsmanError
    from pointsman.evals.intent.measure import measure

    if model is not None:
        _print_model(run(_measure_model(invocation, model, limit, seed)), as_json=as_json)
        return
    try:
        judged = measure(data, seed=seed, progress=note)
    except PointsmanError as error:
        raise click.ClickException(error.message) from None
    if as_json:
        print_json({one.name: asdict(one) for one in judged})
        return
    rows = [
        (
            f"{one.name}{' *' if one.unseen else ''}",
            f"{one.asks:,}",
            row.method,
            _told(row.accuracy),
            _told(row.macro_f1),
            f"{row.ece:.3f}",
            f"{row.coverage:.1%}",
            f"{row.selective:.1%}",
            "" if row.method == "rules" else _told(row.gain, signed=True),
        )
        for one in judged
        for row in one.rows
    ]
    columns = (
        "Set", "Asks", "Method", "Accuracy", "Macro-F1", "ECE", "Not general", "Of these right", "Gain over rules"
    )  # fmt: skip
    console().print(table(columns, rows, right=(columns[1], *columns[3:])))


def _told(figure: Figure, *, signed: bool = False) -> str:
    shown = f"{figure.value:+.1%}" if signed else f"{figure.value:.1%}"
    return shown if figure.low is None or figure.high is None else f"{shown} ({figure.low:.1%} to {figure.high:.1%})"


async def _measure_model(invocation: Invocation, model: str, limit: int, seed: int) -> ByModel:
    from pointsman.core.errors import ModelNotFound
    from pointsman.evals.intent.by_model import measure_model, sample
    from pointsman.learn.programs.kept import current
    from pointsman.pipeline.understand.intent_program import BUILT_IN

    from .launch import gateway

    program = current(invocation.settings().data_dir, "intent", BUILT_IN)
    async with gateway(invocation) as client:
        listed = (await client.get("/v1/models"))["data"]
        capabilities = next((one["pointsman"]["capabilities"] for one in listed if one["id"] == model), None)
        if capabilities is None:
            raise ModelNotFound(f"The model {model!r} does not exist; `pointsman models list` shows what there is.")
        return await measure_model(
            model, sample(limit, seed=seed), program=program, capabilities=capabilities, post=client.post, progress=note
        )


def _print_model(found: ByModel, *, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print_json(asdict(found))
        return
    rows = [
        (row.method, f"{row.right} of {row.asks}", f"{row.right / row.asks:.1%} ({row.low:.1%} to {row.high:.1%})")
        for row in found.rows
    ]
    console().print(table(("Method", "Right", "Accuracy"), rows, right=("Right", "Accuracy")))
    console().print(
        f"{found.model}, asked in a {found.form}: {found.no_answer} of {found.asks} calls without an answer;"
        f" {found.seconds:.2f} s at the median, nine of ten within {found.seconds_high:.2f} s."
    )
