"""How the SQLite log writes: columns, prompts, batches, permissions."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import time
from pathlib import Path

import pytest

from pointsman.core.errors import StoreError
from pointsman.core.outcome import Feedback
from pointsman.stores import decision_log
from pointsman.stores.rows import SELECT
from pointsman.stores.sqlite_log import SqliteDecisionLog, SqliteLogWriter
from waiting import eventually

from .entries import counted, decision, outcome


async def opened(path: Path, **options: int) -> SqliteDecisionLog:
    log = SqliteDecisionLog(path, **options)
    await log.open()
    return log


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


async def test_what_is_filtered_or_summed_is_a_column(path: Path):
    log = await opened(path)
    chosen = decision()
    log.decided(chosen, prompt=None)
    log.ended(chosen.id, outcome())
    await log.close()
    query = """
        SELECT key_id, model, requested_model, mode, intent, complexity, privacy_level, privacy_classes, local_only,
               policy, propensity, estimated_cost_micro_usd, prompt_tokens, completion_tokens, cost_micro_usd, seconds,
               status, error, http_status, answer_id, stream, turn, priority, needs_tools, estimated_prompt_tokens,
               json_extract(candidates, '$[1].quality'), json_extract(attempts, '$[0].status') FROM decisions
    """
    assert rows(path, query) == [
        ("key_a", "lan:small", "small", "hint", "refactoring", 0.5, "high", '["secret","contact"]', 1,
         "rules@1", 0.9, 12, 9, 4, 3, 1.75, "ok", "late", 201, "chatcmpl-7", 1, 3, "quality", 1, 100, 0.9, "error")
    ]  # fmt: skip


async def test_prompts_are_kept_where_they_are_given_alone(path: Path):
    log = await opened(path)
    kept, other = decision(), decision()
    log.decided(kept, prompt=b'[{"role":"user","content":"hi"}]')
    log.decided(other, prompt=None)
    await log.close()
    assert rows(path, "SELECT decision_id, messages FROM prompts") == [(kept.id, b'[{"role":"user","content":"hi"}]')]


async def test_prompts_beyond_the_bound_are_left_out_and_their_decisions_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(decision_log, "MAX_PROMPT_BYTES", 1000)
    log = await opened(path)
    for _ in range(3):
        log.decided(decision(), prompt=b"x" * 400)
    await eventually(lambda: log.status().pending == 0)
    log.decided(decision(), prompt=b"y" * 900)  # the bound is on what waits, and nothing waits any more
    await log.close()
    assert rows(path, "SELECT length(messages) FROM prompts ORDER BY 1") == [(400,), (400,), (900,)]
    assert counted(path) == (4, 0)


async def test_items_are_written_within_the_second_without_being_asked(path: Path):
    log = await opened(path)
    chosen = decision()
    log.decided(chosen, prompt=None)
    log.ended(chosen.id, outcome())
    started = time.monotonic()
    await eventually(lambda: counted(path) == (1, 1), seconds=5)
    assert time.monotonic() - started < 1
    await log.close()


async def test_more_than_a_batch_goes_in_whole_and_an_outcome_finds_its_decision(path: Path):
    log = await opened(path)
    made = [decision() for _ in range(3 * decision_log.BATCH + 123)]
    for one in made:
        log.decided(one, prompt=None)
    for one in made:
        log.ended(one.id, outcome(answer_id=one.id))
    record = await log.get(made[-1].id)
    assert record is not None
    assert record["outcome"]["answer_id"] == made[-1].id
    await log.close()
    assert counted(path) == (len(made), len(made))
    assert rows(path, "SELECT count(*) FROM decisions WHERE answer_id <> id") == [(0,)]


async def test_logging_neither_blocks_nor_raises_and_costs_microseconds(path: Path):
    log = await opened(path)
    made = [decision() for _ in range(8_000)]  # less than may wait in memory
    ended = outcome()
    best = float("inf")
    for start in range(0, len(made), 1000):  # the best of eight: other processes share the machine
        began = time.perf_counter()
        for one in made[start : start + 1000]:
            log.decided(one, prompt=None)
            log.ended(one.id, ended)
        best = min(best, (time.perf_counter() - began) / 2000)
    await log.close()
    assert best < 5e-6
    assert counted(path) == (8_000, 8_000)


async def test_an_idle_log_does_not_wake_up(path: Path):
    log = await opened(path)
    await log.recent(1)
    await asyncio.sleep(0.1)
    before = log._thread.native_id
    ticks = _context_switches(before)
    await asyncio.sleep(0.8)
    assert _context_switches(before) - ticks <= 1
    await log.close()


def _context_switches(thread: int | None) -> int:
    status = Path(f"/proc/self/task/{thread}/status")
    if not status.exists():
        pytest.skip("needs /proc")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    if "voluntary_ctxt_switches" not in lines:
        pytest.skip("this kernel does not count context switches")
    return int(lines["voluntary_ctxt_switches"])


async def test_the_file_and_its_folder_are_the_owners_alone(path: Path):
    log = await opened(path)
    log.decided(decision(), prompt=None)
    await log.recent(1)
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    await log.close()
    assert set(modes) == {"pointsman.sqlite3", "pointsman.sqlite3-wal", "pointsman.sqlite3-shm"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_file_that_others_could_read_is_closed_to_them(path: Path):
    await (await opened(path)).close()
    path.chmod(0o644)
    await (await opened(path)).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_an_item_that_cannot_be_stored_does_not_take_others_with_it(path: Path, caplog):
    log = await opened(path)
    bad = decision(requested_model="\ud800")
    for one in (decision(), bad, decision()):
        log.decided(one, prompt=None)
        log.ended(one.id, outcome(http_status=2**70 if one is bad else 200))
    await log.close()
    assert counted(path) == (2, 2)
    assert log.status().dropped == 2
    assert log.status().ok
    assert "cannot be stored" in caplog.text


async def test_the_writer_is_closed_once_and_takes_nothing_after(path: Path):
    log = await opened(path)
    await log.close()
    await log.close()
    log.decided(decision(), prompt=None)
    assert log.status().dropped == 1
    with pytest.raises(StoreError, match="closed"):
        await log.get("any")


async def test_two_logs_share_one_file(path: Path):
    first, second = await asyncio.gather(opened(path), opened(path))
    made = [decision() for _ in range(400)]
    for index, one in enumerate(made):
        log = (first, second)[index % 2]
        log.decided(one, prompt=None)
        log.ended(one.id, outcome())
        if index % 20 == 0:
            await log.feedback(Feedback(decision_id=one.id, score=1.0))
    await first.recent(1)
    record = await second.get(made[398].id)  # written by the other
    assert record is not None
    await asyncio.gather(first.close(), second.close())
    assert counted(path) == (400, 400)
    assert (first.status().ok, second.status().dropped) == (True, 0)


async def test_lookups_use_indices(path: Path):
    await (await opened(path)).close()
    for where, index in (
        ("d.id = 'x'", "sqlite_autoindex_decisions_1"),
        ("d.answer_id = 'x' ORDER BY d.created_at DESC", "decisions_by_answer"),
        ("TRUE AND d.key_id = 'x' ORDER BY d.created_at DESC", "decisions_by_key"),
        ("TRUE ORDER BY d.created_at DESC, d.id DESC", "decisions_by_time"),
    ):
        plan = str(rows(path, f"EXPLAIN QUERY PLAN {SELECT} WHERE {where} LIMIT 5"))
        assert index in plan, plan


async def test_a_decision_that_is_there_already_gets_the_outcome_that_comes_with_it_again(path: Path):
    chosen, other = decision(), decision()
    writer = SqliteLogWriter(path)
    log = await opened(path)
    await log.close()
    assert writer.write([(chosen, None)], []) == []  # reported as failed, say: it comes again, and has ended meanwhile
    assert writer.write([(chosen, None), (other, b"[]")], [(chosen.id, outcome()), (other.id, outcome())]) == []
    writer.close()
    assert rows(path, "SELECT id, status, seconds FROM decisions ORDER BY id") == [
        (chosen.id, "ok", 1.75),
        (other.id, "ok", 1.75),
    ]
    assert rows(path, "SELECT decision_id FROM prompts") == [(other.id,)]


async def test_an_outcome_that_cannot_be_stored_leaves_its_decision(path: Path):
    good, bad = decision(), decision()
    log = await opened(path)
    await log.close()
    writer = SqliteLogWriter(path)
    refused = writer.write([(good, None), (bad, None)], [(good.id, outcome()), (bad.id, outcome(prompt_tokens=2**70))])
    writer.close()
    assert [type(error) for error in refused] == [OverflowError]
    assert rows(path, "SELECT id, status FROM decisions ORDER BY id") == [(good.id, "ok"), (bad.id, None)]


def written_by_this_process() -> int:
    """Bytes, as the kernel counts them."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("wchar:")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the kernel does not tell what was written")
def test_a_batch_is_written_once_and_nothing_beside_it(path: Path):
    """No statement keeps copies of the pages that it touches in a temporary file."""
    writer = SqliteLogWriter(path)
    wal = path.with_name(f"{path.name}-wal")
    made = [decision() for _ in range(750)]
    try:
        for start in (0, 250):  # pages that were there before are what would be copied
            batch = made[start : start + 250]
            writer.write([(one, None) for one in batch], [(one.id, outcome()) for one in batch])
        before, length = written_by_this_process(), wal.stat().st_size
        writer.write([(one, None) for one in made[500:]], [(one.id, outcome()) for one in made[500:]])
        after, grown = written_by_this_process(), wal.stat().st_size - length
    finally:
        writer.close()
    assert grown > 100_000
    assert after - before < grown + 4096
