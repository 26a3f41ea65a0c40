"""A gateway in front of two scripted upstreams: `cloud` is remote, `lan` is declared local."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pointsman.testing.upstream import ScriptedUpstream

from .running import Background, Gateway, running

UPSTREAM_KEY = "sk-upstream-planted-key"


@pytest.fixture(scope="session")
def background() -> Iterator[Background]:
    background = Background()
    yield background
    background.stop()


def _upstream(background: Background) -> Iterator[ScriptedUpstream]:
    upstream = ScriptedUpstream()
    background.run(upstream.__aenter__())
    yield upstream
    background.run(upstream.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def cloud_server(background: Background) -> Iterator[ScriptedUpstream]:
    yield from _upstream(background)


@pytest.fixture(scope="module")
def lan_server(background: Background) -> Iterator[ScriptedUpstream]:
    yield from _upstream(background)


@pytest.fixture
def cloud(cloud_server: ScriptedUpstream) -> ScriptedUpstream:
    """The remote upstream, with nothing scripted and nothing seen."""
    cloud_server.reset()
    return cloud_server


@pytest.fixture
def lan(lan_server: ScriptedUpstream) -> ScriptedUpstream:
    lan_server.reset()
    return lan_server


@pytest.fixture(scope="module")
def settings(cloud_server: ScriptedUpstream, lan_server: ScriptedUpstream) -> dict[str, Any]:
    """Two providers; a module that wants others overrides this."""
    return {
        "providers": {
            "openai": {
                "base_url": cloud_server.base_url,
                "api_key": UPSTREAM_KEY,
                "models": ["gpt-4o-mini", "gpt-4o"],
            },
            "lan": {"base_url": lan_server.base_url, "local": True, "models": ["llama3.1:8b"]},
            "ollama": {"enabled": False},
        },
        "limits": {"first_byte_timeout": 3.0, "between_bytes_timeout": 3.0, "connect_timeout": 2.0},
        "routing": {"aliases": {"fast": "lan:llama3.1:8b"}},
    }


@pytest.fixture(scope="module", params=["native", "asgi"])
def data_plane(request: pytest.FixtureRequest) -> str:
    """Both data planes; a module that needs one alone overrides this."""
    return request.param


@pytest.fixture(scope="module")
def gateway(settings: dict[str, Any], data_plane: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = {**settings, "server": {**settings.get("server", {}), "data_plane": data_plane}}
    with running(tmp_path_factory.mktemp("gateway"), settings) as gateway:
        yield gateway
