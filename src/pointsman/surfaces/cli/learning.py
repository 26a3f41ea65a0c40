"""What commands that look at the whole log share: a stretch of it, the cards of its models, a policy by its name."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from .opened import opened_database

if TYPE_CHECKING:
    from pointsman.core.catalog import ModelCard
    from pointsman.core.reward import RewardWeights
    from pointsman.learn.logged import Logged
    from pointsman.pipeline.decide import Policy
    from pointsman.settings import Settings
    from pointsman.stores.database import Database

UNITS = {"m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


class Period(click.ParamType[float]):
    """`30d`: so many minutes (m), hours (h), days (d) or weeks (w) back; in seconds."""

    name = "period"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([mhdw])", str(value).strip())
        if found is None or not float(found[1]):
            self.fail(f"{value!r} is no period; write 12h, 30d or 8w.", param, ctx)
        return float(found[1]) * UNITS[found[2]]


class Stretch(NamedTuple):
    """Decisions of the log, oldest first; times are seconds since the epoch, UTC."""

    decisions: list[Logged]
    unreadable: int
    since: float
    until: float


async def read_stretch(database: Database, period: float) -> Stretch:
    """The decisions of the last `period` seconds. Shows how far it is on a terminal."""
    import time

    from pointsman.learn.dataset import read_log
    from pointsman.stores.learning_log import LearningLog

    log, until = LearningLog(database), time.time()
    since = until - period
    with shown("Reading the log", await log.count(since=since, until=until)) as tell:
        decisions, unreadable = await read_log(log, since=since, until=until, tell=tell)
    return Stretch(decisions, unreadable, since, until)


def cards_of(settings: Settings, decisions: Iterable[Logged]) -> dict[str, ModelCard]:
    """The cards of the log's models, of those that the settings still serve: as tables and settings say. Where they
    name no models of a provider, it is taken to have all that it had."""
    from pointsman.providers.cards import card_for

    from .listing import EMBEDDED

    app = importlib.import_module("pointsman.app.cards")  # it stands above this layer, so it is loaded as the entry is
    found: dict[str, ModelCard] = {}
    for model in {candidate.model for decision in decisions for candidate in decision.candidates}:
        provider, _, name = model.partition(":")
        own = settings.providers.get(provider)
        if own is not None and own.enabled and (not own.models or name in (*own.model_names, own.default_model)):
            found[model] = app.amended(own)(provider, name, local=own.local)
        elif provider == EMBEDDED and _embedded(settings, name):
            found[model] = card_for(EMBEDDED, name, local=True)
    return found


def _embedded(settings: Settings, name: str) -> bool:
    """Whether a gateway with these settings has this model among its own."""
    from pointsman.providers.llamacpp.sources import load_sources
    from pointsman.providers.llamacpp.weights import is_present

    own, source = settings.embedded, load_sources().get(name)
    if source is None or not own.enabled:
        return False
    return name in own.models or (own.pulled and is_present(source, settings.cache_dir))


def file_named(name: str) -> bytes | None:
    """What lies in the file of this name; None where there is none."""
    path = Path(name)
    return path.read_bytes() if path.is_file() else None


async def load_named(
    name: str, settings: Settings, database: Database, cards: dict[str, ModelCard], *, file: bytes | None = None
) -> Policy:
    """The policy that is meant: `rules`, `learned` (the one that ships), a stored version, or a file.

    Args:
        file: what `file_named` found.

    Raises:
        NotFound: there is no such version or file.
        InvalidRequest: it cannot be read.
    """
    from pointsman.core.errors import NotFound
    from pointsman.core.ports import SystemClock
    from pointsman.pipeline.decide import LearnedPolicy, kind_of, load_policy
    from pointsman.pipeline.decide.learned.shipped import shipped
    from pointsman.stores.policies import PolicyStore

    app = importlib.import_module("pointsman.app.built_in")  # it stands above this layer, too
    rules = app.rules_of(settings)
    if name in ("rules", rules.version):
        policy: Policy = rules
        return policy
    if name in ("learned", "learned@1"):
        return LearnedPolicy(shipped(), rules=rules, card_of=cards.get)
    if file is not None:
        return load_policy(kind_of(file), file, version=Path(name).stem, base=rules, card_of=cards.get)
    try:
        stored = await PolicyStore(database, SystemClock()).get(name)
    except NotFound as error:
        raise NotFound(f"{error.message} Neither is there such a file; `rules` and `learned` are built in.") from None
    return load_policy(stored.kind, stored.artefact, version=stored.version, base=rules, card_of=cards.get)


@contextmanager
def shown(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error for as long as the block runs, where that is a terminal; told how many are done."""
    if not sys.stderr.isatty() or not total:
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr, markup=False), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


def complete_policy(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of policies: built in, and stored."""
    from pointsman.core.errors import PointsmanError
    from pointsman.core.ports import SystemClock
    from pointsman.stores.policies import PolicyStore

    from .invocation import Invocation, run

    async def versions(settings: Settings) -> list[str]:
        async with opened_database(settings) as database:
            return [policy.version for policy in await PolicyStore(database, SystemClock()).all()]

    invocation = ctx.find_object(Invocation) or Invocation()
    try:
        names = run(versions(invocation.settings()))
    except (PointsmanError, OSError):
        names = []
    return [name for name in ["rules", "learned", *names] if name.startswith(incomplete)]


def weights_of(settings: Settings) -> RewardWeights:
    """What the settings say that cost and time take from an answer's worth."""
    from pointsman.core.reward import RewardWeights

    reward = settings.learning.reward
    return RewardWeights(cost_factor=reward.cost_factor, latency_penalty=reward.latency_penalty)
