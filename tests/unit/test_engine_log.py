"""The engine's log keeps within its bounds."""

from __future__ import annotations

from pathlib import Path

from pointsman.providers.llamacpp.engine_log import EngineLog


def test_the_log_is_bounded_and_its_tail_spans_both_files(tmp_path: Path) -> None:
    log = EngineLog(tmp_path / "engine" / "m.log", limit=1000)
    for number in range(500):
        log.write(f"line {number}\n".encode())
    assert sum(path.stat().st_size for path in (tmp_path / "engine").iterdir()) < 2100
    assert log.tail(120) == [f"line {number}" for number in range(380, 500)]


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "engine").write_text("a file where the folder should be")
    log = EngineLog(tmp_path / "engine" / "m.log")
    log.write(b"lost\n")
    assert log.tail(5) == []
