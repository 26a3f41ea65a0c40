"""Builds every concrete object once, from the settings, and ends them all. Read `Gateway._start` first."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from pointsman import __version__
from pointsman.core.catalog import Catalog
from pointsman.core.lifecycle import Lifecycle
from pointsman.core.ports import Health, SystemClock
from pointsman.pipeline.admit.proxies import TrustedProxies
from pointsman.pipeline.admit.signatures import Signatures
from pointsman.pipeline.record import FeedbackStage
from pointsman.pipeline.record.implicit import ImplicitSignals
from pointsman.providers.discovery import CatalogKeeper
from pointsman.providers.static_embedding.provider import StaticEmbedding
from pointsman.settings import Settings, Source
from pointsman.stores.credentials import REVISION, Credentials
from pointsman.stores.observations import ObservationStore
from pointsman.stores.signing import SigningSecrets
from pointsman.surfaces.entry import Entry
from pointsman.surfaces.services import Services
from pointsman.surfaces.sign_in import PUBLIC_PATHS

from .access import build_access, build_keys, refuse_open_door
from .breakers import Unhealthy, build_breakers, share_breakers
from .budgets import build_budgets
from .caller_keys import CallerKeys
from .credentials import LiveCredentials
from .implicit import ImplicitKeeper
from .judge import build_judge, run_judge
from .limits import build_limits, throttle_of
from .litellm import keep_litellm
from .live_providers import LiveProviders
from .observations import follow_observations
from .ollama import ollama_ways
from .pipeline import build_pipeline
from .providers import OnProgress, build_fleet, build_providers, check_names, uninvited
from .queues import build_queues
from .reload import Reload
from .responses import build_responses, hosts_responses, responses_ways
from .secrets import build_sealed
from .sign_in import announce_setup, build_sign_in, users_at_start
from .state import build_state, open_state
from .stores import Secrets, build_log, open_data_dir, open_database, standing
from .transport import build_outbound, build_tls, keep_certificate, start_server
from .ways_in import ways_in

log = logging.getLogger(__name__)


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
        self._lifecycle = Lifecycle()
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
        """Say that no more requests are wanted, and soon take none; wait for running answers as long as the settings
        grant, or until `hurry` is set; what runs still is ended."""
        server = self.settings.server
        self._lifecycle.leave()
        self._server.leave()
        if server.shutdown_delay > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(hurry.wait(), server.shutdown_delay)
        closing = asyncio.create_task(self._server.close(server.shutdown_grace, ending=self._lifecycle.end))
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait({closing, hurried}, return_when=asyncio.FIRST_COMPLETED)
        if not closing.done():
            log.info("told again: not waiting for running answers")
            await self._server.close(0, ending=self._lifecycle.end)
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
        """What stands on nothing first, the open port last."""
        settings = self.settings
        tls = build_tls(settings)
        secrets = open_data_dir(settings)
        await self._open_stores(secrets)
        await self._know_callers(secrets)
        await self._count()
        await self._find_models()
        store = ObservationStore(self._database)
        learning = settings.learning
        signs = ImplicitKeeper(store, self._clock, window_days=learning.window_days, key_share=learning.key_share)
        judge = build_judge(settings, signs.keep, self._clock)
        self._built = build_pipeline(
            settings,
            keeper=self._keeper,
            fleet=self._fleet,
            throttle=throttle_of(settings, self._limits.providers, self._state),
            breakers=self._breakers,
            queues=self._queues,
            budgets=self._budgets,
            caller_keys=self._caller_keys,
            log=self._log,
            database=self._database,
            watcher=self._watcher,
            clock=self._clock,
            secret_key=secrets.current,
            implicit=ImplicitSignals(signs.keep, self._clock) if settings.learning.implicit else None,
            judge=judge,
            lifecycle=self._lifecycle,
            stack=self._stack,
        )
        shadows = self._built.trials.shadows
        feed = follow_observations(
            settings, store, self._watcher, self._built.decide, self._clock, shadows, lambda: signs.verdicts
        )
        await self._follow_changes()
        self._in_background(feed.run(), "observations")
        self._in_background(signs.run(), "implicit signals")
        shared = share_breakers(self._breakers, self._state)
        if shared is not None:
            self._in_background(shared.run(), "circuits of replicas")
        if judge is not None:
            self._in_background(run_judge(judge, self._built.pipeline), "judge")
        self._guard_door(secrets)
        self._server = await start_server(settings, self._entry(), tls)
        self._stack.push_async_callback(self._server.close, settings.server.shutdown_grace)
        await announce_setup(settings, self._sign_in, self.url)
        self._in_background(self._built.trials.run(), "policies on trial")
        if self._reload is not None:
            self._in_background(self._reload.run(self._reread), "settings")
        if tls is not None:
            self._in_background(keep_certificate(tls, self.hangup), "certificate")

    async def _open_stores(self, secrets: Secrets) -> None:
        """The decision log and the database; what is sealed in it is read later."""
        settings = self.settings
        self._log = build_log(settings)
        await self._log.open()
        self._stack.push_async_callback(self._log.close)
        self._database, self._watcher = await open_database(settings, self._clock, *secrets, self._stack)
        sealed = build_sealed(settings, self._database, secrets=secrets, clock=self._clock)
        self._signing = SigningSecrets(sealed)
        self._credentials = Credentials(sealed)
        self._responses = build_responses(settings, self._database, sealed, self._clock, self._stack)

    async def _know_callers(self, secrets: Secrets) -> None:
        """Keys and people; without any of them no port is opened to the world."""
        settings = self.settings
        self._keys = build_keys(settings, self._database, self._watcher, self._clock, *secrets)
        self._sign_in = build_sign_in(
            settings,
            self._database,
            self._watcher,
            secrets=secrets,
            clock=self._clock,
            is_open=lambda: not self._access.asks_for_key,
        )
        await refuse_open_door(settings, self._keys, users=await users_at_start(settings, self._sign_in))

    async def _count(self) -> None:
        """Limits and budgets, and the state that they are counted in."""
        settings = self.settings
        self._state = build_state(settings)
        self._stack.push_async_callback(self._state.close)
        await open_state(self._state)
        self._limits = build_limits(settings, self._state, self._clock)
        self._stack.push_async_callback(self._limits.providers.close)
        self._outbound = build_outbound(settings)
        self._stack.push_async_callback(self._outbound.close)
        self._budgets, ledger = build_budgets(
            settings,
            database=self._database,
            state=self._state,
            decisions=self._log,
            clock=self._clock,
            outbound=self._outbound,
        )
        self._stack.push_async_callback(ledger.close)
        self._stack.push_async_callback(self._budgets.close)
        if self._budgets.rules.configured:
            await self._budgets.start()

    async def _find_models(self) -> None:
        """Every provider, and the catalog of what they offer."""
        settings, outbound = self.settings, self._outbound
        self._fleet = build_fleet(settings, outbound, self._on_progress)
        self._live_credentials = LiveCredentials(settings, outbound, self._credentials)
        providers = build_providers(settings, outbound, await self._live_credentials.load_if_possible())
        if self._fleet is not None:
            providers.insert(0, self._fleet.provider)
            self._stack.push_async_callback(self._fleet.stop)
        elif settings.embedded.enabled:
            providers.insert(0, StaticEmbedding())
        check_names(settings, providers)
        keeper = self._keeper = CatalogKeeper(
            providers, aliases=settings.routing.aliases, uninvited=uninvited(settings)
        )
        self._stack.push_async_callback(keeper.close)
        self._breakers = build_breakers(settings, keeper, self._clock)
        self._queues = build_queues(settings, keeper, self._limits.tiers, self._clock)
        await keeper.start()
        if self._fleet is not None:
            self._fleet.on_change = partial(keeper.refresh, self._fleet.provider.name)
            self._fleet.start()
        if settings.litellm.enabled:
            keep_litellm(settings, outbound, keeper, self._stack)
        self._caller_keys = CallerKeys(settings, lambda: {provider.name for provider in keeper.providers})

    async def _follow_changes(self) -> None:
        """What is changed while the gateway runs, in its files and in the database."""
        if self._source is not None:
            live = LiveProviders(
                self.settings,
                outbound=self._outbound,
                keeper=self._keeper,
                credentials=self._live_credentials,
                limits=self._limits.providers,
                queues=self._queues,
            )
            self._reload = Reload(self.settings, self._source, apply=live.apply, clock=self._clock)

        async def reload_secrets() -> None:
            await self._live_credentials.apply(self._keeper)
            await self._signing.reload()

        # Before the keys: none of them is admitted while it is not known which must sign.
        self._watcher.watch(REVISION, reload_secrets, first=True)
        await self._watcher.start(patient=self._database.dialect == "sqlite")
        self._keys.settle()

    def _guard_door(self, secrets: Secrets) -> None:
        """Who may enter."""
        sessions = self._sign_in.sessions
        self._access = build_access(
            self.settings,
            self._keys,
            secrets.current,
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

    def _in_background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._stack.callback(asyncio.create_task(work, name=name).cancel)

    def _entry(self) -> Entry:
        from pointsman.transport.asgi import AsgiBridge

        settings, server = self.settings, self.settings.server
        pipeline, understand, decide, record, live, _ = self._built
        services = Services(
            catalog=self._keeper,
            log=self._log,
            feedback=FeedbackStage(
                log=self._log,
                clock=self._clock,
                holds_private=understand.must_stay if settings.privacy.store_prompts != "all" else lambda text: False,
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
            tally=record.tally,
            policy=lambda: decide.policy,
            unhealthy=Unhealthy(self._keeper.unhealthy, self._breakers),
            instances=self._keeper.instances,
            circuits=self._breakers.standings,
            queues=self._queues.standings,
            equivalents=decide.equivalents,
            settings=live,
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
                **responses_ways(
                    pipeline,
                    self._responses,
                    keeps=settings.responses.store,
                    clock=self._clock,
                    hosts=partial(hosts_responses, self._keeper),
                ),
                **ollama_ways(pipeline, self._keeper, started_at=services.started_at),
            },
            asgi=AsgiBridge(load_app),
            verify=Signatures(
                secret_of=self._signing.get,
                state=self._state,
                mode=settings.security.signing,
                seconds=settings.security.signature_seconds,
            ),
            charge=self._limits.callers,
            proxies=TrustedProxies(server.trusted_proxies) if server.trusted_proxies else None,
            sign_in_page=self._sign_in.page_for,
            lifecycle=self._lifecycle,
        )
