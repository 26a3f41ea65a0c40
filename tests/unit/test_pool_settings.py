"""Providers of several servers in the settings: what is taken, what is refused, and what is built of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman import settings
from pointsman.app.live_providers import _local, _moved
from pointsman.app.providers import build_provider
from pointsman.core.errors import SettingsError
from pointsman.providers.pool import Pool
from pointsman.settings import ProviderSettings, Settings
from pointsman.settings.provider_schema import InstanceSettings
from pointsman.settings.shown import flatten
from pointsman.testing import ScriptedUpstream
from pointsman.transport.pool import Pool as Connections

A, B = "http://10.0.0.1:11434", "http://10.0.0.2:11434"


def loaded(tmp_path: Path, text: str, **environ: str) -> Settings:
    config = tmp_path / "pointsman.yaml"
    config.write_text(text)
    return settings.load(config=config, environ=environ)


def built(**own) -> Pool | None:
    found = build_provider("farm", Settings(providers={"farm": ProviderSettings(**own)}), Connections())
    assert found is None or isinstance(found, Pool)
    return found


def test_what_is_read(tmp_path):
    found = loaded(
        tmp_path,
        "providers: {ollama: {instances: ['10.0.0.1:11434', {url: '10.0.0.2:11434', slots: 4}]}}",
        OLLAMA_HOST="10.0.0.3:11434",
    )
    own = found.providers["ollama"]
    assert own.addresses == {"http://10.0.0.3:11434": 1, A: 1, B: 4}
    assert ProviderSettings(base_url=A).addresses == {}
    assert ProviderSettings(base_url=B, instances=[A, InstanceSettings(url=B, slots=3)]).addresses == {B: 3, A: 1}


@pytest.mark.parametrize(
    ("instances", "key", "mend"),
    [
        ("[10.0.0.1]", "instances[0].url", "must be an http"),
        (f"['{A}', '{A}']", "instances[1].url", "stands twice"),
        (f"[{{url: '{A}', slots: 0}}]", "instances[0].slots", "between 1 and"),
        (f"[{{url: '{A}', slot: 1}}]", "instances", "no such setting"),
        (f"{{url: '{A}'}}", "instances", "must be a list"),
        (str([f"http://10.0.0.1:{port}" for port in range(1, 70)]), "instances", "too many"),
    ],
)
def test_what_is_refused(tmp_path, instances, key, mend):
    with pytest.raises(SettingsError, match=mend) as refused:
        loaded(tmp_path, f"providers: {{farm: {{instances: {instances}}}}}")
    assert refused.value.key.startswith(f"providers.farm.{key}")


def test_what_no_pool_can_be_built_of():
    for own, mend in (
        ({"instances": [A, "https://api.openai.com/v1"], "local": True}, "a service on the internet"),
        ({"instances": [A, "http://user:word@10.0.0.2"]}, "holds a user name or password"),
        ({"instances": [A], "type": "anthropic"}, "Ollamas or servers that speak OpenAI's chat"),
    ):
        with pytest.raises(SettingsError, match=mend) as refused:
            built(**own)
        assert "word" not in str(refused.value.value) + refused.value.key.removeprefix("providers.")


def test_the_gateway_is_no_instance_of_its_own(caplog):
    pool = built(instances=["http://127.0.0.1:8000/v1", A])
    assert [one.url for one in pool.standing()] == [A]
    assert "own address" in caplog.text
    assert built(instances=["http://127.0.0.1:8000/v1"]) is None


def test_addresses_are_shown_without_passwords():
    own = ProviderSettings(instances=["http://u:word@h/v1", InstanceSettings(url="http://u:word@h:1/v1?key=word")])
    shown = dict(flatten(Settings(providers={"farm": own})))["providers.farm.instances"]
    assert shown == ["http://…@h/v1", {"url": "http://…@h:1/v1"}]


def test_what_a_reload_keeps():
    two = ProviderSettings(instances=[A, B], local=True)
    assert {origin.host for origin in _local({"farm": two})} == {"10.0.0.1", "10.0.0.2"}
    assert _local({"farm": ProviderSettings(instances=[A])}) == frozenset()
    assert not _moved("farm", ProviderSettings(base_url=A, local=True), two)  # grown
    assert not _moved("farm", two, ProviderSettings(instances=[B], local=True))
    assert _moved("farm", two, ProviderSettings(instances=[A, B]))
    assert _moved("farm", two, ProviderSettings(instances=["http://10.0.0.3:11434"], local=True))


async def test_servers_whose_key_callers_bring_are_not_asked_without():
    async with ScriptedUpstream() as upstream:
        connections = Connections()
        own = ProviderSettings(instances=[upstream.base_url], caller_keys=True, models=["m"], type="openai-compatible")
        pool = build_provider("farm", Settings(providers={"farm": own}), connections)
        assert isinstance(pool, Pool)
        assert [(card.id, card.needs_credential) for card in await pool.discover()] == [("farm:m", True)]
        assert (await pool.health()).ok
        assert not upstream.requests
        await connections.close()
