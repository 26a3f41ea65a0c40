"""A provider that cannot be reached is left out of decisions at once, with the reason, and is back when it answers."""

from __future__ import annotations

from typing import Any

import pytest

from waiting import until

from .running import Gateway, running

EASY = "What is the capital of France?"


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


def test_a_provider_that_stops_is_dropped_and_comes_back(tmp_path, cloud_server, lan_server, background):
    cloud_server.reset()
    lan_server.reset()
    lan_server.models = ("llama3.1:8b",)
    providers = {
        "openai": {"base_url": cloud_server.base_url, "api_key": "k", "models": ["gpt-4o-mini"]},
        "lan": {"base_url": lan_server.base_url, "local": True},  # no list of models: it is asked
        "ollama": {"enabled": False},
    }
    with running(tmp_path, {"providers": providers}) as gateway:
        assert gateway.chat(EASY).headers["x-pointsman-model"] == "lan:llama3.1:8b"
        background.run(lan_server.refuse())
        try:
            first = gateway.chat(EASY)
            assert first.headers["x-pointsman-model"] == "openai:gpt-4o-mini"
            assert first.headers["x-pointsman-reason"].startswith("fallback")
            record = until(lambda: _answered_by(gateway, "openai:gpt-4o-mini"))
            assert record is not None
            [dropped] = [drop for drop in record["dropped"] if drop["model"] == "lan:llama3.1:8b"]
            assert dropped["constraint"] == "unhealthy"
            assert "away" in dropped["detail"]
        finally:
            background.run(lan_server.listen())
        # It may be chosen again; whether it is, is another matter: the other has been seen to be quick meanwhile.
        until(lambda: "lan:llama3.1:8b" in _candidates(gateway.decision(gateway.chat(EASY))))
    lan_server.models = ("scripted-model",)


def _answered_by(gateway: Gateway, model: str) -> dict[str, Any] | None:
    record = gateway.decision(gateway.chat(EASY))
    return record if record["model"] == model else None


def _candidates(record: dict[str, Any]) -> set[str]:
    return {candidate["model"] for candidate in record["candidates"]}
