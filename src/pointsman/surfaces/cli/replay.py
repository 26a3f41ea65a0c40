"""`pointsman replay`: what another policy would have done with the log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .engines import engine_options
from .invocation import Invocation, run, with_invocation
from .learning import Period, cards_of, complete_policy, file_named, load_named, read_stretch, shown
from .numbers import Finite, Seed

if TYPE_CHECKING:
    from pointsman.learn.engine import Engine
    from pointsman.learn.ope import Estimate
    from pointsman.learn.replay import MeasureReport, ReplayReport


@click.command()
@click.option("--policy", "name", default="rules", show_default=True, metavar="VERSION|FILE|rules|learned",
              shell_complete=complete_policy, help="The policy to ask.")  # fmt: skip
@click.option("--since", type=Period(), default="30d", show_default=True, help="How far back the log is read.")
@click.option("--cost-factor", type=Finite(0, 1e9), help="Success that a US dollar is worth [default: the settings'].")
@click.option("--latency-penalty", type=Finite(0, 1e9),
              help="Success that a second is worth [default: the settings'].")  # fmt: skip
@click.option("--interval", type=click.Choice(["bootstrap", "bernstein"]), default="bootstrap", show_default=True,
              help="Bernstein's are wide, and hold for every number of decisions.")  # fmt: skip
@click.option("--cluster", type=click.Choice(["conversation", "key", "day", "decision"]), default="conversation",
              show_default=True, help="Which decisions hang together.")  # fmt: skip
@click.option("--inverse", is_flag=True, help="Weigh judged answers by how rarely such ones are judged.")
@click.option("--clip", type=Finite(1), help="No importance weight counts more: less noise, some bias.")
@click.option("--check", is_flag=True, help="Check the intervals themselves against tables of known outcomes.")
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR",
              help="For --check: the folder with the tables (*.jsonl, *.jsonl.gz), or with `routing`.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 100_000), default=500, show_default=True,
              help="For --check: logs that are drawn from each table.")  # fmt: skip
@click.option("--quick", is_flag=True, help="For --check: 60 seeds.")
@engine_options
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Of whatever is random.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def replay(
    invocation: Invocation,
    name: str,
    since: float,
    cost_factor: float | None,
    latency_penalty: float | None,
    interval: str,
    cluster: str,
    inverse: bool,
    clip: float | None,
    check: bool,
    data: Path | None,
    seeds: int,
    quick: bool,
    engine: Engine,
    jobs: int,
    seed: int,
    as_json: bool,
) -> None:
    """What another policy would have cost on the log, and how good its answers would have been.

    Three estimators tell it from the logged propensities, each with a 95 % interval; where the policy would have chosen
    models that had no chance, the log cannot tell, and no figure is given. Decisions in which the caller named the
    model are left out. The policy is asked as it is stored, and does not explore.
    """
    if check:
        from .replay_check import check_intervals

        if data is None:
            raise click.UsageError("--check needs --data DIR, a folder with tables of known outcomes.")
        check_intervals(data, seeds=60 if quick else seeds, first=seed, engine=engine, jobs=jobs, as_json=as_json)
        return
    if data is not None or quick or engine != "local" or jobs != 1:
        raise click.UsageError("--data, --quick, --engine and --jobs belong to --check.")
    from .output import print_json

    report = run(
        _replay(
            invocation, name, since=since, cost_factor=cost_factor, latency_penalty=latency_penalty,
            interval=interval, cluster=cluster, inverse=inverse, clip=clip, seed=seed,
        )
    )  # fmt: skip
    if as_json:
        print_json(report)
    else:
        _show(report)


async def _replay(
    invocation: Invocation,
    name: str,
    *,
    since: float,
    cost_factor: float | None,
    latency_penalty: float | None,
    interval: str,
    cluster: str,
    inverse: bool,
    clip: float | None,
    seed: int,
) -> ReplayReport:
    import numpy as np

    from pointsman.core.reward import RewardWeights
    from pointsman.learn import replay as replaying

    from .opened import opened_database

    settings, file = invocation.settings(), file_named(name)
    usual = settings.learning.reward
    async with opened_database(settings) as database:
        stretch = await read_stretch(database, since)
        cards = cards_of(settings, stretch.decisions)
        policy = await load_named(name, settings, database, cards, file=file)
    with shown(f"Asking {policy.version}", len(stretch.decisions)) as tell:
        return replaying.replay(
            stretch.decisions,
            policy,
            cards=cards,
            rng=np.random.default_rng(seed),
            since=stretch.since,
            until=stretch.until,
            weights=RewardWeights(
                cost_factor=usual.cost_factor if cost_factor is None else cost_factor,
                latency_penalty=usual.latency_penalty if latency_penalty is None else latency_penalty,
            ),
            interval=interval,  # type: ignore[arg-type]  # one of the option's choices
            cluster=cluster,  # type: ignore[arg-type]  # likewise
            inverse=inverse,
            clip=clip,
            unreadable=stretch.unreadable,
            tell=tell,
        )


def _show(report: ReplayReport) -> None:
    from .output import console, note, styled, table

    out = console()
    took = ", ".join(f"{version} ({count:,})" for version, count in report.incumbents.items())
    out.print(f"{report.decisions:,} decisions of {took}; {report.judged:,} are judged.")
    out.print(f"{report.policy} would have chosen the same in {report.agreement:.1%} of them.")
    if report.left_out:
        out.print("Left out: " + ", ".join(f"{count:,} {reason}" for reason, count in report.left_out.items()) + ".")
    chosen = [
        (styled(arm, "bold"), f"{was:.1%}", f"{would:.1%}") for arm, (was, would) in list(report.shares.items())[:20]
    ]
    out.print(table(("Chosen", "Was", "Would be"), chosen, right=("Was", "Would be")))
    rows = [row for measure in report.measures for row in _rows(measure)]
    columns = ("Measure", "By", "Was", "Would be", "95 % interval", "Difference", "Its 95 % interval", "Worth")
    out.print(table(columns, rows, right=("Was", "Would be", "Difference", "Worth"), spare=("Worth", "Difference")))
    if report.gone:
        note(f"Not in the catalog any more, taken as the log has them: {', '.join(report.gone)}.")
    for warning in report.warnings:
        note(warning)


LABELS = {"reward": "reward", "success": "success", "cost": "$ a request", "seconds": "seconds"}
NAMES = {"ips": "IPS", "snips": "SNIPS", "dr": "DR"}


def _rows(measure: MeasureReport) -> list[tuple[object, ...]]:
    label, observed = LABELS[measure.measure], _figure(measure.observed, measure.measure)
    rows: list[tuple[object, ...]] = []
    for estimate, difference in zip(measure.estimates, measure.differences, strict=True):
        rows.append(
            (
                label, NAMES[estimate.estimator], observed, _figure(estimate.value, measure.measure),
                _interval(estimate, measure.measure), _figure(difference.value, measure.measure, signed=True),
                _interval(difference, measure.measure), f"{estimate.effective:,.0f}",
            )
        )  # fmt: skip
        label = observed = ""
    if measure.predicted is not None:
        rows.append(("", "as predicted", "", _figure(measure.predicted, measure.measure), "no proof", "", "", ""))
    return rows


def _figure(value: float | None, measure: str, *, signed: bool = False) -> str:
    if value is None:
        return "?"
    sign = "+" if signed else ""
    return f"{value:{sign}.6f}" if measure == "cost" else f"{value:{sign}.3f}"


def _interval(estimate: Estimate, measure: str) -> str:
    if estimate.low is None and estimate.high is None:
        return "?"
    return f"{_figure(estimate.low, measure)} to {_figure(estimate.high, measure)}"
