"""An engine that cannot run says what is missing and how to mend it."""

from __future__ import annotations

import asyncio
import ctypes.util
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pointsman.core.errors import EngineError
from pointsman.providers.llamacpp.engine import EngineState, Patience
from pointsman.providers.llamacpp.process import EngineSpec

from .conftest import MakeEngine


def package(folder: Path, source: str) -> Path:
    """A folder with a package `xllamacpp` that shadows the installed one."""
    (folder / "xllamacpp").mkdir()
    (folder / "xllamacpp" / "__init__.py").write_text(source)
    return folder


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        ("ImportError('libgomp.so.1: cannot open shared object file: No such file or directory')",
         "engine_library_missing", "apt-get install libgomp1"),
        ("OSError('libgomp.so.1: cannot open shared object file: No such file or directory')",
         "engine_library_missing", "apt-get install libgomp1"),
        ("ImportError('dlopen(x.so): Library not loaded: @rpath/libomp.dylib')",
         "engine_library_missing", "brew install libomp"),
        ("ImportError('libodd.so.7: cannot open shared object file: No such file or directory')",
         "engine_library_missing", "libodd"),
        ("ModuleNotFoundError('No module', name='xllamacpp')", "engine_missing", "pip install xllamacpp"),
        ("ModuleNotFoundError('No module', name='other')", "engine_broken", "No module"),
        ("ImportError('undefined symbol: x')", "engine_broken", "undefined symbol"),
    ],
)  # fmt: skip
async def test_an_engine_that_cannot_be_imported(
    tmp_path: Path, make_engine: MakeEngine, raised: str, code: str, words: str
) -> None:
    engine = make_engine(tmp_path / "m.gguf", python_path=package(tmp_path, f"raise {raised}"))
    with pytest.raises(EngineError) as caught:
        await engine.ready()
    assert caught.value.code == code
    assert words in caught.value.message
    assert engine.state is EngineState.FAILED
    assert engine.reason == caught.value.message
    assert engine.status.pid is None
    with pytest.raises(EngineError, match="engine"):
        _ = engine.origin


HIDE = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work"
folder=$(dirname "$2")
mount -t overlay overlay -o "lowerdir=$folder,upperdir=$1/upper,workdir=$1/work" "$folder"
rm "$2"
exec "$3" -c "
import os, subprocess, sys
command = [sys.executable, '-m', 'pointsman.providers.llamacpp.child', str(os.getpid()), '1']
child = subprocess.Popen(command, stdin=subprocess.PIPE)
child.stdin.write(b'{}' + bytes([10]))
child.stdin.flush()
child.wait()
"
"""


def test_a_system_without_libgomp(tmp_path: Path) -> None:
    """In a mount namespace where the library is really gone."""
    library = ctypes.util.find_library("gomp")
    found = [path for path in Path("/usr/lib").glob(f"*/{library}") if library]
    allowed = subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
    if not found or not allowed:
        pytest.skip("hiding a library needs root, and a library")
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", HIDE, "sh", tmp_path, found[0], sys.executable], capture_output=True, text=True
    )
    assert "engine_library_missing" in ran.stdout, ran
    assert "apt-get install libgomp1" in ran.stdout


async def test_an_engine_that_keeps_dying_while_loading_counts_as_failed(
    tmp_path: Path, make_engine: MakeEngine
) -> None:
    dies = package(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    patience = Patience(first_delay=0.05, longest_delay=0.1, silent_deaths=3)
    engine = make_engine(tmp_path / "m.gguf", python_path=dies, patience=patience)
    with pytest.raises(EngineError, match=r"SIGILL.*3 times"):
        await engine.ready()
    assert engine.restarts == 2
    await asyncio.sleep(0.3)
    assert engine.restarts == 2, "nothing goes on behind"


async def test_a_model_that_does_not_load_in_time_is_ended(tmp_path: Path, make_engine: MakeEngine) -> None:
    hangs = package(tmp_path, "import time; time.sleep(60)")
    patience = Patience(start=0.5, first_delay=0.05, silent_deaths=2)
    engine = make_engine(tmp_path / "m.gguf", python_path=hangs, patience=patience)
    with pytest.raises(EngineError, match=r"did not load within 0\.5 s"):
        await engine.ready()


async def test_waiting_can_be_bounded(tmp_path: Path, make_engine: MakeEngine) -> None:
    engine = make_engine(tmp_path / "m.gguf", python_path=package(tmp_path, "import time; time.sleep(60)"))
    begun = time.monotonic()
    with pytest.raises(EngineError, match="not ready"):
        await engine.ready(timeout=0.2)
    assert time.monotonic() - begun < 5
    assert engine.state is EngineState.STARTING


async def test_stopping_while_loading_leaves_nothing_and_ends_the_waiting(
    tmp_path: Path, make_engine: MakeEngine
) -> None:
    engine = make_engine(tmp_path / "m.gguf", python_path=package(tmp_path, "import time; time.sleep(60)"))
    waiting = asyncio.create_task(engine.ready())
    await asyncio.sleep(0.3)
    await engine.stop()
    with pytest.raises(EngineError):
        await waiting
    assert engine.state is EngineState.STOPPED
    assert engine.status.pid is None
    with pytest.raises(EngineError):
        await engine.ready()


@pytest.mark.engine
async def test_a_file_that_is_no_model_fails_with_the_engines_own_reason(
    tmp_path: Path, weights: Path, make_engine: MakeEngine
) -> None:
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(weights.read_bytes()[:30_000_000])
    engine = make_engine(wrong)
    with pytest.raises(EngineError, match="not within the file bounds") as caught:
        await engine.ready()
    assert caught.value.code == "engine_load_failed"
    assert str(wrong) in caught.value.message
    assert any("corrupted or incomplete" in line for line in engine.tail_log())
    with pytest.raises(EngineError, match="not within the file bounds"):
        await engine.ready()
    assert engine.restarts == 0, "another start would not help"


@pytest.mark.engine
async def test_a_failed_engine_is_tried_again_after_a_while(
    tmp_path: Path, weights: Path, make_engine: MakeEngine
) -> None:
    path = tmp_path / "late.gguf"
    engine = make_engine(path, patience=Patience(failed=0.0))
    with pytest.raises(EngineError, match="cannot load"):
        await engine.ready()
    path.symlink_to(weights)
    await engine.ready()
    assert engine.state is EngineState.READY
    assert engine.reason == ""


@pytest.mark.parametrize(
    "wrong", [{"context_per_slot": 0}, {"slots": 0}, {"threads": 0}, {"cache_ram_mib": -1}], ids=str
)
def test_a_spec_that_the_engine_would_read_as_unbounded_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EngineSpec(**{"name": "m", "path": Path("m.gguf"), "context_per_slot": 1024, **wrong})
