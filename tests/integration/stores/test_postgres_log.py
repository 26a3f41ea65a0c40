"""How the Postgres log writes: columns, prompts, batches, and what Postgres takes differently."""

from __future__ import annotations

import asyncio

import pytest

from pointsman.core.errors import StoreError
from pointsman.core.outcome import Feedback
from pointsman.stores import decision_log
from pointsman.stores.postgres_database import PostgresDatabase
from pointsman.stores.postgres_log import PostgresDecisionLog
from services import Postgres

from .entries import decision, outcome


async def opened(url: str) -> PostgresDecisionLog:
    log = PostgresDecisionLog(url, timeout=10)
    await log.open()
    return log


async def rows(url: str, query: str) -> list[tuple[object, ...]]:
    database = PostgresDatabase(url, timeout=10)
    await database.open()
    try:
        return await database.fetch(query)
    finally:
        await database.close()


async def test_more_than_a_batch_from_two_logs_goes_in_whole(postgres_url: str):
    first, second = await asyncio.gather(opened(postgres_url), opened(postgres_url))
    made = [decision() for _ in range(2 * decision_log.BATCH + 123)]
    for index, one in enumerate(made):
        log = (first, second)[index % 2]
        log.decided(one, prompt=b"[]" if index < 10 else None)
        log.ended(one.id, outcome(answer_id=one.id))
    await asyncio.gather(first.close(), second.close())
    count = "SELECT count(*), count(status), count(*) FILTER (WHERE answer_id = id) FROM decisions"
    assert await rows(postgres_url, count) == [(len(made),) * 3]
    assert await rows(postgres_url, "SELECT DISTINCT messages FROM prompts") == [(b"[]",)]
    assert first.status().dropped == second.status().dropped == 0


async def test_what_is_filtered_or_summed_is_a_column(postgres_url: str):
    log = await opened(postgres_url)
    chosen = decision()
    log.decided(chosen, prompt=None)
    log.ended(chosen.id, outcome())
    await log.close()
    query = """
        SELECT key_id, model, intent, complexity, privacy_classes, local_only, cost_micro_usd, seconds, status,
               candidates::json -> 1 ->> 'quality', attempts::json -> 0 ->> 'status' FROM decisions
    """
    assert await rows(postgres_url, query) == [
        ("key_a", "lan:small", "refactoring", 0.5, '["secret","contact"]', 1, 3, 1.75, "ok", "0.9", "error")
    ]


async def test_an_item_that_cannot_be_stored_does_not_take_others_with_it(postgres_url: str, caplog):
    log = await opened(postgres_url)
    bad = decision(requested_model="\ud800")
    for one in (decision(), bad, decision()):
        log.decided(one, prompt=None)
        log.ended(one.id, outcome(http_status=2**70 if one is bad else 200))
    await log.close()
    assert await rows(postgres_url, "SELECT count(*), count(status) FROM decisions") == [(2, 2)]
    assert log.status().dropped == 2
    assert log.status().ok
    assert "cannot be stored" in caplog.text


async def test_a_zero_character_becomes_one_that_postgres_takes(postgres_url: str):
    log = await opened(postgres_url)
    chosen = decision(requested_model="a\x00b")
    log.decided(chosen, prompt=None)
    await log.feedback(Feedback(decision_id=chosen.id, score=1.0, comment="\x00"))
    record = await log.get(chosen.id)
    assert record is not None
    assert (record["decision"]["requested_model"], record["feedback"]["comment"]) == ("a\ufffdb", "\ufffd")
    assert await log.get("\x00") is None
    await log.close()


async def test_a_connection_that_was_cut_is_made_anew_without_a_failure(postgres_server: Postgres, postgres_url: str):
    log = await opened(postgres_url)
    await log.recent(1)
    name = postgres_url.split("/")[3].split("?")[0]
    postgres_server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    chosen = decision()
    log.decided(chosen, prompt=None)
    assert await log.get(chosen.id) is not None
    assert log.status().last_error is None
    await log.close()


async def test_another_schema_is_refused_at_the_start(empty_postgres_url: str):
    log = PostgresDecisionLog(empty_postgres_url)
    with pytest.raises(StoreError, match="pointsman db upgrade"):
        await log.open()
