"""Providers follow their file: one that changes is read again, checked whole, and then takes the place of the old one.

Whatever is wrong with it leaves everything as it was, and is said once in the log and as long as it lasts in the health
report. What else has changed in the settings holds from the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from pointsman.core.errors import SettingsError
from pointsman.core.ports import Clock
from pointsman.settings import Settings, Source
from pointsman.surfaces.services import ConfigurationStanding

LOOK_SECONDS = 0.5
"""Between two looks at the files. A change is read when it has stood for as long: whoever writes may not be done."""

log = logging.getLogger(__name__)

Mark = tuple[int, int, int, int, int] | None
"""What changes with a file; None where there is none. Links are followed, so that a swapped one is a change."""


class Reload:
    """Watches the settings' files.

    Args:
        settings: as they were read at the start.
        apply: puts new settings of providers in force, all or none; what it returns is over when they serve. Raises
            SettingsError.
    """

    def __init__(
        self, settings: Settings, source: Source, *, apply: Callable[[Settings], Awaitable[None]], clock: Clock
    ) -> None:
        self._source = source
        self._apply = apply
        self._clock = clock
        self._last = copy.deepcopy(settings)  # routing can be changed while the gateway runs
        self._files = self._watched(settings)
        self._read = self._pending = self._marks()
        self._there = self._read
        if any(mark is not None and mark[-1] >= source.read_at_ns for mark in self._read):
            self._read = None, None  # changed between the start and now
        """Of the files as they were when what is in force was read."""
        self._loaded_at = clock.now()
        self._error: str | None = None

    def standing(self) -> ConfigurationStanding:
        file = self._files[-1]
        return ConfigurationStanding(file=str(file), found=file.exists(), loaded_at=self._loaded_at, error=self._error)

    async def run(self, hurry: asyncio.Event) -> None:
        """Look again and again, and at once when `hurry` is set; never returns."""
        while True:
            hurried = False
            with contextlib.suppress(TimeoutError):
                hurried = await asyncio.wait_for(hurry.wait(), LOOK_SECONDS)
            hurry.clear()
            try:
                await self.look(hurried=hurried)
            except Exception:  # the files must be watched on whatever one look found
                log.exception("the settings could not be read again")

    async def look(self, *, hurried: bool = False) -> None:
        """Read the files if they have changed and stood still since the look before."""
        marks = self._marks()
        settled, self._pending = marks == self._pending, marks
        if hurried or (settled and marks != self._read):
            self._read = marks
            await self._reread(marks)

    async def _reread(self, marks: tuple[Mark, ...]) -> None:
        gone = [file for file, mark, before in zip(self._files, marks, self._there, strict=True) if before and not mark]
        if gone:
            self._keep(f"{gone[0]} is gone. What it said stays in force until it is back, or until the next start.")
            return
        try:
            settings = await asyncio.to_thread(self._source.load)
            if self._marks() != marks:  # it was written while it was read
                self._read = None, None
                return
            await self._apply(settings)
        except SettingsError as error:
            self._keep(error.message)
            return
        if self._error is not None:
            log.info("the settings can be read again")
        self._error = None
        self._loaded_at = self._clock.now()
        self._tell_of_others(settings)
        self._files = self._watched(settings)
        self._there = marks

    def _keep(self, reason: str) -> None:
        if self._error != reason:
            log.error("The new settings of providers are not used, those from before still are. %s", reason)
        self._error = reason

    def _tell_of_others(self, settings: Settings) -> None:
        others = [
            name
            for name in settings.__struct_fields__
            if name != "providers" and getattr(settings, name) != getattr(self._last, name)
        ]
        if others:
            log.warning("%s changed in the settings; that holds from the next start", ", ".join(others))
        self._last = settings

    def _watched(self, settings: Settings) -> tuple[Path, Path]:
        file = self._source.providers_file(settings)
        return self._source.config_file() or file, file

    def _marks(self) -> tuple[Mark, ...]:
        return tuple(_mark(file) for file in self._files)


def _mark(file: Path) -> Mark:
    try:
        status = os.stat(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.errno or -1, 0, 0, 0, 0
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
