"""A caller who speaks Responses, in front of upstreams that speak them, and of others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from gateway.responding import in_front_of
from gateway.running import Gateway
from pointsman.testing import ScriptedUpstream


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def settings(cloud_server: ScriptedUpstream, lan_server: ScriptedUpstream) -> dict[str, Any]:
    return in_front_of(cloud_server, lan_server)


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base_url, api_key="unused", max_retries=0, timeout=20) as client:
        yield client
