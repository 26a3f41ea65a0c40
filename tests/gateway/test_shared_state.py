"""A gateway whose limits and budgets are counted on a Valkey that is not there yet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from services import valkey
from waiting import until

from .running import Gateway, running


def once(gateway: Gateway, connected: bool) -> dict[str, Any]:
    """The health report, once it tells of the shared state what is expected."""

    def told() -> dict[str, Any] | None:
        health = gateway.ask("GET", "/api/v1/health").json
        return health if health["shared_state"]["connected"] == connected else None

    found = until(told)
    assert found is not None
    return found


def test_a_gateway_starts_without_its_redis_and_says_so(tmp_path: Path, settings: dict[str, Any]) -> None:
    with valkey("--requirepass", "hush-hush") as server:
        server.kill()
        env = {"REDIS_URL": server.url, "REDIS_PASSWORD": "hush-hush"}
        with running(tmp_path / "gateway", {**settings, "limits": {"default_tier": "basic"}}, env=env) as gateway:
            assert f"127.0.0.1:{server.port} cannot be reached" in gateway.log_text
            assert "when_state_is_away" in gateway.log_text
            health = once(gateway, False)
            assert health["status"] == "degraded"
            assert str(server.port) in health["shared_state"]["detail"]
            assert health["shared_state"]["mend"]
            assert gateway.ask("GET", "/v1/models").status == 200
            assert gateway.chat().status == 200, "limits are open while nobody counts"
            server.start()
            health = once(gateway, True)
            assert re.search(r"(Valkey|Redis) [0-9.]+, [0-9.]+ ms", health["shared_state"]["detail"])
            assert gateway.chat().headers["ratelimit-limit"] == "60"
            server.kill()
            once(gateway, False)
            assert gateway.chat().status == 200
        assert "hush-hush" not in gateway.log_text


@pytest.mark.parametrize("url", ["http://127.0.0.1:6379", "redis://:hush-hush@"])
def test_an_address_that_is_none_stops_the_start(tmp_path: Path, settings: dict[str, Any], url: str) -> None:
    with pytest.raises(AssertionError) as caught, running(tmp_path / "gateway", settings, env={"REDIS_URL": url}):
        pass
    assert "redis://host:6379/0" in str(caught.value)
    assert "hush-hush" not in str(caught.value)
