"""The life of one embedded model: started, watched, started again when it dies, stopped."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pointsman.core.errors import EngineDied, EngineError, UpstreamError
from pointsman.core.locality import Destination
from pointsman.core.ports import Timeouts
from pointsman.transport.http import Origin, Outbound, UpstreamRequest

from .engine_log import EngineLog
from .process import EngineProcess, EngineSpec, describe_exit

log = logging.getLogger("pointsman.engine")


class EngineState(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    BACKING_OFF = "backing_off"
    """It died, or seems to have, and will be started again in a moment."""
    FAILED = "failed"
    """It cannot run as things are; `ready` tries again after a while, `start` at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds and counts that the supervision goes by."""

    start: float = 300.0
    """For loading the model."""
    first_delay: float = 0.5
    """Before the first restart; doubled with each further one."""
    longest_delay: float = 30.0
    steady: float = 60.0
    """A child that lived so long after loading was well: the next delay is the first one again."""
    silent_deaths: int = 5
    """Deaths in a row before loading was done, after which the engine counts as failed."""
    failed: float = 60.0
    """After so long, `ready` tries a failed engine again."""
    probe_every: float = 15.0
    probe_timeout: float = 10.0
    probe_failures: int = 3
    """Probes in a row without an answer, after which the child is killed and started again."""
    doubt: float = 1.0
    """For a child to be seen dead after it refused or broke off a call, before it is probed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """An engine as it is now, for health pages and `doctor`."""

    name: str
    state: EngineState
    reason: str
    """Why it is not ready, or why it was last started again; empty when there is nothing to say."""
    restarts: int
    pid: int | None
    start_seconds: float | None
    """From the last launch to the loaded model."""
    context_per_slot: int
    slots: int


