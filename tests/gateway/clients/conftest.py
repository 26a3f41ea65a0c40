"""Homes and working folders of tools; nothing of the developer's own settings reaches them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Tool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A scratch repository with one file."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "hello.py").write_text('def greet():\n    return "hello"\n')
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    return folder


@pytest.fixture
def run(tmp_path: Path, work: Path) -> Tool:
    """Runs a tool in `work`, with a home of its own and no variable that we do not give."""
    home = tmp_path / "home"
    home.mkdir()

    def run(*command: str | Path, timeout: float = 90, **environ: str) -> subprocess.CompletedProcess[str]:
        given = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "TERM": "dumb", **environ}
        return subprocess.run(
            [str(part) for part in command],
            cwd=work, env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip

    return run
