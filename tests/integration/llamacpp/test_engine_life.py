"""Children that are killed, hang or lose their parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pointsman.core.errors import EngineError, UpstreamError
from pointsman.providers.llamacpp.engine import Engine, EngineState, Patience
from pointsman.transport.pool import Pool
from waiting import eventually

from .conftest import MakeEngine, call

PARENT = """
import asyncio, signal, sys, uvloop
from pathlib import Path
from pointsman.providers.llamacpp.engine import Engine
from pointsman.providers.llamacpp.process import EngineSpec
from pointsman.settings import child_environment
from pointsman.transport.pool import Pool

async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: print("interrupted", flush=True))
    extra = {"PYTHONPATH": sys.argv[3]} if len(sys.argv) > 3 else {}
    engine = Engine(EngineSpec(name="m", path=Path(sys.argv[1]), context_per_slot=512, threads=1),
                    environment=child_environment(extra), data_dir=Path(sys.argv[2]), outbound=Pool())
    await engine.start()
    while engine.status.pid is None:
        await asyncio.sleep(0.01)
    if not extra:
        await engine.ready()
    print(engine.status.pid, flush=True)
    await asyncio.sleep(60)

uvloop.run(main())
"""


async def until(engine: Engine, state: EngineState) -> None:
    await eventually(lambda: engine.state is state, every=0.01)


def gone(pid: int, seconds: float) -> bool:
    """Whether a process is dead within so many seconds (what nobody has waited for yet is dead too)."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


@contextmanager
def parent(model: Path, folder: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process with an engine, in a process group of its own, and its child's id."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(model), str(folder), *more],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


async def _exhaust(blocks: AsyncIterator[bytes]) -> None:
    async for _ in blocks:
        pass


@pytest.mark.engine
async def test_a_killed_child_is_started_again_after_growing_delays(weights: Path, make_engine: MakeEngine) -> None:
    engine = make_engine(weights, patience=Patience(first_delay=0.3, longest_delay=0.7))
    await engine.ready()
    first = (engine.origin, engine.api_key, engine.status.pid)
    pauses: list[float] = []
    for death in range(1, 4):
        pid = engine.status.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(engine, EngineState.BACKING_OFF)
        begun = time.monotonic()
        assert "SIGKILL" in engine.reason
        with pytest.raises(EngineError, match="backing off"):
            _ = engine.origin
        await until(engine, EngineState.STARTING)
        pauses.append(time.monotonic() - begun)
        await engine.ready()
        assert engine.restarts == engine.status.restarts == death
    assert [round(pause, 1) for pause in pauses] == pytest.approx([0.3, 0.6, 0.7], abs=0.15)
    assert await engine.healthy()
    assert first[1] != engine.api_key
    assert first[2] != engine.status.pid


@pytest.mark.engine
async def test_a_child_that_dies_in_the_middle_of_an_answer_breaks_it_off(
    weights: Path, make_engine: MakeEngine, pool: Pool
) -> None:
    engine = make_engine(weights)
    await engine.ready()
    body = {"messages": [{"role": "user", "content": "Count."}], "stream": True, "max_tokens": 900, "ignore_eos": True}
    response = await call(pool, engine, "/v1/chat/completions", json.dumps(body).encode(), key=engine.api_key)
    blocks = aiter(response)
    await anext(blocks)
    pid = engine.status.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(UpstreamError):
        await asyncio.wait_for(_exhaust(blocks), 10)
    response.close()
    await until(engine, EngineState.BACKING_OFF)
    await engine.ready(timeout=20)
    assert engine.restarts == 1


@pytest.mark.engine
async def test_a_child_that_hangs_is_killed_and_started_again(weights: Path, make_engine: MakeEngine) -> None:
    engine = make_engine(
        weights, patience=Patience(first_delay=0.1, probe_every=0.2, probe_timeout=0.3, probe_failures=2)
    )
    await engine.ready()
    pid = engine.status.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await until(engine, EngineState.BACKING_OFF)
    assert "2 health checks" in engine.reason
    assert gone(pid, 1)
    await engine.ready(timeout=20)


@pytest.mark.engine
async def test_stop_leaves_no_process_and_start_begins_anew(weights: Path, make_engine: MakeEngine) -> None:
    engine = make_engine(weights)
    await engine.ready()
    pid = engine.status.pid
    assert pid is not None
    await engine.stop()
    assert not psutil.pid_exists(pid)
    assert engine.state is EngineState.STOPPED
    assert engine.restarts == 0
    await engine.start()
    await engine.ready()
    assert engine.status.pid not in (None, pid)


@pytest.mark.engine
def test_no_child_outlives_a_parent_that_is_killed(weights: Path, tmp_path: Path) -> None:
    with parent(weights, tmp_path) as (process, pid):
        assert psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        process.send_signal(signal.SIGKILL)
        assert gone(pid, 2)


def test_no_child_outlives_a_parent_that_is_killed_while_it_loads(tmp_path: Path) -> None:
    (tmp_path / "xllamacpp").mkdir()
    (tmp_path / "xllamacpp" / "__init__.py").write_text("import time; time.sleep(60)")
    with parent(tmp_path / "m.gguf", tmp_path, str(tmp_path)) as (process, pid):
        process.send_signal(signal.SIGKILL)
        assert gone(pid, 2)


def test_a_child_whose_parent_is_already_dead_ends_at_once() -> None:
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    with subprocess.Popen(
        [sys.executable, "-m", "pointsman.providers.llamacpp.child", str(dead.pid), "1"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as child:  # fmt: skip
        assert child.wait(10) == 1


@pytest.mark.engine
async def test_a_system_short_of_memory_ends_the_child_before_the_gateway(
    weights: Path, make_engine: MakeEngine
) -> None:
    engine = make_engine(weights)
    await engine.ready()
    ours, its = (int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in ("self", engine.status.pid))
    assert its > ours


def test_the_pipe_alone_is_a_lifeline() -> None:
    """What stands in for the kernel's signal on systems that have none."""
    code = "import time; from pointsman.providers.llamacpp import lifeline; lifeline.watch(0); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        child.stdin.write(b"what comes is not heeded")
        child.stdin.close()
        assert child.wait(10) == 1


@pytest.mark.engine
def test_ctrl_c_leaves_the_child_to_its_parent(weights: Path, tmp_path: Path) -> None:
    with parent(weights, tmp_path) as (process, pid):
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "interrupted\n"
        os.kill(pid, signal.SIGINT)
        assert not gone(pid, 0.5)
        os.kill(pid, signal.SIGTERM)
        assert gone(pid, 2)
