"""Tools that cannot share our environment: set up once in the user's cache, from pinned and hashed requirements."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs
import pytest

REQUIREMENTS = Path(__file__).parents[3] / "requirements" / "clients"
SECONDS = 420
"""For one set-up; the largest fetches 250 MB."""


def python_tool(name: str) -> Path:
    """The program of a Python tool; its requirements are `requirements/clients/NAME.txt`."""
    return python_of(name).with_name(name)


def python_of(name: str) -> Path:
    """The interpreter of an environment that has `requirements/clients/NAME.txt`."""
    pins = REQUIREMENTS / f"{name}.txt"

    def make(folder: Path) -> None:
        uv = str(Path(sys.executable).with_name("uv"))
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(folder / "env"))
        python = str(folder / "env" / "bin" / "python")
        _run(uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", str(pins))

    return _kept(name, pins.read_bytes(), make) / "env" / "bin" / "python"


def node_tool(name: str) -> Path:
    """The program of a tool that npm installs."""
    native = {
        "claude": "@anthropic-ai/claude-code-*/claude",
        "codex": "@openai/codex-*/vendor/*/bin/codex",
    }[name]
    return next(path for path in node_modules().glob(native) if path.is_file())


def node_modules() -> Path:
    """The folder of all packages from npm, which are pinned in one lock file; Node finds them by `NODE_PATH`."""
    pins = REQUIREMENTS / "npm"
    if shutil.which("npm") is None:
        pytest.skip("there is no npm here")

    def make(folder: Path) -> None:
        for file in ("package.json", "package-lock.json"):
            shutil.copy(pins / file, folder)
        _run("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", cwd=folder)

    return _kept("npm", (pins / "package-lock.json").read_bytes(), make) / "node_modules"


def _kept(name: str, pins: bytes, make: Callable[[Path], None]) -> Path:
    """A folder made for exactly these pins; what an earlier attempt left half done is made anew."""
    cache = platformdirs.user_cache_path("pointsman-tests", appauthor=False)
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{name}-{hashlib.sha256(pins + sys.version.encode()).hexdigest()[:16]}"
    with _locked(cache / f"{name}.lock"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "complete").touch()
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=SECONDS, env=dict(os.environ))
    assert done.returncode == 0, f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}"
