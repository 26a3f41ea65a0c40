"""Limits over several gateways that share counters, and what happens while those are away."""

from __future__ import annotations

import contextlib
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from services import free_port, valkey
from waiting import until

from .running import running

PINNED = "openai:gpt-4o-mini"
KEY = "pm-key-of-the-crowd-0123456789"
KEYED = {"authorization": f"Bearer {KEY}"}
A_DAY = 40


def sharing(settings, url: str, *, away: str = "open", **provider) -> dict:
    providers = settings["providers"]
    return {
        **settings,
        "providers": {**providers, "openai": {**providers["openai"], **provider}},
        "server": {"api_keys": [KEY]},
        "state": {"url": url, "prefix": f"test-{uuid.uuid4().hex[:8]}", "timeout": 5.0},
        "limits": {
            **settings["limits"],
            "tiers": {"small": {"per_day": A_DAY}},
            "default_tier": "small",
            "when_state_is_away": away,
        },
    }


@contextlib.contextmanager
def two(tmp_path, tree):
    with running(tmp_path / "one", tree) as one, running(tmp_path / "two", tree) as other:
        yield one, other


def test_two_gateways_let_exactly_as_many_pass_as_may(tmp_path, settings, cloud, valkey_server):
    with two(tmp_path, sharing(settings, valkey_server.url)) as gateways, ThreadPoolExecutor(32) as pool:
        asked = list(pool.map(lambda number: gateways[number % 2].chat(model=PINNED, headers=KEYED), range(200)))
        assert sorted(answer.status for answer in asked) == [200] * A_DAY + [429] * (200 - A_DAY)
        assert len(cloud.chats) == A_DAY
        left = sorted(int(answer.headers["ratelimit-remaining"]) for answer in asked if answer.status == 200)
        assert left == list(range(A_DAY))  # every answer was told a number of its own
        for gateway in gateways:
            day = gateway.ask("GET", "/api/v1/usage", headers=KEYED).json["limits"][0]
            assert (day["used"], day["remaining"]) == (A_DAY, 0)


def test_two_gateways_share_what_a_provider_allows(tmp_path, settings, cloud, valkey_server):
    tree = sharing(settings, valkey_server.url, requests_per_minute=10)
    tree["limits"]["tiers"]["small"] = {"priority": "high"}
    with two(tmp_path, tree) as gateways, ThreadPoolExecutor(16) as pool:
        began = time.monotonic()
        asked = list(pool.map(lambda number: gateways[number % 2].chat(model=PINNED, headers=KEYED), range(40)))
        refilled = (time.monotonic() - began) / 6
    passed = sum(answer.status == 200 for answer in asked)
    assert 10 <= passed <= 10 + refilled
    assert passed == len(cloud.chats)
    codes = {answer.json["error"]["code"] for answer in asked if answer.status != 200}
    assert codes == {"provider_limit_reached"}


@pytest.mark.parametrize(("away", "status"), [("open", 200), ("closed", 503)])
def test_while_the_counters_are_away(tmp_path, settings, cloud, away, status):
    tree = sharing(settings, f"redis://127.0.0.1:{free_port()}/0", away=away, requests_per_minute=1)
    with running(tmp_path, tree) as gateway:
        asked = [gateway.chat(model=PINNED, headers=KEYED) for _ in range(3)]
        assert [answer.status for answer in asked] == [status] * 3
        assert not [name for name in asked[0].headers if "ratelimit" in name]
        if status == 503:
            assert int(asked[0].headers["retry-after"]) >= 1
            assert asked[0].json["error"]["code"] == "state_unavailable"
            assert "redis" not in asked[0].json["error"]["message"]
        assert gateway.ask("GET", "/v1/models", headers=KEYED).status == 200  # what has no limit needs no counter
        usage = gateway.ask("GET", "/api/v1/usage", headers=KEYED)
        assert (usage.status, usage.json["error"]["details"]["reason"]) == (503, "state_unavailable")
        assert len([line for line in gateway.log_text.splitlines() if "counted against limits" in line]) == 1


def test_limits_hold_again_when_the_counters_are_back(tmp_path, settings, cloud):
    with valkey() as server, running(tmp_path, sharing(settings, server.url)) as gateway:
        assert gateway.chat(model=PINNED, headers=KEYED).headers["ratelimit-remaining"] == str(A_DAY - 1)
        server.kill()
        assert gateway.chat(model=PINNED, headers=KEYED).status == 200
        server.start()
        until(lambda: "ratelimit-remaining" in gateway.chat(model=PINNED, headers=KEYED).headers)
