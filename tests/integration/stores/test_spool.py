"""Files that hold what the database does not take."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pointsman.stores import disk_room
from pointsman.stores import spool as spools
from pointsman.stores.spool import Item, Spool

from .entries import decision, outcome


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def items(count: int) -> list[Item]:
    made: list[Item] = []
    for _ in range(count):
        one = decision()
        made += [(one, b'[{"role":"user"}]'), (one.id, outcome(answer_id=one.id))]
    return made


def drained(spool: Spool, step: int = 3) -> list[Item]:
    found = []
    while batch := spool.peek(step):
        found += batch
        spool.advance()
    assert spool.items == 0
    return found


def test_items_come_back_as_they_were_and_in_order(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spools, "FILE_BYTES", 4000)  # several files
    made = items(10)
    spool = Spool(folder)
    for item in made:
        assert spool.append([item]) == 0
    assert len(list(folder.iterdir())) > 2
    assert spool.items == len(made)
    first = spool.peek(5)
    assert first == made[: len(first)] != []
    assert spool.peek(5) == first  # until it is said that they are written
    spool.advance()
    spool.append(more := items(1))
    assert drained(spool) == made[len(first) :] + more
    assert list(folder.iterdir()) == []
    spool.append(more)  # and anew
    assert drained(spool) == more


def test_what_is_left_is_taken_over_from_the_beginning_of_its_file(folder: Path):
    made = items(5)
    before = Spool(folder)
    before.append(made)
    before.peek(4)
    before.advance()
    before.close()
    after = Spool(folder)
    after.adopt()
    assert after.items == len(made)
    assert drained(after) == made
    assert list(folder.iterdir()) == []


def test_the_room_of_what_was_replayed_is_given_back_before_the_file_is_done(folder: Path, caplog):
    made = items(600)
    before = Spool(folder)
    before.append(made)
    [path] = folder.iterdir()
    held = path.stat().st_blocks
    done = before.peek(len(made) // 2)
    before.advance()
    if path.stat().st_blocks == held:
        pytest.skip("this disk does not take room back")
    assert path.stat().st_blocks < 0.6 * held
    assert before.peek(1) == made[len(done) : len(done) + 1]
    before.close()  # or killed
    after = Spool(folder)
    after.adopt()
    assert after.items == len(made) - len(done)
    assert drained(after, 100) == made[len(done) :]
    assert "cannot be read" not in caplog.text


def test_what_is_looked_at_together_is_bounded_by_its_size(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spools, "PEEK_BYTES", 4000)
    spool = Spool(folder)
    spool.append(made := items(20))
    assert 0 < len(spool.peek(40)) < 10
    assert drained(spool, 40) == made


def test_room_is_left_to_the_database(folder: Path, monkeypatch: pytest.MonkeyPatch):
    spool = Spool(folder)
    spool.append(made := items(1))
    monkeypatch.setattr(disk_room, "left", lambda folder: disk_room.KEPT_FREE + 100)
    with pytest.raises(OSError, match="left to the database"):
        spool.append(items(1))
    monkeypatch.undo()
    assert drained(spool) == made


def test_files_of_a_process_that_lives_are_its_own(folder: Path):
    living = Spool(folder)
    living.append(made := items(1))
    other = Spool(folder)
    other.adopt()
    assert other.items == 0
    other.append(items(2))
    assert drained(living) == made
    other.close()


def test_a_line_that_is_cut_off_or_damaged_is_left_out(folder: Path, caplog):
    spool = Spool(folder)
    spool.append(made := items(3))
    spool.close()
    [path] = folder.iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b"\xff" + lines[2][1:]
    path.write_bytes(b"".join(lines)[:-40])
    spool = Spool(folder)
    spool.adopt()
    assert drained(spool, 1) == [made[0], made[1], made[3], made[4]]
    assert caplog.text.count("cannot be read and is left out") == 1  # a half line at the end is nothing unusual


def test_no_more_is_kept_than_the_bound(folder: Path):
    spool = Spool(folder, max_bytes=20_000)
    spool.append(made := items(3))
    with pytest.raises(OSError, match=r"database\.spool_max_bytes"):
        spool.append(items(20))
    assert drained(spool) == made
    spool.append(items(3))  # there is room again


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_the_disk_does_not_take_whole_is_not_kept_at_all(folder: Path):
    spool = Spool(folder)
    spool.append(made := items(2))
    [path] = folder.iterdir()
    whole = path.stat().st_size
    with files_no_longer_than(whole + 700), pytest.raises(OSError):
        spool.append(items(4))
    assert path.stat().st_size == whole
    spool.append(more := items(1))
    assert drained(spool) == made + more


def test_files_are_the_owners_alone(folder: Path):
    mask = os.umask(0)
    try:
        spool = Spool(folder)
        spool.append(items(1))
    finally:
        os.umask(mask)
    [path] = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    spool.close()


def test_an_item_that_is_no_json_is_left_out_and_counted(folder: Path):
    spool = Spool(folder)
    good = items(1)
    assert spool.append([(decision(requested_model="\ud800"), None), *good]) == 1
    assert drained(spool) == good
