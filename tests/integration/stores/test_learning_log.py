"""The log as learning reads it, on both databases, while it is written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pointsman.core.outcome import Feedback, Outcome
from pointsman.learn.dataset import read_log
from pointsman.stores.database import Database
from pointsman.stores.decision_log import StoredDecisionLog
from pointsman.stores.learning_log import LearningLog
from pointsman.stores.observations import keep_feedback
from pointsman.stores.postgres_database import PostgresDatabase
from pointsman.stores.postgres_log import PostgresDecisionLog
from pointsman.stores.sqlite_database import SqliteDatabase
from pointsman.stores.sqlite_log import SqliteDecisionLog

from .entries import decision


@pytest.fixture(params=["sqlite", "postgres"])
async def both(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[tuple[StoredDecisionLog, Database]]:
    """The log as a gateway writes it, and the same database as a command reads it."""
    log: StoredDecisionLog = SqliteDecisionLog(path)
    database: Database = SqliteDatabase(path)
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        log, database = PostgresDecisionLog(url, timeout=10), PostgresDatabase(url, timeout=10)
    await log.open()
    await database.open()
    yield log, database
    await database.close()
    await log.close()


async def test_pages_hold_everything_once_in_order(both):
    log, database = both
    same = decision().created_at + 1
    taken = [decision(created_at=same + number // 3) for number in range(20)]  # three share a time
    for one in taken:
        log.decided(one, prompt=None)
    await log.get(taken[0].id)
    reader = LearningLog(database)
    pages = [page async for page in reader.pages(since=same, until=same + 100, page=4)]
    assert [len(page) for page in pages] == [4, 4, 4, 4, 4]
    read = [row.id for page in pages for row in page]
    assert read == [one.id for one in sorted(taken, key=lambda one: (one.created_at, one.id))]
    assert await reader.count(since=same, until=same + 100) == 20
    assert await reader.count(since=same, until=same + 1) == 3
    assert [page async for page in reader.pages(since=same + 100, until=same + 200)] == []


async def test_decisions_come_with_what_became_of_them(both):
    log, database = both
    judged, running = decision(), decision()
    log.decided(judged, prompt=None)
    log.decided(running, prompt=None)
    ended = Outcome(
        status="ok", model="cloud:großes", prompt_tokens=10, completion_tokens=20, cached_tokens=5, cost_micro_usd=70,
        seconds=1.5,
    )  # fmt: skip
    log.ended(judged.id, ended)
    await log.get(judged.id)
    await database.transaction(keep_feedback(Feedback(decision_id=judged.id, thumb="up", created_at=1.0)))
    told: list[int] = []
    found, unreadable = await read_log(
        LearningLog(database), since=judged.created_at, until=running.created_at + 1, tell=told.append
    )
    assert (len(found), unreadable, told) == (2, 0, [2])
    first, second = found
    assert (first.id, first.candidates, first.signals) == (judged.id, judged.candidates, judged.signals)
    assert (first.success, first.weight, first.source) == (1.0, 1.0, "feedback")
    assert (first.status, first.answered_by, first.cost_micro_usd, first.seconds) == ("ok", "cloud:großes", 70, 1.5)
    assert (first.prompt_tokens, first.completion_tokens, first.cached_tokens) == (10, 20, 5)
    assert (first.explored, first.conversation, first.effort, first.key_id) == (True, "9f3c", "low", "key_a")
    assert (second.status, second.success, second.cost_micro_usd) == (None, None, None)


async def test_what_is_written_meanwhile_disturbs_nobody(both):
    log, database = both
    old = [decision() for _ in range(10)]
    for one in old:
        log.decided(one, prompt=None)
    await log.get(old[0].id)
    read = []
    async for page in LearningLog(database).pages(since=old[0].created_at, until=old[-1].created_at + 1e-4, page=3):
        read += [row.id for row in page]
        later = decision()
        log.decided(later, prompt=None)
        await log.get(later.id)
    assert read == [one.id for one in old]
