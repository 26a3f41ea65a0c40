"""`pointsman eval intent`: how well intents are told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pointsman.evals.intent.measure import Figure


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder of the public labelled sets [default: the project's own asks alone].",
)
@click.option("--seed", type=int, default=7, show_default=True, help="Of the folds, the asks and the draws.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def intent(data: Path | None, seed: int, as_json: bool) -> None:
    """Accuracy, macro-F1 and calibration of the intent: the rules alone, and with the learned classifier.

    Intervals are at 95 %, by drawing whole groups of asks. Sets marked with a star never teach the classifier that is
    judged on them; on the others it is judged by cross-validation.
    """
    from dataclasses import asdict

    from pointsman.core.errors import PointsmanError
    from pointsman.evals.intent.measure import measure

    from .output import console, note, print_json, table

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
