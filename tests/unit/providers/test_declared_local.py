"""What nobody can have on a machine of their own cannot be declared local."""

from __future__ import annotations

import pytest

from pointsman.app.providers import build_provider
from pointsman.core.errors import SettingsError
from pointsman.settings import ProviderSettings, Secret, Settings
from pointsman.transport.pool import Pool


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("openai", {}),
        ("mine", {"base_url": "https://API.openai.com/v1"}),
        ("ollama", {"base_url": "https://ollama.com"}),
        ("openrouter", {}),
    ],
)
def test_a_service_on_the_internet_is_never_local(name, fields):
    own = ProviderSettings(api_key=Secret("sk-x"), local=True, **fields)
    with pytest.raises(SettingsError, match="is a service on the internet"):
        build_provider(name, Settings(providers={name: own}), Pool())


@pytest.mark.parametrize("address", ["http://127.0.0.1:9000/v1", "http://10.1.2.3:8000/v1", "https://llm.acme.io/v1"])
def test_ones_own_server_is_what_its_owner_says(address):
    own = ProviderSettings(base_url=address, local=True)
    provider = build_provider("lab", Settings(providers={"lab": own}), Pool())
    assert provider is not None
    assert provider.local
