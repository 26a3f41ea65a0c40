"""Every embedded model of a gateway: weights fetched, engines sized and started, models that are pulled later added."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pointsman.core.errors import PointsmanError
from pointsman.providers.static_embedding.provider import StaticEmbedding
from pointsman.transport.http import Outbound

from .context import available_memory, context_for, default_threads
from .engine import Engine
from .gguf import read_facts
from .process import EngineSpec
from .progress import Progress
from .provider import NAME, LlamaCppProvider
from .sources import load_sources
from .weights import ensure, is_present, weights_path

log = logging.getLogger("pointsman.embedded")

MOST_CONTEXT = 16_384
"""Tokens of context per slot that are chosen without a setting. A processor reads some 70 tokens of a fresh prompt a
second, and the cache for the context is allocated at the start: more would mostly be memory that nobody uses."""
LOOK_EVERY = 5.0
"""Seconds between two looks for models that were pulled meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRules:
    """The settings of the embedded models; None leaves a choice to the machine."""

    models: tuple[str, ...]
    """Run from the start."""
    pulled: bool = True
    """Serve others whose weights are in the cache too; their first request starts them."""
    lazy: bool = False
    """Start these too at their first request."""
    context: int | None = None
    threads: int | None = None
    slots: int = 2
    cache_ram_mib: int = 256
    hub: bool = False


class Fleet:
    """Feeds a `LlamaCppProvider` with engines.

    Args:
        environment: of pip and of the engines; without credentials.
        on_progress: told a model's name, the bytes that are here, and the bytes in all.
        on_change: awaited when the provider has a model more.
    """

    def __init__(
        self,
        *,
        rules: FleetRules,
        cache_dir: Path,
        data_dir: Path,
        environment: Mapping[str, str],
        outbound: Outbound,
        on_progress: Callable[[str, int, int], None] | None = None,
        on_change: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.provider = LlamaCppProvider(outbound=outbound, static=StaticEmbedding())
        self.on_change = on_change
        self._rules = rules
        self._cache_dir = cache_dir
        self._data_dir = data_dir
        self._environment = environment
        self._outbound = outbound
        self._on_progress = on_progress
        self._coming = dict.fromkeys(rules.models, "is being set up")
        self._tasks: list[asyncio.Task[None]] = []
        self._watcher: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to fetch and load; returns at once."""
        self._tasks = [asyncio.create_task(self._raise_model(name)) for name in self._rules.models]
        if self._rules.pulled:
            self._watcher = asyncio.create_task(self._watch())

    def coming(self, requested: str | None) -> str | None:
        """Why the model of this name, or any of them, is not there yet; None when none such is on its way."""
        meant = [name for name in self._coming if requested in (None, name, f"{NAME}:{name}")]
        if not meant:
            return None
        told = "; ".join(f"{name} {self._coming[name]}" for name in meant)
        return f"The embedded models are not ready yet: {told}. Try again in a moment."

    async def settled(self) -> None:
        """Wait until each model of the settings is loaded, or known not to load."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def stop(self) -> None:
        """End what is under way, and every engine."""
        tasks = [*self._tasks, *([self._watcher] if self._watcher is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.provider.close()

    async def _raise_model(self, name: str) -> None:
        """Fetch, add and load one model. Never raises: the gateway serves what it can."""
        try:
            await ensure(
                name,
                cache_dir=self._cache_dir,
                environment=self._environment,
                hub=self._rules.hub,
                outbound=self._outbound,
                progress=self._tell,
            )
            engine = await self._add(name)
            await self._changed()  # from now on requests for it wait until it is loaded
            del self._coming[name]
            if not self._rules.lazy:
                await engine.start()
                await engine.ready()
        except PointsmanError as error:
            log.warning("the embedded model %s is not there: %s", name, error.message)
            if name not in self.provider.engines:  # an engine tells of itself
                self.provider.missing[name] = error.message
        except Exception:
            log.exception("the embedded model %s could not be set up", name)
            self.provider.missing[name] = "It could not be set up; the log has the details."
        finally:
            self._coming.pop(name, None)
        await self._changed()

    async def _add(self, name: str) -> Engine:
        rules = self._rules
        path = weights_path(load_sources()[name], self._cache_dir)
        facts = await asyncio.to_thread(read_facts, path)
        share = available_memory() // max(1, len(rules.models))
        context = context_for(facts, slots=rules.slots, memory_bytes=share, setting=rules.context)
        spec = EngineSpec(
            name=name,
            path=path,
            context_per_slot=context if rules.context is not None else min(context, MOST_CONTEXT),
            slots=rules.slots,
            threads=rules.threads or default_threads(),
            cache_ram_mib=rules.cache_ram_mib,
        )
        engine = Engine(spec, environment=self._environment, data_dir=self._data_dir, outbound=self._outbound)
        self.provider.add(engine)
        return engine

    async def _watch(self) -> None:
        """Serve models that `pointsman models pull` put into the cache, now or while the gateway runs."""
        await self.settled()
        while True:
            for name, source in load_sources().items():
                if name not in self._rules.models and name not in self.provider.engines:
                    await self._add_pulled(name, present=is_present(source, self._cache_dir))
            await asyncio.sleep(LOOK_EVERY)

    async def _add_pulled(self, name: str, *, present: bool) -> None:
        if not present:
            return
        try:
            # Checks the digest, or finds it checked; a file of the right size is not fetched.
            await ensure(name, cache_dir=self._cache_dir, environment=self._environment)
            await self._add(name)
        except PointsmanError as error:
            log.warning("the pulled model %s is not served: %s", name, error.message)
            return
        log.info("%s was pulled; its first request starts it", name)
        await self._changed()

    async def _changed(self) -> None:
        if self.on_change is not None:
            await self.on_change()

    def _tell(self, progress: Progress) -> None:
        if progress.total and progress.name in self._coming:
            share = 100 * progress.done // progress.total
            self._coming[progress.name] = f"is being fetched ({share} %)"
        if self._on_progress is not None and progress.total:
            self._on_progress(progress.name, progress.done, progress.total)
