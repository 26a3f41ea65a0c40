"""The model's process as an object: asked from threads, bounded in time, started again when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from pointsman.core.errors import WeightsError
from pointsman.core.people import ModelAway

from .model import ensure

log = logging.getLogger(__name__)

SECONDS = 4.0
"""For one answer, the wait for other askers included: the model reads some 250 kB in that time."""
START_SECONDS = 60.0
"""For loading. It takes about a second; a machine under load may take many."""
PAUSE = 30.0
"""Seconds until what could not be fetched or started is tried again."""
INSTALL = "pip install 'pointsman[entities]'"
_WORKER = Path(__file__).with_name("worker.py")


def installed() -> bool:
    """Whether the extra's library can be imported."""
    return importlib.util.find_spec("spacy") is not None


class NameFinder:
    """Fetches the model, keeps its process and asks it.

    Args:
        environment: of the model's process and of pip.
    """

    def __init__(self, *, cache_dir: Path, environment: Mapping[str, str]) -> None:
        self._cache_dir = cache_dir
        # One thread of arithmetic: the matrices are small, and requests need the cores.
        self._environment = {
            **environment,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "BLIS_NUM_THREADS": "1",
        }
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._why = "it is still being fetched"
        self._closed = False
        self._ready = False
        self._spawned = 0.0

    async def start(self) -> None:
        """Fetch the model and start its process.

        Raises:
            WeightsError: it cannot be had.
            ModelAway: it does not start.
        """
        self._folder = await ensure(self._cache_dir, self._environment)
        await asyncio.to_thread(self._warm)

    async def prepare(self) -> None:
        """The same, again and again until it runs."""
        while not self._closed:
            try:
                await self.start()
                return
            except (WeightsError, ModelAway) as error:
                self._why = str(error)
                log.error("the named-entity model is not there: %s", error)
            await asyncio.sleep(PAUSE)

    def close(self) -> None:
        self._closed = True
        self._kill()

    def __call__(self, texts: Sequence[str]) -> list[list[str]]:
        """What the model takes for persons, of each text. Blocks for `SECONDS` at most.

        Raises:
            ModelAway: it is not there, failed, or took too long; it is then started anew for the next question.
        """
        deadline = time.monotonic() + SECONDS
        if self._folder is None:
            raise ModelAway(self._why)
        if not self._lock.acquire(timeout=SECONDS):
            raise ModelAway("it is busy")
        try:
            process = self._running(deadline)
            return self._exchange(process, texts, deadline)
        except (OSError, ValueError) as error:  # no process can be had, its pipes were closed, or it wrote no JSON
            self._failed(f"its process cannot be talked to ({error})")
        finally:
            self._lock.release()

    def _warm(self) -> None:
        with self._lock:
            self._running(time.monotonic() + START_SECONDS)

    def _running(self, deadline: float) -> subprocess.Popen[bytes]:
        """The process once it is ready. One that is still loading at the deadline goes on loading for the next."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._spawn()
        if not self._ready:
            if self._line(process, deadline) == b"ready\n":
                self._ready = True
            elif process.poll() is not None or time.monotonic() - self._spawned > START_SECONDS:
                self._failed(f"its process does not start; is the extra whole ({INSTALL})?")
            else:
                raise ModelAway("it is starting")
        return process

    def _spawn(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise ModelAway(self._why)
        self._kill()
        self._ready, self._spawned = False, time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER), str(self._folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=self._environment, start_new_session=True,
        )  # fmt: skip
        return self._process

    def _exchange(self, process: subprocess.Popen[bytes], texts: Sequence[str], deadline: float) -> list[list[str]]:
        assert process.stdin is not None
        sender = threading.Thread(target=_send, args=(process, json.dumps(list(texts)).encode() + b"\n"))
        sender.start()
        line = self._line(process, deadline)
        if not line.endswith(b"\n"):
            self._failed("it took too long or ended")
        sender.join()
        found: list[list[str]] = json.loads(line)
        return found

    def _line(self, process: subprocess.Popen[bytes], deadline: float) -> bytes:
        """The next line; what has come of it when time is up or the process ended."""
        assert process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                break
            block = os.read(process.stdout.fileno(), 1 << 16)
            if not block:
                break
            line += block
        return line

    def _failed(self, why: str) -> NoReturn:
        self._kill()
        self._why = why
        raise ModelAway(why)

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(OSError):
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


def _send(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError, ValueError):
        process.stdin.write(line)
        process.stdin.flush()
