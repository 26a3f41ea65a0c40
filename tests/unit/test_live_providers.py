"""What a reload means for a request that was decided before it and is not sent yet."""

from __future__ import annotations

import pytest

from pointsman.app.credentials import LiveCredentials
from pointsman.app.limits import build_limits
from pointsman.app.live_providers import LiveProviders
from pointsman.app.providers import build_providers
from pointsman.core.catalog import ModelCard
from pointsman.core.decision import Decision, new_decision_id
from pointsman.core.errors import PointsmanError, PrivacyWall
from pointsman.core.ports import ChatCall, SystemClock, Timeouts
from pointsman.core.request import ChatRequest
from pointsman.core.signals import Complexity, Conversation, Needs, Privacy, Signals
from pointsman.core.trail import Trail
from pointsman.pipeline.execute import Execute
from pointsman.pipeline.execute.queues import EngineQueues
from pointsman.providers.discovery import CatalogKeeper
from pointsman.settings import ProviderSettings, Settings
from pointsman.stores.memory_state import MemoryState
from pointsman.testing.upstream import ScriptedUpstream
from pointsman.transport.pool import Pool


class NoStored(LiveCredentials):
    """No credential is stored."""

    def __init__(self) -> None:
        self._known = {}


def settings_with(**providers: ProviderSettings) -> Settings:
    absent = {name: ProviderSettings(enabled=False) for name in ("ollama", "litellm")}
    return Settings(providers={**absent, **providers})


async def followed(settings: Settings, outbound: Pool) -> tuple[CatalogKeeper, LiveProviders]:
    """The catalog of the settings' providers, and what has them follow a change."""
    clock = SystemClock()
    keeper = CatalogKeeper(build_providers(settings, outbound))
    await keeper.start()
    limits = build_limits(settings, MemoryState(clock), clock).providers
    queues = EngineQueues(clock=clock)
    return keeper, LiveProviders(
        settings, outbound=outbound, keeper=keeper, credentials=NoStored(), limits=limits, queues=queues
    )


def private(model: str) -> Decision:
    signals = Signals(
        complexity=Complexity(score=0.0, length=0.0, terms=0.0, structure=0.0),
        privacy=Privacy(local_only=True),
        needs=Needs(),
        conversation=Conversation(turn=0, messages=0),
    )
    return Decision(
        id=new_decision_id(), created_at=0.0, model=model, plan=(model,), mode="forced", requested_model=model,
        candidates=(), dropped=(), propensity=1.0, policy="forced@1", reasons=(), signals=signals,
        estimated_cost_micro_usd=None,
    )  # fmt: skip


@pytest.mark.parametrize("moment", ["while it waits for its turn", "when it has its provider"])
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_one_that_must_stay_does_not_leave_for_a_provider_that_became_remote(moment, elsewhere):
    async with ScriptedUpstream() as before, ScriptedUpstream() as after:
        local = ProviderSettings(base_url=before.base_url, models=["m"], local=True)
        remote = ProviderSettings(base_url=(after if elsewhere else before).base_url, models=["m"])
        settings, outbound, clock = settings_with(lab=local), Pool(), SystemClock()
        keeper, live = await followed(settings, outbound)
        catalog = keeper.catalog
        card = catalog.resolve("lab:m")
        request = ChatRequest.build({"model": "lab:m", "messages": [{"role": "user", "content": "private"}]})
        assert card.local
        try:
            if moment == "when it has its provider":
                provider = keeper.provider_for(card)
                live.apply(settings_with(lab=remote))
                call = ChatCall(card=card, request=request, local_only=True, timeouts=Timeouts())
                with pytest.raises(PrivacyWall):
                    await anext(provider.chat(call))
            else:

                class Turn:
                    """The provider's limit, at which a request waits."""

                    async def take(self, card: ModelCard, needs: Needs, tier: str | None) -> None:
                        live.apply(settings_with(lab=remote))

                    def waiting(self, card: ModelCard) -> float:
                        return 0.0

                    def settle(self, *args: object, **more: object) -> None: ...

                    def wait(self, *args: object) -> None: ...

                execute = Execute(
                    provider_for=keeper.provider_for, timeouts=Timeouts(), clock=clock, throttle=Turn(),
                    is_local=keeper.is_local,
                )  # fmt: skip
                trail = Trail(clock)
                with pytest.raises(PointsmanError) as refused:
                    await anext(execute(private("lab:m"), request, catalog=catalog, trail=trail))
                assert isinstance(refused.value, PrivacyWall)
                assert not trail.steps[0].card.local
            assert not before.chats
            assert not after.chats
        finally:
            await keeper.close()
            await outbound.close()


async def test_all_or_none_and_what_is_equal_is_not_built_anew():
    async with ScriptedUpstream() as upstream:
        one = ProviderSettings(base_url=upstream.base_url, models=["a"])
        settings, outbound = settings_with(one=one), Pool()
        keeper, live = await followed(settings, outbound)
        try:
            [first] = keeper.providers
            same = ProviderSettings(base_url=upstream.base_url, models=["a"])
            with pytest.raises(PointsmanError):
                live.apply(settings_with(one=same, two=one, three=ProviderSettings(base_url="http://a b/")))
            assert keeper.providers == (first,)
            assert set(settings.providers) == {"ollama", "litellm", "one"}
            live.apply(settings_with(one=same, two=one))
            assert keeper.providers[0] is first
            assert {provider.name for provider in keeper.providers} == {"one", "two"}
        finally:
            await keeper.close()
            await outbound.close()


async def test_a_local_pool_that_grows_or_shrinks_stays_local_at_every_moment():
    async with ScriptedUpstream() as first, ScriptedUpstream() as second:

        def farm(*servers: ScriptedUpstream) -> ProviderSettings:
            addresses = [server.base_url for server in servers]
            return ProviderSettings(instances=addresses, models=["m"], local=True)

        settings, outbound = settings_with(farm=farm(first)), Pool()
        keeper, live = await followed(settings, outbound)
        try:
            for servers in ((first, second), (second,)):
                live.apply(settings_with(farm=farm(*servers)))
                assert keeper.catalog.resolve("farm:m").local
            assert outbound.remote  # nothing private goes to the one that left
        finally:
            await keeper.close()
            await outbound.close()
