"""Builds every concrete object once, from the settings. The only file that names implementations."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pointsman import __version__, logs
from pointsman.core.catalog import Catalog
from pointsman.core.errors import SettingsError
from pointsman.core.ports import Health, Provider, SystemClock, Timeouts
from pointsman.pipeline.admit import Access
from pointsman.pipeline.decide import Decide, DecideRules, RulePolicy
from pointsman.pipeline.execute import Execute
from pointsman.pipeline.record import FeedbackStage, Record
from pointsman.pipeline.run import Pipeline
from pointsman.pipeline.shape import Defaults
from pointsman.pipeline.understand import ComplexityRules, PrivacyRules, Understand
from pointsman.providers.cards import presets
from pointsman.providers.discovery import CatalogKeeper
from pointsman.providers.ollama import Ollama
from pointsman.providers.openai_compatible import OpenAICompatible
from pointsman.settings import ProviderSettings, Server, Settings, child_environment, is_loopback
from pointsman.stores.hash_key import load_hash_key
from pointsman.stores.sqlite_log import SqliteDecisionLog
from pointsman.surfaces.entry import Entry
from pointsman.surfaces.openai.chat import ChatCompletions
from pointsman.surfaces.services import Services
from pointsman.transport.http import Outbound
from pointsman.transport.limits import RunningServer, ServerLimits

if TYPE_CHECKING:
    from pointsman.providers.llamacpp.fleet import Fleet

log = logging.getLogger(__name__)

OnReady = Callable[["Gateway"], Awaitable[None]]
OnProgress = Callable[[str, int, int], None]
"""Told the name of what is fetched, the bytes that are here, and the bytes in all."""


async def run(settings: Settings, *, on_ready: OnReady | None = None, on_progress: OnProgress | None = None) -> None:
    """Run the gateway until SIGINT or SIGTERM; a second one ends it without waiting for running answers.

    Args:
        on_ready: awaited once the gateway listens and its embedded models are loaded, or known not to load.

    Raises:
        SettingsError, StoreError: it cannot run as it is set up.
        OSError: it cannot listen.
    """
    logs.configure(settings.log.level, settings.log.format)
    stop, hurry = asyncio.Event(), asyncio.Event()

    def told() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told)
    async with Gateway(settings, on_progress=on_progress) as gateway:
        ready = asyncio.create_task(_tell(gateway, on_ready))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            ready.result()
            await stopped
        ready.cancel()
        log.info("stopping; running answers get %g s", settings.server.shutdown_grace)
        await gateway.drain(hurry)


async def _tell(gateway: Gateway, on_ready: OnReady | None) -> None:
    await gateway.settled()
    if on_ready is not None:
        await on_ready(gateway)


class Gateway:
    """A gateway under way: `async with Gateway(settings) as gateway`."""

    def __init__(self, settings: Settings, *, on_progress: OnProgress | None = None) -> None:
        self.settings = settings
        self._on_progress = on_progress
        self._stack = AsyncExitStack()
        self._clock = SystemClock()

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def url(self) -> str:
        host = self.settings.server.host
        if host in ("0.0.0.0", "::"):  # noqa: S104 - asked, not bound
            host = "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def catalog(self) -> Catalog:
        return self._keeper.catalog

    async def providers_health(self) -> dict[str, Health]:
        """Every provider, asked now."""
        return await self._keeper.health()

    async def settled(self) -> None:
        """Wait until the embedded models are loaded, or known not to load."""
        if self._fleet is not None:
            await self._fleet.settled()

    async def drain(self, hurry: asyncio.Event) -> None:
        """Take no more requests; wait for running answers as long as the settings grant, or until `hurry` is set."""
        closing = asyncio.create_task(self._server.close(self.settings.server.shutdown_grace))
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait({closing, hurried}, return_when=asyncio.FIRST_COMPLETED)
        if not closing.done():
            log.info("told again: not waiting for running answers")
            await self._server.close(0)
        hurried.cancel()
        await closing

    async def __aenter__(self) -> Gateway:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        settings = self.settings
        try:
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            hash_key = load_hash_key(settings.data_dir)
        except OSError as error:
            reason = (
                f"cannot be used ({error.strerror or error}); make it a folder that can be written, or name another"
            )
            raise SettingsError("data_dir", str(settings.data_dir), f"{reason} with POINTSMAN_DATA_DIR") from None
        self._log = SqliteDecisionLog(settings.database_path)
        await self._log.open()
        self._stack.push_async_callback(self._log.close)
        outbound = _outbound(settings)
        self._stack.push_async_callback(outbound.close)
        self._fleet = _fleet(settings, outbound, self._on_progress)
        providers = build_providers(settings, outbound)
        if self._fleet is not None:
            providers.insert(0, self._fleet.provider)
            self._stack.push_async_callback(self._fleet.stop)
        _check_names(settings, providers)
        self._keeper = CatalogKeeper(
            providers, aliases=settings.routing.aliases, uninvited={"ollama"} - settings.providers.keys()
        )
        self._stack.push_async_callback(self._keeper.close)
        await self._keeper.start()
        if self._fleet is not None:
            self._fleet.on_change = partial(self._keeper.refresh, self._fleet.provider.name)
            self._fleet.start()
        pipeline = self._pipeline(hash_key)
        self._server = await _serve(settings, self._entry(pipeline))
        self._stack.push_async_callback(self._server.close, settings.server.shutdown_grace)

    def _pipeline(self, hash_key: bytes) -> Pipeline:
        routing, limits, privacy = self.settings.routing, self.settings.limits, self.settings.privacy
        length, terms, structure = routing.complexity_weights
        keeper = self._keeper
        timeouts = Timeouts(
            connect=limits.connect_timeout,
            first_byte=limits.first_byte_timeout,
            between_bytes=limits.between_bytes_timeout,
            total=limits.request_timeout,
        )
        rules = DecideRules(
            model_names=routing.model_names,
            force_provider=routing.force_provider,
            default_provider=routing.default_provider,
            fallbacks=routing.fallbacks,
            max_attempts=routing.max_attempts,
            complexity_threshold=routing.complexity_threshold,
        )
        understand = Understand(
            privacy=PrivacyRules(level=privacy.level, sensitive_tokens=tuple(privacy.sensitive_tokens)),
            complexity=ComplexityRules(weights=(length, terms, structure)),
            hash_key=hash_key,
            windows=lambda: [card.context_window for card in keeper.catalog if card.context_window],
            priority=routing.priority,
        )
        return Pipeline(
            understand=understand,
            decide=Decide(
                rules=rules,
                policy=RulePolicy(
                    complexity_threshold=routing.complexity_threshold, default_provider=routing.default_provider
                ),
            ),
            shape=Defaults(temperature=routing.default_temperature, max_tokens=routing.default_max_tokens),
            execute=Execute(
                provider_for=keeper.provider_for, timeouts=timeouts, clock=self._clock, unreachable=keeper.suspect
            ),
            record=Record(log=self._log, clock=self._clock, store_prompts=privacy.store_prompts),
            models=keeper,
            unhealthy=keeper.unhealthy,
            clock=self._clock,
            holds_private=understand.holds_private,
            coming=self._coming,
        )

    def _coming(self, requested_model: str) -> str | None:
        """Why an embedded model that the name may mean is not there yet."""
        if self._fleet is None:
            return None
        name = self.settings.routing.aliases.get(requested_model, requested_model)
        return self._fleet.coming(None if name in ("", "auto") else name)

    def _entry(self, pipeline: Pipeline) -> Entry:
        from pointsman.transport.asgi import AsgiBridge

        server = self.settings.server
        services = Services(
            catalog=self._keeper,
            log=self._log,
            feedback=FeedbackStage(log=self._log, clock=self._clock),
            decide=pipeline.preview,
            providers_health=self.providers_health,
            version=__version__,
            started_at=self._clock.now(),
            clock=self._clock,
        )

        def load_app() -> Any:
            from pointsman.surfaces.asgi_app import build_asgi_app

            return build_asgi_app(services)

        access = Access(
            api_keys=[key.reveal() for key in server.api_keys],
            hosts=server.allowed_hosts,
            origins=server.allowed_origins,
            any_host=not is_loopback(server.host),
        )
        return Entry(
            access=access,
            hot={("POST", "/v1/chat/completions"): ChatCompletions(pipeline)},
            asgi=AsgiBridge(load_app),
        )


def _outbound(settings: Settings) -> Outbound:
    if settings.server.data_plane == "asgi":
        from pointsman.transport.aiohttp_out import AiohttpOut

        return AiohttpOut()
    from pointsman.transport.pool import Pool

    return Pool()


async def _serve(settings: Settings, entry: Entry) -> RunningServer:
    server = settings.server
    limits = ServerLimits(
        max_body_bytes=server.max_body_bytes,
        max_connections=server.max_connections,
        header_timeout=server.header_timeout,
        body_timeout=server.header_timeout,
        keep_alive_timeout=server.keep_alive_timeout,
    )
    if server.data_plane == "asgi":
        from pointsman.transport.asgi_server import serve_asgi

        return await serve_asgi(entry, host=server.host, port=server.port, limits=limits)
    from pointsman.transport.server import serve

    return await serve(entry, host=server.host, port=server.port, limits=limits)


def _check_names(settings: Settings, providers: Sequence[Provider]) -> None:
    """Say at the start what would otherwise be a riddle later: names of models and providers that nobody has.

    Raises:
        SettingsError: an embedded model that does not exist.
    """
    if settings.embedded.enabled:
        from pointsman.providers.llamacpp.sources import load_sources

        for name in settings.embedded.models:
            if name not in load_sources():
                raise SettingsError(
                    "embedded.models", name, f"there is no such model; there are {', '.join(load_sources())}"
                )
    known = {provider.name for provider in providers}
    for key, wanted in (
        ("routing.force_provider", settings.routing.force_provider),
        ("routing.default_provider", settings.routing.default_provider),
    ):
        if wanted is not None and wanted not in known:
            log.warning("%s names %s, which is not set up; set up are %s", key, wanted, ", ".join(sorted(known)))


def _fleet(settings: Settings, outbound: Outbound, on_progress: OnProgress | None) -> Fleet | None:
    if not settings.embedded.enabled or not settings.embedded.models:
        return None
    from pointsman.providers.llamacpp.fleet import Fleet, FleetRules

    embedded = settings.embedded
    return Fleet(
        rules=FleetRules(
            models=tuple(embedded.models),
            pulled=embedded.pulled,
            lazy=embedded.start == "lazy",
            context=embedded.context,
            threads=embedded.threads,
            slots=embedded.slots,
            queue=embedded.queue,
            cache_ram_mib=embedded.cache_ram_mib,
            hub=embedded.hub,
        ),
        cache_dir=settings.cache_dir,
        data_dir=settings.data_dir,
        environment=child_environment({}),
        outbound=outbound,
        on_progress=on_progress,
    )


def build_providers(settings: Settings, outbound: Outbound) -> list[Provider]:
    """Every upstream that the settings name and that can be asked, and an Ollama on its usual port."""
    named: dict[str, ProviderSettings] = {"ollama": ProviderSettings(), **settings.providers}
    providers: list[Provider] = []
    for name, own in named.items():
        if own.enabled and own.base_url is not None and _is_this_gateway(own.base_url, settings.server):
            # A shell whose OPENAI_BASE_URL sends its tools here must not send us to ourselves.
            log.warning("providers.%s.base_url is this gateway's own address; it is left out", name)
        elif own.enabled:
            provider = _provider(name, own, outbound)
            if provider is not None:
                providers.append(provider)
    return providers


def _is_this_gateway(base_url: str, server: Server) -> bool:
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    return parts.port == server.port != 0 and (host == server.host.strip("[]") or is_loopback(host))


def _provider(name: str, own: ProviderSettings, outbound: Outbound) -> Provider | None:
    preset = presets().get(name)
    base_url = own.base_url or (preset.base_url if preset is not None else None)
    if base_url is None:
        raise SettingsError(f"providers.{name}.base_url", None, "is needed: this provider has no usual address")
    key = own.api_key.reveal() if own.api_key is not None else None
    if preset is not None and preset.key_required and key is None and own.base_url is None:
        log.warning("%s has no API key (providers.%s.api_key) and is left out", name, name)
        return None
    common: Mapping[str, Any] = {
        "base_url": base_url,
        "outbound": outbound,
        "api_key": key,
        "headers": own.headers,
        "local": own.local or (preset is not None and preset.local),
        "models": own.models,
        "default_model": own.default_model,
    }
    kind = own.type or (preset.type if preset is not None else "openai")
    if kind == "ollama":
        return Ollama(name, **common)
    return OpenAICompatible(
        name,
        **common,
        auth=preset.auth if preset is not None else "bearer",
        organization=own.organization,
    )
