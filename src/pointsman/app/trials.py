"""Watches policies on trial: shadows are asked what they would have done, and a live drop is rolled back.

Everything here reads what the decision log holds and runs beside the requests: nothing that it does, or fails to do,
touches one. Every gateway that shares the database does the same by the same rows. Who comes second finds the work
done: choices of shadows are kept once, and a rollback names the version that is to go.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pointsman.core.catalog import Catalog
from pointsman.core.errors import StoreError
from pointsman.core.ports import Clock
from pointsman.pipeline.decide import Policy
from pointsman.pipeline.decide.drop import Outcome, Verdict, judge
from pointsman.pipeline.decide.replay import arm_again
from pointsman.pipeline.record.tally import Tally
from pointsman.stores.database import Conflict
from pointsman.stores.policies import BUILT_IN, PolicyStore, Standing, Why
from pointsman.stores.trials import Ended, Seen, ShadowChoice, TrialStore

log = logging.getLogger(__name__)

LOOK = 2.0
"""Seconds between two looks, at least."""
PART = 50
"""A look may take this fraction of the time: what takes 0.2 s is done every 10 s."""
DAY = 86_400.0
WATCHED_DAYS = 7
"""How long after its promotion a policy is compared with the one before it."""
MOST = 4_000
"""Decisions of a policy that are compared; one that has stood so many has stood its trial."""
MOST_SEEN = 200
"""Decisions that shadows look at in one go."""
LAG = 2.0
"""Seconds in which a decision is surely in the log; what comes later than that no shadow sees."""
BEHIND = 60.0
"""Seconds that shadows may be behind before they skip what they missed."""
RISK = 0.01
"""Of rolling back a policy that is no worse, over its whole trial: half for answers that fail, half for those that are
judged."""
FAILURES, JUDGED = 0.02, 0.05
"""How much larger the share of failing answers, and how much less the mean success of judged ones, may be."""


class Drop(NamedTuple):
    """A policy that does worse than the one that it took the place of, or is to."""

    version: str
    before: str
    what: str
    verdict: Verdict

    def told(self) -> str:
        judged = self.verdict
        return (
            f"{self.what} {judged.candidate_mean:.1%} of {judged.candidates} against {judged.other_mean:.1%} of"
            f" {judged.others} under {self.before}"
        )


class Trials:
    """What is on trial, and what to do about it.

    Args:
        catalog: the one of now.
        tally: counts what was done, for the metrics.
    """

    def __init__(
        self, policies: PolicyStore, store: TrialStore, *, catalog: Callable[[], Catalog], tally: Tally, clock: Clock
    ) -> None:
        self._policies = policies
        self._store = store
        self._catalog = catalog
        self._tally = tally
        self._clock = clock
        self._standing: Standing | None = None
        self._built_in = ""
        self._shadows: Mapping[str, Policy] = {}
        self._seen_to = clock.now()
        self._seen: dict[str, float] = {}

    def follow(self, standing: Standing, shadows: Mapping[str, Policy], *, built_in: str) -> None:
        """Take up who serves and who is on trial.

        Args:
            built_in: the version that decisions name where the built-in policy took them.
        """
        if not self._shadows:
            self._seen_to = self._clock.now()
        self._standing, self._shadows, self._built_in = standing, shadows, built_in

    def shadows(self) -> list[Policy]:
        """Those that look on."""
        return list(self._shadows.values())

    async def run(self) -> None:
        """Look again and again; never returns."""
        away = False
        while True:
            begun = self._clock.monotonic()
            try:
                await self.look()
                away = False
            except StoreError as error:
                if not away:
                    log.warning("Policies on trial are not watched while the database is away. %s", error.message)
                away = True
            except Exception:  # watching goes on whatever one look ran into
                self._tally.shadow_errors += 1
                log.exception("a look at the policies on trial failed")
            await asyncio.sleep(max(LOOK, PART * (self._clock.monotonic() - begun)))

    async def look(self) -> None:
        """Ask the shadows about what was decided since, and roll back what does worse.

        Raises:
            StoreError: the database is away.
        """
        if self._shadows:
            await self._ask_shadows()
        standing = self._standing
        if standing is not None and (drop := await self.drop(standing)) is not None:
            await self._roll_back(drop)

    async def _ask_shadows(self) -> None:
        now = self._clock.now()
        if not -LAG <= now - self._seen_to <= BEHIND:  # behind, or the clock was set back
            self._seen_to = now - LAG
        decisions = await self._store.unseen(after=self._seen_to - LAG, most=MOST_SEEN)
        choices = []
        for seen in decisions:
            if seen.id in self._seen:
                continue
            self._seen[seen.id] = seen.at
            for version, policy in self._shadows.items():
                try:
                    choices.append(self._choice(version, policy, seen))
                except Exception as error:  # a shadow must not stop the others, nor anything else
                    if not self._tally.shadow_errors:
                        log.warning("The shadow %s could not choose: %s: %s", version, type(error).__name__, error)
                    self._tally.shadow_errors += 1
            await asyncio.sleep(0)
        if decisions:
            self._seen_to = max(self._seen_to, min(decisions[-1].at, now))  # some clocks are ahead
        self._seen = {one: at for one, at in self._seen.items() if at >= self._seen_to - LAG}
        if choices:
            await self._store.keep(choices)
            self._tally.shadow_choices += len(choices)

    def _choice(self, version: str, policy: Policy, seen: Seen) -> ShadowChoice:
        catalog = self._catalog()
        hinted = catalog.find(seen.requested_model) if seen.hinted else None
        ranked = policy.rank(
            [arm_again(candidate, seen.signals, catalog.get(candidate.model)) for candidate in seen.candidates],
            seen.signals,
            preferred=frozenset() if hinted is None else frozenset({hinted.id}),
        )
        first = ranked[0]
        agreement = sum(candidate.propensity for candidate in ranked if candidate.model == seen.model)
        return ShadowChoice(seen.id, version, first.model, first.propensity, first.cost_micro_usd, agreement)

    async def drop(self, standing: Standing) -> Drop | None:
        """What does worse than what it replaces, beyond doubt."""
        now = self._clock.now()
        if standing.staged is not None:
            trial, candidate = standing.staged
            serving = standing.serving.version if standing.serving is not None else self._built_in
            since = trial.started_at
            mine = await self._store.ended(candidate.version, since=since, until=now, most=MOST)
            others = await self._store.ended(serving, since=since, until=now, most=MOST)
            return compare(candidate.version, serving, mine, others, beside=True)
        promoted = standing.serving
        if promoted is None or now - standing.since > WATCHED_DAYS * DAY:
            return None
        before = standing.before if standing.before != BUILT_IN else self._built_in
        mine = await self._store.ended(promoted.version, since=standing.since, until=now, most=MOST)
        earliest = standing.since - WATCHED_DAYS * DAY
        others = await self._store.ended(before, since=earliest, until=standing.since, most=MOST, latest=True)
        return compare(promoted.version, before, mine, others, beside=False)

    async def _roll_back(self, drop: Drop) -> None:
        why = Why(by="the gateway", reason=drop.told(), detail=drop.verdict._asdict())
        try:
            serving = await self._policies.roll_back(expect=drop.version, why=why)
        except Conflict:  # another gateway did it
            return
        self._tally.policy_rollbacks += 1
        log.error("Rolled %s back: %s. %s serves now.", drop.version, drop.told(), serving or self._built_in)


def compare(version: str, before: str, mine: list[Ended], others: list[Ended], *, beside: bool) -> Drop | None:
    """Whether a policy does worse than another.

    Args:
        beside: whether both served at the same time. If not, the other is known only by what it did before, and its
            mean counts for the least that it may have been.
    """
    failures = _judged(
        [Outcome(one.at, True, 1.0 - one.failed) for one in mine],
        [Outcome(one.at, False, 1.0 - one.failed) for one in others],
        FAILURES,
        beside=beside,
    )
    if failures.worse:
        return Drop(version, before, "answered without failure:", failures)
    judged = _judged(
        [Outcome(one.judged, True, one.success) for one in mine if one.success is not None and one.weight > 0],
        [Outcome(one.judged, False, one.success) for one in others if one.success is not None and one.weight > 0],
        JUDGED,
        beside=beside,
    )
    if judged.worse:
        return Drop(version, before, "judged good:", judged)
    return None


def _judged(mine: list[Outcome], others: list[Outcome], tolerance: float, *, beside: bool) -> Verdict:
    if beside:
        return judge([*mine, *others], tolerance=tolerance, risk=RISK / 2)
    if not others:
        return judge(mine, tolerance=tolerance, risk=RISK / 4)
    # Hoeffding (1963): below this the other's mean lies with a risk of RISK / 4.
    n = len(others)
    mean = sum(one.value for one in others) / n
    least = max(0.0, mean - math.sqrt(math.log(4 / RISK) / (2 * n)))
    against = [Outcome(one.order, False, least) for one in mine]
    verdict = judge([*mine, *against], tolerance=tolerance, risk=RISK / 4)
    return verdict._replace(others=n, other_mean=mean)
