"""What happens to the log when the process is killed, the disk is full, or the file is locked, read-only or corrupt."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pointsman.core.errors import StoreError
from pointsman.core.outcome import Feedback
from pointsman.stores import decision_log, sqlite_file
from pointsman.stores.sqlite_log import SqliteDecisionLog
from waiting import eventually

from .entries import counted, decision, outcome


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decision_log, "FIRST_RETRY", 0.05)
    monkeypatch.setattr(decision_log, "LAST_RETRY", 0.2)
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_MS", 50)


WRITES = """
    import asyncio, sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from stores.entries import decision, outcome
    from pointsman.stores.sqlite_log import SqliteDecisionLog

    async def main():
        log = SqliteDecisionLog(Path(sys.argv[1]))
        await log.open()
        while True:
            one = decision(created_at=time.time())
            log.decided(one, prompt=b"x" * 2000)
            log.ended(one.id, outcome())
            print(one.created_at, flush=True)
            await asyncio.sleep(0.0005)

    asyncio.run(main())
"""


@pytest.mark.parametrize("seconds", [0.4, 1.3])
def test_a_killed_process_loses_the_last_second_at_most_and_never_the_file(path: Path, seconds: float):
    tests = str(Path(__file__).parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITES), str(path), tests], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    logged = [float(process.stdout.readline())]
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    killed_at = time.time()
    logged += [float(line) for line in process.stdout.read().splitlines() if line.count(".") == 1]
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    decisions, outcomes = counted(path)
    assert decisions - outcomes in (0, 1)  # a batch may end between the two
    older = sum(at < killed_at - 1 for at in logged)
    assert older <= decisions <= len(logged) + 1
    assert decisions > 0 or seconds < 1


async def test_a_full_database_keeps_items_and_writes_them_when_there_is_room(path: Path, caplog):
    log = SqliteDecisionLog(path)
    await log.open()
    await log.close()
    log = SqliteDecisionLog(path, max_bytes=path.stat().st_size + 30 * 4096)
    await log.open()
    first = decision()
    log.decided(first, prompt=b"x" * 80_000)
    await log.recent(1)
    late = decision()
    log.decided(late, prompt=b"y" * 60_000)
    log.ended(late.id, outcome(answer_id="late"))
    await eventually(lambda: not log.status().ok)
    assert log.status().pending == 2
    assert "database or disk is full" in (log.status().last_error or "")
    assert await log.get(first.id) is not None  # what is there can still be read
    with pytest.raises(StoreError, match="free some space"):
        await log.get(late.id)
    with pytest.raises(StoreError, match="free some space"):
        await log.feedback(Feedback(decision_id=late.id, score=1.0))
    await _retried(log)
    warnings = [record for record in caplog.records if "keeps its items in memory" in record.message]
    assert len(warnings) == 1
    with sqlite3.connect(path) as other:
        other.execute("DELETE FROM prompts")
    other.close()
    await eventually(lambda: log.status().ok)
    assert log.status().pending == log.status().dropped == 0
    record = await log.get("late")
    assert record is not None
    assert record["decision"]["id"] == late.id
    await log.close()
    assert counted(path) == (2, 1)


async def _retried(log: SqliteDecisionLog, times: int = 3) -> None:
    for _ in range(times):
        at = log._retry_at
        await eventually(lambda at=at: log._retry_at != at)


async def test_a_locked_file_keeps_items_and_writes_them_when_it_is_free(path: Path):
    log = SqliteDecisionLog(path)
    await log.open()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    log.decided(decision(), prompt=None)
    await eventually(lambda: not log.status().ok)
    assert "another process holds the file" in (log.status().last_error or "")
    other.execute("ROLLBACK")
    other.close()
    await eventually(lambda: log.status().ok)
    await log.close()
    assert counted(path) == (1, 0)


async def test_no_more_items_wait_than_the_bound(path: Path, caplog):
    path.parent.write_text("in the way")  # a file where the folder should be
    log = SqliteDecisionLog(path, max_pending=10)
    await log.open()
    assert not log.status().ok
    for _ in range(15):
        log.decided(decision(), prompt=None)
    status = log.status()
    assert (status.pending, status.dropped) == (10, 5)
    path.parent.unlink()
    await eventually(lambda: log.status().ok)
    assert log.status().dropped == 5
    await log.close()
    assert counted(path) == (10, 0)


async def test_closing_a_log_that_cannot_write_ends_and_says_what_was_lost(path: Path, caplog):
    path.parent.write_text("in the way")
    log = SqliteDecisionLog(path)
    await log.open()
    log.decided(decision(), prompt=None)
    await log.close()
    assert log.status().dropped == 1
    assert "1 items that could not be written" in caplog.text


GARBAGE = b"this is not a database, whatever its name says. " * 200


async def test_a_file_that_is_no_database_is_moved_aside_and_a_new_one_begun(path: Path, caplog):
    path.parent.mkdir()
    path.write_bytes(GARBAGE)
    log = SqliteDecisionLog(path)
    await log.open()
    assert log.status().ok
    log.decided(decision(), prompt=None)
    await log.close()
    assert counted(path) == (1, 0)
    [aside] = [entry for entry in path.parent.iterdir() if ".corrupt-" in entry.name]
    assert aside.read_bytes() == GARBAGE
    assert str(aside) in caplog.text


async def test_a_file_that_goes_corrupt_in_use_is_moved_aside_with_nothing_queued_lost(path: Path):
    log = SqliteDecisionLog(path)
    await log.open()
    for _ in range(200):
        log.decided(decision(), prompt=None)
    await log.recent(1)
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    late = decision()
    log.decided(late, prompt=None)
    assert await log.get(late.id) is not None
    await log.close()
    assert counted(path)[0] == 1
    assert any(".corrupt-" in entry.name for entry in path.parent.iterdir())


async def test_two_processes_that_find_one_corrupt_file_move_it_aside_once(path: Path):
    path.parent.mkdir()
    path.write_bytes(GARBAGE)
    files = [sqlite_file.SqliteFile(path), sqlite_file.SqliteFile(path)]
    for file in files:
        with pytest.raises(sqlite3.DatabaseError):
            file.connect()
    assert files[0].move_aside() is not None
    files[0].connect()
    assert files[1].move_aside() is None  # it is a good file by now
    assert files[1].connect().execute("SELECT count(*) FROM decisions").fetchone() == (0,)
    for file in files:
        file.close()


async def test_a_file_that_is_deleted_in_use_is_made_anew(path: Path):
    log = SqliteDecisionLog(path)
    await log.open()
    log.decided(decision(), prompt=None)
    await log.recent(1)
    for entry in path.parent.iterdir():
        entry.unlink()
    log.decided(decision(), prompt=None)
    await log.close()
    assert counted(path) == (1, 0)


@pytest.fixture
def strangers_folder() -> Iterator[Path]:
    """A folder that any user may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="pointsman-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


READ_ONLY = """
    import asyncio, os, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from stores.entries import decision
    from pointsman.stores.sqlite_log import SqliteDecisionLog

    async def main():
        log = SqliteDecisionLog(Path(sys.argv[1]))
        if os.geteuid() == 0:  # for root nothing is read-only
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        await log.open()
        log.decided(decision(), prompt=None)
        status = log.status()
        print(status.ok, status.pending, status.last_error)

    asyncio.run(main())
"""


def test_a_read_only_folder_is_told_and_the_gateway_lives(strangers_folder: Path):
    path = strangers_folder / "data" / "pointsman.sqlite3"
    strangers_folder.chmod(0o555)
    tests = str(Path(__file__).parent.parent)
    command = [sys.executable, "-c", textwrap.dedent(READ_ONLY), str(path), tests]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    ok, pending, error = done.stdout.strip().split(" ", 2)
    assert (ok, pending) == ("False", "1")
    assert "make the folder writable, or set another data_dir" in error
    assert done.stderr.count("keeps its items in memory") == 1
