"""`pointsman eval`: how well the gateway judges, on labelled sets that it ships."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .evaluate_confidence import confidence
from .evaluate_intent import intent
from .evaluate_programs import programs
from .evaluate_robustness import robustness
from .evaluate_routing import routing
from .invocation import Invocation, with_invocation
from .lazy import Group
from .numbers import Seed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pointsman.evals.privacy.cases import Part
    from pointsman.evals.privacy.score import Report, Row, Share

MOST_SHOWN = 40


@click.group("eval", cls=Group)
def evaluate() -> None:
    """Judge the gateway's own judgement on labelled sets."""


evaluate.add_command(confidence)
evaluate.add_command(intent)
evaluate.add_command(robustness)
evaluate.add_command(routing)
evaluate.add_command(programs)


@evaluate.command()
@click.option(
    "--part",
    type=click.Choice(["heldout", "known", "both"]),
    default="both",
    show_default=True,
    help="Templates that were written after the detectors, those that they were made with, or each in turn.",
)
@click.option("--variants", type=click.IntRange(1, 1000), default=4, show_default=True, help="Texts from a template.")
@click.option("--seed", type=Seed(), default=20, show_default=True, help="Of the random values in the texts.")
@click.option("--verbose", is_flag=True, help="Show every detector, and the texts that were judged wrongly.")
@click.option("--names", is_flag=True, help="Judge how names of people are found instead; takes the extra entities.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@with_invocation
def privacy(
    invocation: Invocation, part: str, variants: int, seed: int, verbose: bool, names: bool, as_json: bool
) -> None:
    """Precision and recall of the privacy detectors, by class and detector, with 95 % intervals.

    The set is this project's own, made from templates with random values: it says how well known forms are told from
    what looks like them, not how much of the world's private content has a form.
    """
    from pointsman.evals.privacy.cases import PARTS, cases
    from pointsman.evals.privacy.score import score

    from .output import print_json

    parts = [name for name in PARTS if part in (name, "both")]
    if names:
        reports = _of_people(invocation, parts)
    else:
        reports = {name: score(cases(name, seed=seed, variants=variants)) for name in parts}
    if as_json:
        print_json({name: _as_json(report) for name, report in reports.items()})
        return
    for name, report in reports.items():
        _show(name, report, verbose=verbose)


def _of_people(invocation: Invocation, parts: Iterable[Part]) -> dict[Part, Report]:
    from pointsman.core.people import ModelAway
    from pointsman.evals.privacy.people import score_people
    from pointsman.providers.entities.finder import INSTALL, NameFinder, installed
    from pointsman.settings import child_environment

    from .invocation import run

    if not installed():
        raise click.ClickException(f"the extra is not installed; {INSTALL}")
    finder = NameFinder(cache_dir=invocation.settings().cache_dir, environment=child_environment({}))
    try:
        run(finder.start())
        return {name: score_people(name, finder) for name in parts}
    except ModelAway as error:
        raise click.ClickException(f"the named-entity model gave no answer: {error}") from None
    finally:
        finder.close()


def _as_json(report: Report) -> dict[str, object]:
    return {
        "texts": report.texts,
        "harmless": report.harmless,
        "harmless_left_alone": _share(report.kept),
        "classes": {row.name: _row(row) for row in report.classes},
        "detectors": {row.name: {"class": row.kind, **_row(row)} for row in report.detectors},
        "wrong": [miss._asdict() for miss in report.misses],
    }


def _row(row: Row) -> dict[str, object]:
    return {"recall": _share(row.recall), "precision": _share(row.precision)}


def _share(share: Share) -> dict[str, object]:
    low, high = share.interval
    return {"hits": share.hits, "of": share.total, "value": share.value, "low": round(low, 4), "high": round(high, 4)}


def _show(part: str, report: Report, *, verbose: bool) -> None:
    from .output import console, styled, table

    out = console()
    low, high = report.kept.interval
    out.print(
        f"{part}: {report.texts:,} texts; of {report.harmless:,} harmless ones {report.kept.hits:,} were left alone"
        f" ({low:.1%} to {high:.1%})"
    )
    rows = [(row.name, "", *_cells(row)) for row in report.classes]
    if verbose or not rows:
        rows += [(row.kind.value, row.name, *_cells(row)) for row in report.detectors]
    columns = ("Class", "Detector", "Found", "Recall", "Of the found, right", "Precision")
    spare = () if verbose else ("Detector",)
    out.print(table(columns, rows, right=columns[2:], spare=spare))
    if not verbose:
        return
    for miss in report.misses[:MOST_SHOWN]:
        found = ", ".join(miss.found) or "nothing"
        out.print(f"  expected {miss.expected or 'nothing'}, found {found} ({miss.carrier}):", styled(repr(miss.text)))
    if len(report.misses) > MOST_SHOWN:
        out.print(f"  … and {len(report.misses) - MOST_SHOWN} more")


def _cells(row: Row) -> tuple[str, str, str, str]:
    return (
        f"{row.recall.hits}/{row.recall.total}",
        _told(row.recall),
        f"{row.precision.hits}/{row.precision.total}",
        _told(row.precision),
    )


def _told(share: Share) -> str:
    if share.value is None:
        return "–"
    low, high = share.interval
    return f"{share.value:.1%} ({low:.1%} to {high:.1%})"
