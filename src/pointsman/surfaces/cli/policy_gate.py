"""`pointsman policies promote`: what the log says of a policy decides whether it may serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.core.errors import InvalidRequest

from .invocation import Invocation
from .learning import cards_of, load_named, read_stretch, weights_of
from .output import note, print_json
from .policy import BUILT_IN, why

if TYPE_CHECKING:
    from pointsman.learn.promotion import Gate
    from pointsman.settings import Settings
    from pointsman.stores.database import Database


class Refused(InvalidRequest):
    """The log does not say that the policy is better."""

    code = "policy_not_better"


async def promote_if_better(
    invocation: Invocation,
    version: str,
    *,
    share: float | None,
    margin: float | None,
    since: float,
    force: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Promote or stage a version; '' is the built-in policy, which needs no proof: it is where every rollback ends.

    Raises:
        Refused: the log does not say that it is better, or no worse by more than the margin.
        NotFound: there is no such version.
    """
    from pointsman.core.ports import SystemClock
    from pointsman.learn.promotion import WAYS
    from pointsman.stores.policies import PolicyStore

    from .opened import opened_database

    settings = invocation.settings()
    gate: Gate | None = None
    async with opened_database(settings) as database:
        store = PolicyStore(database, SystemClock())
        if version:
            await store.get(version)
        if share is not None:
            if not version:
                raise InvalidRequest("The built-in policy cannot be staged; roll back, or promote it.")
            await store.stage(version, share, why=why(reason))
        else:
            if version:
                gate = await judged(settings, database, version, since=since, margin=margin or 0.0)
                if not gate.passed and not force:
                    raise Refused(f"{version} is not promoted. {gate.why} {WAYS}")
            told = gate is not None and not gate.passed
            said = "; ".join(part for part in (reason, f"forced: {gate.why}" if told and gate else "") if part)
            await store.promote(version, why=why(said, gate.numbers() if gate is not None else None))
    if as_json:
        print_json({"version": version or None, "share": share, "forced": told if share is None else False,
                    "gate": gate})  # fmt: skip
        return
    if gate is not None:
        note(gate.why if gate.passed else f"Forced: {gate.why}")
    serves = f"takes {share:.0%} of the decisions now" if share is not None else "serves now"
    note(f"{version} {serves}." if version else f"{BUILT_IN.capitalize()} serves now.")


async def judged(settings: Settings, database: Database, version: str, *, since: float, margin: float) -> Gate:
    """What the log says of a version beside the policy that serves: decisions since that was promoted, not longer ago
    than `since` seconds, and none that the version has learned from; or, where too few such are judged, what its
    training found on what was held out."""
    import time

    import msgspec
    import numpy as np

    from pointsman.core.ports import SystemClock
    from pointsman.learn.promotion import LEAST_EFFECTIVE, judge, judge_by_training
    from pointsman.learn.training import Report
    from pointsman.stores.policies import PolicyStore

    store = PolicyStore(database, SystemClock())
    standing, stored = await store.standing(), await store.get(version)
    report = msgspec.json.decode(stored.report, type=Report) if stored.report else None
    learned_until = report.until if report is not None and report.until is not None else 0.0
    begun = max(standing.since, learned_until, time.time() - since)
    stretch = await read_stretch(database, max(1.0, time.time() - begun))
    unseen = [one for one in stretch.decisions if one.at > learned_until]
    if report is not None and learned_until and sum(one.success is not None for one in unseen) < LEAST_EFFECTIVE:
        return judge_by_training(version, report, margin=margin)
    cards = cards_of(settings, stretch.decisions)
    policy = await load_named(version, settings, database, cards)
    return judge(
        unseen,
        policy,
        cards=cards,
        rng=np.random.default_rng(0),
        since=stretch.since,
        until=stretch.until,
        margin=margin,
        weights=weights_of(settings),
    )
