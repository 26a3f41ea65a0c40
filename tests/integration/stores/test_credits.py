"""What a judged answer tells of single models: after an escalation, and where one model went on with another's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from pointsman.app.implicit import ImplicitKeeper
from pointsman.app.observations import ObservationFeed
from pointsman.core.decision import Decision
from pointsman.core.observation import REJECTED, VERDICT, Implicit
from pointsman.core.outcome import Attempt, Outcome
from pointsman.core.ports import SystemClock
from pointsman.pipeline.record.implicit import ImplicitSignals
from pointsman.stores.database import Database
from pointsman.stores.decision_log import StoredDecisionLog
from pointsman.stores.postgres_database import PostgresDatabase
from pointsman.stores.postgres_log import PostgresDecisionLog
from pointsman.stores.sqlite_database import SqliteDatabase
from pointsman.stores.sqlite_log import SqliteDecisionLog

from .entries import decision
from .test_observations import Learner, Stores

CHEAP, STRONG = "lan:cheap", "cloud:strong"


class Cascades(Stores):
    """A gateway's log and feed, and the signals that its requests give."""

    def __init__(self, log: StoredDecisionLog, database: Database) -> None:
        super().__init__(log, database)
        self.signs = ImplicitKeeper(self.store, SystemClock(), window_days=60, weigh=0, settled=0)
        self.notices = ImplicitSignals(self.signs.keep, SystemClock())
        self.learner = Learner()
        self.feed = ObservationFeed(
            self.store,
            lambda: [self.learner],
            SystemClock(),
            window_days=60,
            key_share=1,
            verdicts=lambda: self.signs.verdicts,
        )

    async def ended(self, *attempts: Attempt) -> str:
        made = msgspec.structs.replace(decision(), model=CHEAP, plan=(CHEAP, STRONG), created_at=SystemClock().now())
        assert isinstance(made, Decision)
        told = Outcome(status="ok", model=attempts[-1].model, attempts=list(attempts))
        self.log.decided(made, prompt=None)
        self.log.ended(made.id, told)
        self.notices.answered(made, told)
        await self.log.get(made.id)
        return made.id

    async def learned(self) -> dict[str, tuple[str, float, float]]:
        """By id, of what counts: the model, its success, the weight."""
        await self.feed.turn()
        known = self.learner.known
        return {name: (one.model, one.success, round(one.weight, 2)) for name, one in known.items() if one.weight}


@pytest.fixture(params=["sqlite", "postgres"])
async def cascades(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Cascades]:
    log: StoredDecisionLog = SqliteDecisionLog(path)
    database: Database = SqliteDatabase(path)
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        log, database = PostgresDecisionLog(url, timeout=10), PostgresDatabase(url, timeout=10)
    await log.open()
    await database.open()
    yield Cascades(log, database)
    await log.close()
    await database.close()


def attempt(model: str, **fields: object) -> Attempt:
    return Attempt(model=model, started_at=1.0, **fields)  # type: ignore[arg-type]


async def test_an_answer_that_was_kept_back_tells_of_its_model_as_far_as_verdicts_are_believed(cascades: Cascades):
    kept_back = attempt(CHEAP, status="escalated", confidence=0.2)
    silent = await cascades.ended(kept_back, attempt(STRONG))
    early = await cascades.ended(kept_back, attempt(STRONG))
    await cascades.say(early, thumb="up")  # before the verdict is written
    await cascades.signs.flush()
    late = await cascades.ended(kept_back, attempt(STRONG))
    await cascades.signs.flush()
    await cascades.say(late, thumb="down")
    strong = {early: (STRONG, 1.0, 1.0), late: (STRONG, 0.0, 1.0)}
    assert await cascades.learned() == strong, "nobody knows yet how right verdicts are"

    told = [await cascades.ended(attempt(CHEAP, confidence=0.8)) for _ in range(40)]
    await cascades.signs.flush()
    for number, identifier in enumerate(told):
        await cascades.say(identifier, thumb="up" if number else "down")
    await cascades.signs.weigh()
    weight = cascades.signs.verdicts
    assert 0.5 < weight < 0.9
    found = await cascades.learned()
    weak = {f"{one}~": (CHEAP, 0.2, round(weight, 2)) for one in (early, late)}
    assert {name: one for name, one in found.items() if name not in told} == {**strong, **weak}
    assert silent not in found
    assert f"{silent}~" not in found, "nobody judged the answer that was told in its place"
    assert [found[name] for name in told] == [(CHEAP, float(number > 0), 1.0) for number in range(40)]


async def test_what_a_cascade_thought_of_an_answer_that_it_let_pass_observes_nothing(cascades: Cascades):
    passed = await cascades.ended(attempt(CHEAP, confidence=0.8))
    await cascades.signs.flush()
    cascades.signs.weights = {VERDICT: 1.0, REJECTED: 1.0}
    assert await cascades.learned() == {}
    await cascades.store.note([Implicit(decision_id=passed, kind="praise", success=1.0, at=1.0)], {"praise": 0.5})
    assert await cascades.learned() == {passed: (CHEAP, 1.0, 0.5)}


async def test_a_weak_answer_that_was_told_after_all_is_its_model_s(cascades: Cascades):
    found = await cascades.ended(attempt(STRONG, status="error"), attempt(CHEAP, status="escalated", confidence=0.2))
    await cascades.signs.flush()
    await cascades.say(found, thumb="down")
    assert await cascades.learned() == {found: (CHEAP, 0.0, 1.0)}
    agreements = {(one.kind, one.right, one.cases) for one in await cascades.store.agreements(0.0)}
    assert agreements == {("verdict", 1, 1)}, "and it tells how right verdicts are"


async def test_an_answer_of_two_models_tells_of_neither(cascades: Cascades):
    alone = await cascades.ended(attempt(CHEAP, status="error"), attempt(STRONG))
    broke = attempt(CHEAP, status="error", first_byte_seconds=0.5)
    joint = await cascades.ended(broke, attempt(STRONG, went_on=True))
    itself = await cascades.ended(broke, attempt(STRONG, status="error", went_on=True), attempt(CHEAP, went_on=True))
    for identifier in (alone, joint, itself):
        await cascades.say(identifier, thumb="up")
    assert await cascades.learned() == {alone: (STRONG, 1.0, 1.0), itself: (CHEAP, 1.0, 1.0)}
