"""Environments of their own: made once, never half, and with an error that says why when they cannot be made."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pointsman.core.errors import UpstreamConnectError
from pointsman.providers.litellm.environment import REQUIREMENTS
from pointsman.providers.own_environment import OwnEnvironment


def small(requirements: Path) -> OwnEnvironment:
    return OwnEnvironment(name="small", title="A small", requirements=requirements)


def small_requirements(folder: Path) -> Path:
    """Two small packages of the real file."""
    lines = REQUIREMENTS.read_text().splitlines()
    kept, keep = [], False
    for line in lines:
        if not line.startswith(" "):
            keep = line.startswith(("six==", "idna=="))
        if keep:
            kept.append(line)
    path = folder / "requirements.txt"
    path.write_text("\n".join(kept) + "\n")
    return path


MAKE = """
import asyncio, os, sys
from pathlib import Path
from pointsman.providers.own_environment import OwnEnvironment
own = OwnEnvironment(name="small", title="A small", requirements=Path(sys.argv[1]))
asyncio.run(own.ensure(Path(sys.argv[2]), dict(os.environ), on_packages=lambda d, t: print(d, t, flush=True)))
"""


@pytest.mark.client
def test_a_set_up_that_is_killed_leaves_nothing_half_used(tmp_path: Path):
    requirements = small_requirements(tmp_path)
    command = [sys.executable, "-c", MAKE, str(requirements), str(tmp_path / "cache")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    first = process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    if not first:
        pytest.skip("the package index cannot be reached")
    environment = small(requirements)
    assert environment.installed(tmp_path / "cache") is None
    seen: list[tuple[int, int]] = []
    python = asyncio.run(
        environment.ensure(tmp_path / "cache", dict(os.environ), on_packages=lambda *step: seen.append(step))
    )
    assert seen[-1] == (2, 2)
    assert environment.installed(tmp_path / "cache") == python
    told = subprocess.run([python, "-c", "import six, idna"], check=False)
    assert told.returncode == 0
    foreign = subprocess.run([python, "-c", "import msgspec"], check=False, capture_output=True)
    assert foreign.returncode == 1  # nothing of the gateway's own environment is in it
    assert [path.name for path in (tmp_path / "cache" / "small").iterdir() if path.suffix == ".part"] == []
    begun = time.monotonic()
    asyncio.run(environment.ensure(tmp_path / "cache", {}))
    assert time.monotonic() - begun < 1


def test_a_set_up_that_fails_says_why(tmp_path: Path):
    broken = tmp_path / "requirements.txt"
    broken.write_text("six==1.17.0 --hash=sha256:" + "0" * 64 + "\n")
    environment = small(broken)
    environ = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    with pytest.raises(UpstreamConnectError, match="environment cannot be made") as raised:
        asyncio.run(environment.ensure(tmp_path / "cache", environ))
    assert raised.value.code == "small_setup_failed"
    assert "PIP_INDEX_URL" in raised.value.message
    assert environment.installed(tmp_path / "cache") is None
