"""Builds every concrete object once, from the settings. The only file that names implementations."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from pointsman import __version__, logs
from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog
from pointsman.core.errors import SettingsError
from pointsman.core.ports import Health, SystemClock, Timeouts
from pointsman.pipeline.admit.proxies import TrustedProxies
from pointsman.pipeline.admit.signatures import Signatures
from pointsman.pipeline.decide import Decide
from pointsman.pipeline.execute import Execute
from pointsman.pipeline.record import FeedbackStage, Record
from pointsman.pipeline.run import Pipeline
from pointsman.pipeline.shape import Defaults
from pointsman.pipeline.understand import ComplexityRules, PrivacyRules, Understand
from pointsman.providers.discovery import CatalogKeeper
from pointsman.providers.static_embedding.provider import StaticEmbedding
from pointsman.settings import Settings, Source
from pointsman.stores.credentials import REVISION, Credentials
from pointsman.stores.runtime_settings import RuntimeSettingsStore
from pointsman.stores.secret_key import SecretKey
from pointsman.stores.signing import SigningSecrets
from pointsman.surfaces.entry import Entry, HotHandler
from pointsman.surfaces.services import Services
from pointsman.surfaces.sign_in import PUBLIC_PATHS

from .access import build_access, build_keys, refuse_open_door
from .budgets import build_budgets
from .caller_keys import CallerKeys
from .credentials import LiveCredentials
from .entities import build_people
from .limits import build_limits
from .litellm import keep_litellm
from .live_providers import LiveProviders
from .live_settings import LiveSettings, decide_rules
from .ollama import ollama_ways
from .policies import built_in, follow_promotions
from .providers import OnProgress, build_fleet, build_providers, check_names, uninvited
from .reload import Reload
from .responses import build_responses, responses_ways
from .secrets import build_sealed
from .sign_in import announce_setup, build_sign_in, users_at_start
from .state import build_state, open_state
from .stores import build_log, build_secret_key, open_database, standing, warn_of_open_folder
from .transport import build_outbound, build_tls, keep_certificate, start_server
from .ways_in import ways_in

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

OnReady = Callable[["Gateway"], Awaitable[None]]


async def run(
    settings: Settings,
    *,
    source: Source | None = None,
    on_ready: OnReady | None = None,
    on_progress: OnProgress | None = None,
) -> None:
    """Run the gateway until SIGINT or SIGTERM; a second one ends it without waiting for running answers.

    Args:
        source: where the settings came from; providers follow it. None: they stay as they are.
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
    async with Gateway(settings, source=source, on_progress=on_progress) as gateway:
        if settings.server.tls_certificate is not None:
            loop.add_signal_handler(signal.SIGHUP, gateway.hang_up)
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

    def __init__(
        self, settings: Settings, *, source: Source | None = None, on_progress: OnProgress | None = None
    ) -> None:
        self.settings = settings
        self._source = source
        self._reload: Reload | None = None
        self._reread = asyncio.Event()
        self._on_progress = on_progress
        self._stack = AsyncExitStack()
        self._clock = SystemClock()
        self.hangup = asyncio.Event()
        """Set to have the certificate read anew."""

    def hang_up(self) -> None:
        """Have the certificate and the settings of providers read anew, now."""
        self.hangup.set()
        self._reread.set()

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def url(self) -> str:
        host = self.settings.server.host
        if host in ("0.0.0.0", "::"):  # noqa: S104 - asked, not bound
            host = "127.0.0.1"
        scheme = "https" if self.settings.server.tls_certificate is not None else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def catalog(self) -> Catalog:
        return self._keeper.catalog

    @property
    def asks_for_key(self) -> bool:
        """Whether whoever comes needs a key; without one the port is open to everybody who reaches it."""
        return self._access.asks_for_key

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
        tls = build_tls(settings)
        try:
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            warn_of_open_folder(settings.data_dir)
            secret_key, previous_key = build_secret_key(settings)
        except OSError as error:
            reason = (
                f"cannot be used ({error.strerror or error}); make it a folder that can be written, or name another"
            )
            raise SettingsError("data_dir", str(settings.data_dir), f"{reason} with POINTSMAN_DATA_DIR") from None
        self._log = build_log(settings)
        await self._log.open()
        self._stack.push_async_callback(self._log.close)
        self._database, self._watcher = await open_database(
            settings, self._clock, secret_key, previous_key, self._stack
        )
        self._keys = build_keys(settings, self._database, self._watcher, self._clock, secret_key, previous_key)
        self._sign_in = build_sign_in(
            settings,
            self._database,
            self._watcher,
            secrets=(secret_key, previous_key),
            clock=self._clock,
            is_open=lambda: not self._access.asks_for_key,
        )
        await refuse_open_door(settings, self._keys, users=await users_at_start(settings, self._sign_in))
        self._state = build_state(settings)
        self._stack.push_async_callback(self._state.close)
        await open_state(self._state)
        self._limits = build_limits(settings, self._state, self._clock)
        self._stack.push_async_callback(self._limits.providers.close)
        outbound = build_outbound(settings)
        self._stack.push_async_callback(outbound.close)
        self._budgets, ledger = build_budgets(
            settings,
            database=self._database,
            state=self._state,
            decisions=self._log,
            clock=self._clock,
            outbound=outbound,
        )
        self._stack.push_async_callback(ledger.close)
        self._stack.push_async_callback(self._budgets.close)
        if self._budgets.rules.configured:
            await self._budgets.start()
        self._fleet = build_fleet(settings, outbound, self._on_progress)
        sealed = build_sealed(settings, self._database, secrets=(secret_key, previous_key), clock=self._clock)
        self._signing = SigningSecrets(sealed)
        self._responses = build_responses(settings, self._database, sealed, self._clock, self._stack)
        credentials = LiveCredentials(settings, outbound, Credentials(sealed))
        providers = build_providers(settings, outbound, await credentials.load_if_possible())
        if self._fleet is not None:
            providers.insert(0, self._fleet.provider)
            self._stack.push_async_callback(self._fleet.stop)
        elif settings.embedded.enabled:
            providers.insert(0, StaticEmbedding())
        check_names(settings, providers)
        self._keeper = CatalogKeeper(providers, aliases=settings.routing.aliases, uninvited=uninvited(settings))
        self._stack.push_async_callback(self._keeper.close)
        await self._keeper.start()
        if self._fleet is not None:
            self._fleet.on_change = partial(self._keeper.refresh, self._fleet.provider.name)
            self._fleet.start()
        if settings.litellm.enabled:
            keep_litellm(settings, outbound, self._keeper, self._stack)
        self._caller_keys = CallerKeys(settings, lambda: {provider.name for provider in self._keeper.providers})
        pipeline = self._pipeline(secret_key)
        if self._source is not None:
            live = LiveProviders(
                settings,
                outbound=outbound,
                keeper=self._keeper,
                credentials=credentials,
                limits=self._limits.providers,
            )
            self._reload = Reload(settings, self._source, apply=live.apply, clock=self._clock)

        async def reload_secrets() -> None:
            await credentials.apply(self._keeper)
            await self._signing.reload()

        # Before the keys: none of them is admitted while it is not known which must sign.
        self._watcher.watch(REVISION, reload_secrets, first=True)
        await self._watcher.start(patient=self._database.dialect == "sqlite")
        self._keys.settle()
        sessions = self._sign_in.sessions
        self._access = build_access(
            settings,
            self._keys,
            secret_key,
            self._clock,
            port=lambda: self.port,
            sessions=sessions,
            occupied=lambda: sessions.anybody,
            public=PUBLIC_PATHS,
            cookie=self._sign_in.cookie_name("session"),
        )
        self._keys.tell_of_loss(users=sessions.anybody)
        self._keys.directory.start()
        self._stack.push_async_callback(self._keys.directory.close)
        self._server = await start_server(settings, self._entry(pipeline), tls)
        self._stack.push_async_callback(self._server.close, settings.server.shutdown_grace)
        await announce_setup(settings, self._sign_in, self.url)
        if self._reload is not None:
            following = asyncio.create_task(self._reload.run(self._reread), name="settings")
            self._stack.callback(following.cancel)
        if tls is not None:
            keeping = asyncio.create_task(keep_certificate(tls, self.hangup), name="certificate")
            self._stack.callback(keeping.cancel)

    def _pipeline(self, secret_key: SecretKey) -> Pipeline:
        routing, limits, privacy = self.settings.routing, self.settings.limits, self.settings.privacy
        length, terms, structure = routing.complexity_weights
        keeper = self._keeper
        timeouts = Timeouts(
            connect=limits.connect_timeout,
            first_byte=limits.first_byte_timeout,
            between_bytes=limits.between_bytes_timeout,
            total=limits.request_timeout,
        )
        understand = Understand(
            privacy=PrivacyRules(level=privacy.level, sensitive_tokens=tuple(privacy.sensitive_tokens)),
            complexity=ComplexityRules(weights=(length, terms, structure)),
            hash_key=secret_key.derive("prompts"),
            windows=lambda: keeper.catalog.windows,
            priority=routing.priority,
        )
        decide = Decide(rules=decide_rules(self.settings), policy=built_in(self.settings))
        shape = Defaults(temperature=routing.default_temperature, max_tokens=routing.default_max_tokens)
        self._record = Record(log=self._log, clock=self._clock, store_prompts=privacy.store_prompts)
        live = self._live = LiveSettings(
            self.settings,
            RuntimeSettingsStore(self._database, self._clock),
            self._watcher,
            providers=lambda: {
                *({provider.name for provider in keeper.providers} - uninvited(self.settings)),
                *(card.provider for card in keeper.catalog),
            },
        )
        self._decide = decide
        load_policy = follow_promotions(lambda: live.current, decide, self._database, self._watcher, self._clock)
        live.follow(understand=understand, decide=decide, shape=shape, keeper=keeper, load_policy=load_policy)
        self._must_stay = understand.must_stay
        people = build_people(self.settings, understand, secret_key, self._stack)
        return Pipeline(
            understand=understand,
            decide=decide,
            shape=shape,
            execute=Execute(
                provider_for=keeper.provider_for,
                timeouts=timeouts,
                clock=self._clock,
                is_local=keeper.is_local,
                unreachable=keeper.suspect,
                throttle=self._limits.providers,
            ),
            record=self._record,
            models=keeper,
            unhealthy=keeper.unhealthy,
            clock=self._clock,
            holds_private=understand.holds_private,
            redact=understand.redact if privacy.redaction else None,
            people=people,
            budgets=self._budgets,
            caller_keys=self._caller_keys,
            coming=self._coming,
        )

    def _coming(self, requested_model: str) -> str | None:
        """Why an embedded model that the name may mean is not there yet."""
        if self._fleet is None:
            return None
        name = self._live.current.routing.aliases.get(requested_model, requested_model)
        return self._fleet.coming(None if name in ("", "auto") else name)

    def _kept_ways(self, pipeline: Pipeline) -> dict[tuple[str, str], HotHandler]:
        keeps = self.settings.responses.store
        return responses_ways(pipeline, self._responses, keeps=keeps, clock=self._clock, hosts=self._hosts)

    def _hosts(self, requested_model: str, caller: Caller) -> bool:
        """Whether a name means models of upstreams that speak Responses, of those that the caller may use."""
        catalog = self._keeper.catalog
        name = catalog.aliases.get(requested_model, requested_model)
        meant = [card for card in catalog if name in (card.id, card.name) and caller.may_use(card.id, card.name)]
        return bool(meant) and all(card.responses for card in meant)

    def _entry(self, pipeline: Pipeline) -> Entry:
        from pointsman.transport.asgi import AsgiBridge

        server = self.settings.server
        services = Services(
            catalog=self._keeper,
            log=self._log,
            feedback=FeedbackStage(
                log=self._log,
                clock=self._clock,
                holds_private=self._must_stay if self.settings.privacy.store_prompts != "all" else lambda text: False,
            ),
            decide=pipeline.preview,
            providers_health=self.providers_health,
            limits=self._limits.callers.report,
            budgets=self._budgets,
            database=partial(standing, self._database, self._watcher),
            state_health=self._state.health,
            keys=self._keys.store,
            responses=self._responses,
            sign_in=self._sign_in,
            tally=self._record.tally,
            policy=lambda: self._decide.policy,
            unhealthy=self._keeper.unhealthy,
            equivalents=self._decide.equivalents,
            settings=self._live,
            version=__version__,
            started_at=self._clock.now(),
            clock=self._clock,
            caller_keys=self._caller_keys,
            configuration=self._reload.standing if self._reload is not None else None,
        )

        def load_app() -> Any:
            from pointsman.surfaces.asgi_app import build_asgi_app

            return build_asgi_app(services)

        return Entry(
            access=self._access,
            hot={
                **ways_in(pipeline, self._keeper),
                **self._kept_ways(pipeline),
                **ollama_ways(pipeline, self._keeper, started_at=services.started_at),
            },
            asgi=AsgiBridge(load_app),
            verify=Signatures(
                secret_of=self._signing.get,
                state=self._state,
                mode=self.settings.security.signing,
                seconds=self.settings.security.signature_seconds,
            ),
            charge=self._limits.callers,
            proxies=TrustedProxies(server.trusted_proxies) if server.trusted_proxies else None,
            sign_in_page=self._sign_in.page_for,
        )
