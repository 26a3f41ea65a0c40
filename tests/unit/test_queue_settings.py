"""Queues before engines, as the settings say: which there are, what is refused, what a change leaves."""

from __future__ import annotations

import pytest

from pointsman.app.limits import build_limits
from pointsman.app.queues import build_queues, put_queue
from pointsman.core.catalog import ModelCard
from pointsman.core.errors import SettingsError
from pointsman.core.ports import SystemClock
from pointsman.pipeline.execute.queueing import LineRules
from pointsman.pipeline.execute.queues import EngineQueues
from pointsman.providers.discovery import CatalogKeeper
from pointsman.providers.static_embedding.provider import StaticEmbedding
from pointsman.settings import ProviderSettings, Settings
from pointsman.settings.checks import check
from pointsman.settings.provider_schema import InstanceSettings
from pointsman.settings.schema import TierSettings
from pointsman.stores.memory_state import MemoryState

SMALL = ModelCard(id="embedded:small", provider="embedded", name="small")


def card(provider: str) -> ModelCard:
    return ModelCard(id=f"{provider}:m", provider=provider, name="m")


def built(settings: Settings) -> EngineQueues:
    clock = SystemClock()
    tiers = build_limits(settings, MemoryState(clock), clock).tiers
    return build_queues(settings, CatalogKeeper([]), tiers, clock)


def test_without_slots_there_is_no_queue():
    queues = built(Settings(providers={"gpu": ProviderSettings(base_url="http://h/v1")}))
    assert queues.line(card("gpu")) is None
    assert queues.line(card("openai")) is None
    assert queues.waits(None, None) == {}


def test_each_embedded_model_has_one_and_the_table_that_embeds_none():
    queues = built(Settings())
    line, other = queues.line(SMALL), queues.line(card("embedded"))
    assert line is not None
    assert line is not other
    assert line is queues.line(SMALL)
    assert (line.slots, line.engine) == (2, "embedded:small")
    assert queues.line(StaticEmbedding.card()) is None


@pytest.mark.parametrize(
    ("own", "slots"),
    [
        (ProviderSettings(slots=3), 3),
        (ProviderSettings(instances=["http://a", "http://b"], slots=3), 6),
        (ProviderSettings(instances=["http://a", InstanceSettings(url="http://b", slots=5)], slots=3), 8),
        (ProviderSettings(instances=["http://a", InstanceSettings(url="http://b", slots=5)]), None),
        (ProviderSettings(base_url="http://c", instances=[InstanceSettings(url="http://b", slots=5)]), None),
        (ProviderSettings(base_url="http://c", instances=[InstanceSettings(url="http://b", slots=5)], slots=1), 6),
    ],
)
def test_a_pool_has_what_its_servers_have_together(own, slots):
    line = built(Settings(providers={"gpu": own})).line(card("gpu"))
    assert (line and line.slots) == slots


def test_a_server_of_a_pool_that_does_not_say_has_a_share_of_one():
    own = ProviderSettings(base_url="http://c", instances=["http://a", InstanceSettings(url="http://b", slots=5)])
    assert own.addresses == {"http://c": 1, "http://a": 1, "http://b": 5}


async def test_a_queue_is_changed_in_place_and_taken_away():
    settings = Settings(providers={"gpu": ProviderSettings(slots=2)})
    queues, keeper = built(settings), CatalogKeeper([])
    line = queues.line(card("gpu"))
    assert line is not None
    settings.providers["gpu"] = ProviderSettings(slots=7)
    put_queue(queues, "gpu", settings, keeper)
    assert queues.line(card("gpu")) is line
    assert line.slots == 7
    del settings.providers["gpu"]
    put_queue(queues, "gpu", settings, keeper)
    assert queues.line(card("gpu")) is None
    assert queues.standings() == []


def test_a_tier_s_priority_is_the_weight_of_its_keys():
    tiers = {name: TierSettings(priority=name) for name in ("high", "normal", "low")}
    settings = Settings(providers={"gpu": ProviderSettings(slots=2)})
    settings.limits.tiers |= tiers
    line = built(settings).line(card("gpu"))
    assert line is not None
    assert [line._weight(tier) for tier in ("high", "normal", "low", "gone", None)] == [4.0, 2.0, 1.0, 1.0, 4.0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slots", 0),
        ("slots", 10_001),
        ("queue", -1),
        ("queue", 10_001),
        ("queue_seconds", -1.0),
        ("queue_seconds", float("nan")),
        ("batch_window", -0.1),
        ("batch_window", 11.0),
    ],
)
def test_numbers_that_are_none_are_refused(name, value):
    settings = Settings(providers={"gpu": ProviderSettings(**{name: value})})
    with pytest.raises(SettingsError) as caught:
        check(settings)
    assert caught.value.key == f"providers.gpu.{name}"


def test_the_stage_and_the_settings_have_the_same_defaults():
    queues = built(Settings(providers={"gpu": ProviderSettings(slots=2)}))
    line = queues.line(card("gpu"))
    assert line is not None
    assert line._rules == LineRules(slots=2)
