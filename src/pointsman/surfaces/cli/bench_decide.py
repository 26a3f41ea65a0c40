"""`pointsman bench decide`: what understanding a prompt and choosing a model cost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .numbers import Finite, Seed

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman.core.catalog import ModelCard
    from pointsman.pipeline.decide import Policy


@click.command()
@click.option(
    "--policy",
    default="learned",
    show_default=True,
    metavar="learned|rules|FILE",
    help="The one that ships, the rules alone, or one that `pointsman policies show` or `train` wrote to a file.",
)
@click.option("--bytes", "sizes", type=click.IntRange(50, 1_000_000), multiple=True, help="Of a prompt, many times.")
@click.option("--models", "catalogs", type=click.IntRange(1, 40), multiple=True, help="To choose from, many times.")
@click.option("--prompts", type=click.IntRange(20, 100_000), default=300, show_default=True, help="Different ones.")
@click.option(
    "--explore",
    type=Finite(0, 1),
    default=0.05,
    show_default=True,
    help="Share of requests that may try another model.",
)
@click.option("--seed", type=Seed(), default=7, show_default=True, help="Of the prompts.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def decide(
    policy: str,
    sizes: tuple[int, ...],
    catalogs: tuple[int, ...],
    prompts: int,
    explore: float,
    seed: int,
    as_json: bool,
) -> None:
    """Processor time of features and decision, by part, for prompts never seen before and for remembered ones.

    In this process, without network and database; prompts are made from the seed. `total` is the sum of ask, intent,
    complexity, features and decide; candidates and policy are parts of decide.
    """
    import random
    from dataclasses import asdict

    from pointsman.core.errors import PointsmanError
    from pointsman.evals.decide.measure import CATALOGS, SIZES, measure
    from pointsman.pipeline.decide import Explorer

    from .output import console, note, print_json, table

    def explorer() -> Explorer:
        return Explorer(share=explore, micro_usd_per_day=10_000_000, random=random.Random(seed).random)  # noqa: S311 - no secret

    try:
        rows = measure(
            lambda card_of: named_policy(policy, card_of),
            sizes=sizes or SIZES,
            catalogs=catalogs or CATALOGS,
            count=prompts,
            seed=seed,
            explorer=explorer,
            progress=note,
        )
    except PointsmanError as error:
        raise click.ClickException(error.message) from None
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    columns = ("Bytes", "Models", *(cost.part for cost in rows[0].parts), "remembered", "peak KiB")
    shown = [
        (
            f"{row.bytes:,}",
            str(row.models),
            *(f"{cost.median:.3f} ({cost.p95:.3f})" for cost in row.parts),
            f"{row.remembered[-1].median:.3f} ({row.remembered[-1].p95:.3f})",
            f"{row.peak_kib:.0f}",
        )
        for row in rows
    ]
    out = console()
    out.print(f"Milliseconds of processor time, median (95th percentile); {rows[0].prompts} prompts; {rows[0].policy}")
    out.print(table(columns, shown, right=columns))


def named_policy(named: str, card_of: Callable[[str], ModelCard | None]) -> Policy:
    """The policy that an option names, for models of which `card_of` tells.

    Raises:
        BadParameter: a file cannot be read.
        InvalidRequest: it holds no policy.
    """
    from pointsman.pipeline.decide import LearnedPolicy, RulePolicy, kind_of, load_policy
    from pointsman.pipeline.decide.learned.shipped import shipped

    if named == "rules":
        return RulePolicy()
    if named == "learned":
        return LearnedPolicy(shipped(), rules=RulePolicy(), card_of=card_of, clock=time.time)
    try:
        artefact = Path(named).read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{named} cannot be read: {error.strerror}.", param_hint="--policy") from None
    version = f"{Path(named).stem}@file"
    return load_policy(kind_of(artefact), artefact, version=version, base=RulePolicy(), card_of=card_of)