class Engine:
    """One model in one child process.

    Args:
        environment: the child's environment, without credentials.
        data_dir: the log is kept in `engine/` under it.
        outbound: asks the child for its health.
    """

    def __init__(
        self,
        spec: EngineSpec,
        *,
        environment: Mapping[str, str],
        data_dir: Path,
        outbound: Outbound,
        patience: Patience | None = None,
    ) -> None:
        self.spec = spec
        self.restarts = 0
        """How often the child died and was started again."""
        self.reason = ""
        self._environment = environment
        self._outbound = outbound
        self._patience = patience or Patience()
        self._log = EngineLog(data_dir / "engine" / f"{re.sub(r'[^A-Za-z0-9._-]', '-', spec.name)}.log")
        self._state = EngineState.STOPPED
        self._changed = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._child: EngineProcess | None = None
        self._origin: Origin | None = None
        self._error: EngineError | None = None
        self._failed_at = 0.0
        self._start_seconds: float | None = None
        self.build = ""
        """What serves the model, with its version; empty until it has been loaded."""
        self._closed = False
        self._doubted = asyncio.Event()
        """A call was refused or broken off, and it is not known yet whether the child died."""
        self._counted: Origin | None = None
        """Of the child whose death was counted last."""

    @property
    def state(self) -> EngineState:
        return self._state

    @property
    def origin(self) -> Origin:
        """Where the model is served. Another one after each restart. Raises EngineError when it is not ready."""
        if self._state is not EngineState.READY or self._origin is None:
            raise self._unready()
        return self._origin

    @property
    def api_key(self) -> str:
        """The key that the child asks for. Another one after each restart. Raises EngineError when it is not ready."""
        if self._state is not EngineState.READY or self._child is None:
            raise self._unready()
        return self._child.api_key

    @property
    def status(self) -> EngineStatus:
        return EngineStatus(
            name=self.spec.name,
            state=self._state,
            reason=self.reason,
            restarts=self.restarts,
            pid=self._child.pid if self._child is not None else None,
            start_seconds=self._start_seconds,
            context_per_slot=self.spec.context_per_slot,
            slots=self.spec.slots,
        )

    def tail_log(self, count: int = 50) -> list[str]:
        """The last lines that the engine wrote."""
        return self._log.tail(count)

    async def start(self) -> None:
        """Start the child and watch over it; returns at once. Does nothing when it is running or being started."""
        self._closed = False
        if self._supervisor is None or self._supervisor.done():
            self._error = None
            self._become(EngineState.STARTING, "")
            self._supervisor = asyncio.create_task(self._supervise(), name=f"engine {self.spec.name}")

    async def ready(self, *, timeout: float | None = None) -> None:
        """Wait until `origin` and `api_key` can be used; starts the engine when nobody has.

        Waits through a restart too: a caller with another model at hand looks at `state` first, or gives a timeout.

        Raises:
            EngineError: it has failed, was stopped, or was not ready within `timeout` seconds.
        """
        if self._is(EngineState.READY):
            return
        if self._closed:
            raise self._unready()
        rested = time.monotonic() - self._failed_at >= self._patience.failed
        if self._is(EngineState.STOPPED) or (self._is(EngineState.FAILED) and rested):
            await self.start()
        try:
            async with asyncio.timeout(timeout):
                while self._is(EngineState.STARTING, EngineState.BACKING_OFF):
                    await self._changed.wait()
        except TimeoutError:
            raise self._unready() from None
        if not self._is(EngineState.READY):
            raise self._unready()

    async def died(self, origin: Origin) -> bool:
        """Whether the child that was served at `origin` is dead, after it refused or broke off a call there.

        Nobody is sent to it until that is known: its connections end before the supervisor sees its death.
        """
        if self._origin == origin and self._is(EngineState.READY):
            self._doubted.set()
            self._become(EngineState.BACKING_OFF, "its process refused or broke off a call")
        while self._origin == origin and self._doubted.is_set():
            await self._changed.wait()
        return self._origin != origin

    def death(self, origin: Origin) -> EngineDied:
        """The error of a call that was ended by the death of the child at `origin`; the first of them counts."""
        error = EngineDied(f"The engine of {self.spec.name} died in the middle of its work, and is started again.")
        error.counts = self._counted != origin
        self._counted = origin
        return error

    async def stop(self) -> None:
        """End the child; answers that are under way break off. Returns when no process is left."""
        self._closed = True
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
            self._supervisor = None
        self._become(EngineState.STOPPED, "")

    async def healthy(self) -> bool:
        """Whether the child answers its health check now."""
        if self._origin is None:
            return False
        limit = self._patience.probe_timeout
        request = UpstreamRequest(
            destination=Destination(model=f"embedded:{self.spec.name}", local=True),
            local_only=True,
            origin=self._origin,
            method="GET",
            target="/health",
            headers=(),
            timeouts=Timeouts(connect=limit, first_byte=limit, between_bytes=limit, total=limit),
        )
        try:
            response = await self._outbound.send(request)
            try:
                await response.read(65536)
            finally:
                response.close()
        except UpstreamError:
            return False
        return response.status == 200

    def _is(self, *states: EngineState) -> bool:
        return self._state in states

    def _unready(self) -> EngineError:
        if self._error is not None:
            return EngineError(self._error.message, code=self._error.code)
        because = f": {self.reason}" if self.reason else ""
        state = str(self._state).replace("_", " ")
        return EngineError(f"The embedded model {self.spec.name} is not ready ({state}){because}.", retry_after=2.0)

    def _become(self, state: EngineState, reason: str) -> None:
        self._state, self.reason = state, reason
        self._changed.set()
        self._changed = asyncio.Event()

    async def _supervise(self) -> None:
        patience = self._patience
        deaths = silent = 0
        while True:
            try:
                was_ready, lived, reason = await self._run()
            except (EngineError, OSError) as error:
                self._fail(error if isinstance(error, EngineError) else self._unlaunched(error))
                return
            silent = 0 if was_ready else silent + 1
            deaths = 1 if was_ready and lived >= patience.steady else deaths + 1
            if silent >= patience.silent_deaths:
                self._fail(EngineError(f"The engine of {self.spec.name} {reason}, {silent} times while loading."))
                return
            delay = min(patience.longest_delay, patience.first_delay * 2 ** (deaths - 1))
            log.warning("The engine of %s %s; starting it again in %.1f s", self.spec.name, reason, delay)
            self._become(EngineState.BACKING_OFF, f"its process {reason}")
            await asyncio.sleep(delay)
            self.restarts += 1
            self._become(EngineState.STARTING, self.reason)

    async def _run(self) -> tuple[bool, float, str]:
        """One child, from launch to death: whether it was ready, for how many seconds, and how it ended."""
        launched = time.monotonic()
        self._doubted.clear()
        child = self._child = await EngineProcess.launch(self.spec, environment=self._environment, log=self._log)
        loaded: float | None = None
        ending = ""
        try:
            try:
                async with asyncio.timeout(self._patience.start):
                    origin = await child.loaded()
            except TimeoutError:
                ending = f"did not load within {self._patience.start:g} s"
                child.kill()
                origin = None
            if origin is not None:
                loaded = time.monotonic()
                self._origin, self._start_seconds, self.build = origin, loaded - launched, child.engine
                log.info("The engine of %s is ready after %.1f s", self.spec.name, self._start_seconds)
                self._become(EngineState.READY, self.reason)
                ending = await self._watch(child)
            ending = ending or describe_exit(await child.ended())
        finally:
            self._origin = None
            if self._state is EngineState.READY or self._doubted.is_set():
                self._become(EngineState.BACKING_OFF, f"its process {ending or 'ends'}")
            await child.end()
            self._child = None
        lived = 0.0 if loaded is None else time.monotonic() - loaded
        return loaded is not None, lived, ending

    async def _watch(self, child: EngineProcess) -> str:
        """Until the child is dead; kills it, and says why, when it no longer answers."""
        patience = self._patience
        end = asyncio.ensure_future(child.ended())
        doubt = asyncio.ensure_future(self._doubted.wait())
        try:
            missed, reason = 0, self.reason
            while True:
                doubted = doubt.done()
                if doubted:
                    await asyncio.wait((end,), timeout=patience.doubt)
                else:
                    wait_for = asyncio.FIRST_COMPLETED
                    await asyncio.wait((end, doubt), timeout=patience.probe_every, return_when=wait_for)
                if end.done():
                    return ""
                if doubt.done() and not doubted:
                    continue
                missed = 0 if await self.healthy() else missed + 1
                if missed >= patience.probe_failures:
                    child.kill()
                    return f"gave no answer to {missed} health checks"
                if doubted and not missed:
                    self._doubted.clear()
                    doubt = asyncio.ensure_future(self._doubted.wait())
                    self._become(EngineState.READY, reason)
        finally:
            end.cancel()
            doubt.cancel()

    def _unlaunched(self, error: OSError) -> EngineError:
        return EngineError(f"The engine of {self.spec.name} cannot be started: {error}.", code="engine_unlaunched")

    def _fail(self, error: EngineError) -> None:
        log.error("The engine of %s failed: %s", self.spec.name, error.message)
        self._error, self._failed_at = error, time.monotonic()
        self._become(EngineState.FAILED, error.message)
