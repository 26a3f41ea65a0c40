"""Limits of callers, as clients of a real gateway meet them."""

from __future__ import annotations

import asyncio
import re
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from pointsman.testing.answers import Status

from .running import running

pytestmark = pytest.mark.client

PINNED = "openai:gpt-4o-mini"
HI = [{"role": "user", "content": "Say hello."}]
A_DAY = 25
KEYS = {name: f"pm-key-of-{name}-0123456789" for name in ("crowd", "alice", "bob", "carol", "dora", "emil")}


@pytest.fixture(scope="module")
def settings(settings):
    return {
        **settings,
        "server": {"api_keys": list(KEYS.values())},
        "limits": {
            **settings["limits"],
            "tiers": {"small": {"per_hour": 1000, "per_day": A_DAY, "priority": "low"}},
            "default_tier": "small",
            "buckets": {"models": {"burst": 2, "per_minute": 60}},
        },
    }


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[name]}"}


def client(gateway, name: str, **how) -> openai.OpenAI:
    return openai.OpenAI(base_url=gateway.base_url, api_key=KEYS[name], timeout=30, **how)


def use_up(gateway, name: str) -> None:
    for _ in range(A_DAY):
        assert gateway.chat(model=PINNED, headers=bearer(name)).status == 200


async def test_of_200_at_once_exactly_as_many_pass_as_may(gateway, cloud):
    async def ask(one: openai.AsyncOpenAI) -> bool:
        try:
            await one.chat.completions.create(model=PINNED, messages=HI)
        except openai.RateLimitError:
            return False
        return True

    async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=KEYS["crowd"], max_retries=0, timeout=60) as one:
        passed = await asyncio.gather(*(ask(one) for _ in range(200)))
    assert sum(passed) == A_DAY
    assert len(cloud.chats) == A_DAY
    assert gateway.chat(model=PINNED, headers=bearer("alice")).status == 200  # each key has its own


def test_every_answer_says_how_the_limits_stand(gateway, cloud):
    cloud.script(Status(500))
    answers = [
        gateway.chat(model=PINNED, headers=bearer("bob")),
        gateway.chat(headers=bearer("bob"), stream=True),
        gateway.chat(model="nobody-knows-this", headers=bearer("bob")),
    ]
    assert [answer.status for answer in answers] == [502, 200, 404]
    for number, answer in enumerate(answers, 1):
        headers = answer.headers
        left = A_DAY - number
        assert headers["ratelimit-policy"] == f'"hour";q=1000;w=3600, "day";q={A_DAY};w=86400'
        told = re.fullmatch(rf'"hour";r={1000 - number};t=(\d+), "day";r={left};t=(\d+)', headers["ratelimit"])
        assert told is not None, headers["ratelimit"]
        assert 0 < int(told[1]) <= 3600
        assert headers["ratelimit-limit"] == headers["x-ratelimit-limit-requests"] == str(A_DAY)
        assert headers["ratelimit-remaining"] == headers["x-ratelimit-remaining-requests"] == str(left)
        assert headers["ratelimit-reset"] == told[2]
        assert re.fullmatch(r"(\d+h)?(\d+m)?\d+s", headers["x-ratelimit-reset-requests"])
        assert "retry-after" not in headers
    free = gateway.ask("GET", "/api/v1/decisions", headers=bearer("bob"))
    assert not [name for name in free.headers if "ratelimit" in name]


def test_a_refusal_has_openais_shape_and_the_richer_one(gateway, cloud):
    use_up(gateway, "carol")
    refused = gateway.chat(model=PINNED, headers=bearer("carol"))
    assert refused.status == 429
    assert refused.json["error"]["type"] == "rate_limit_error"
    assert refused.json["error"]["code"] == "rate_limit_exceeded"
    assert f"{A_DAY} requests a day in the tier small" in refused.json["error"]["message"]
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert refused.headers["ratelimit-remaining"] == "0"

    native = gateway.ask("POST", "/api/v1/route", {"messages": HI}, headers=bearer("carol"))
    assert (native.status, native.json["error"]["code"]) == (429, "rate_limit_exceeded")
    details = native.json["error"]["details"]
    midnight = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() // 86_400 * 86_400 + 86_400))
    assert (details["tier"], details["limit"], details["remaining"]) == ("small", A_DAY, 0)
    assert details["reset_at"] == midnight
    used = details["usage_statistics"]
    assert {name: (use["limit"], use["used"], use["remaining"]) for name, use in used.items()} == {
        "hour": (1000, A_DAY, 1000 - A_DAY),
        "day": (A_DAY, A_DAY, 0),
    }
    assert native.json["error"]["remediation"]["retry_after"] > 0
    assert native.headers["retry-after"]

    told = gateway.ask("GET", "/api/v1/usage", headers=bearer("carol")).json
    assert (told["tier"], told["priority"]) == ("small", "low")
    day = {limit["name"]: limit for limit in told["limits"]}["day"]
    assert (day["used"], day["remaining"], day["reset_at"]) == (A_DAY, 0, midnight)


def test_the_sdk_raises_its_own_error_and_waits_as_told(gateway):
    with client(gateway, "dora", max_retries=0) as impatient:

        def ask_often() -> None:
            for _ in range(1000):  # a slow machine refills the bucket meanwhile
                impatient.models.list()

        with pytest.raises(openai.RateLimitError) as caught:
            ask_often()
    assert caught.value.status_code == 429
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["retry-after"] == "1"
    assert caught.value.response.headers["ratelimit-policy"] == '"models-burst";q=2;w=2'
    with client(gateway, "dora", max_retries=5) as patient:
        began = time.monotonic()
        for _ in range(4):
            patient.models.list()
        assert time.monotonic() - began > 1.5  # the bucket held less than one, and refills one a second


def test_a_bucket_is_of_one_class_of_endpoints(gateway, cloud):
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: gateway.ask("GET", "/v1/models", headers=bearer("emil")), range(8)))
    assert {reply.status for reply in replies} == {200, 429}
    assert gateway.chat(model=PINNED, headers=bearer("emil")).status == 200
    assert gateway.ask("GET", "/api/v1/decisions", headers=bearer("emil")).status == 200


def test_an_open_port_has_the_default_tier(tmp_path, settings, cloud):
    tree = {**settings, "server": {}}
    with running(tmp_path, {**tree, "limits": {**tree["limits"], "tiers": {"small": {"per_day": 1}}}}) as gateway:
        assert gateway.chat(model=PINNED).status == 200
        assert gateway.chat(model=PINNED).status == 429
        assert "in the tier small" in gateway.chat(model=PINNED).json["error"]["message"]


def test_without_limits_nothing_is_said_of_them(tmp_path, settings, cloud):
    with running(tmp_path, {**settings, "server": {}, "limits": {}}) as gateway:
        answer = gateway.chat(model=PINNED)
        assert not [name for name in answer.headers if "ratelimit" in name]
        assert gateway.ask("GET", "/api/v1/usage").json["limits"] == []


def test_stored_keys_have_the_tier_that_they_name(tmp_path, settings, cloud):
    tree = {**settings, "server": {}, "limits": {"tiers": {"tiny": {"per_day": 1}, "wide": {"per_day": 50}}}}
    with running(tmp_path, tree) as gateway:
        admin = gateway.ask("POST", "/api/v1/keys", {"name": "admin", "role": "admin"}).json
        gateway.headers["authorization"] = f"Bearer {admin['token']}"
        made = {
            tier: gateway.ask("POST", "/api/v1/keys", {"name": tier, "tier": tier}).json for tier in ("tiny", "wide")
        }
        for tier, left in (("tiny", "0"), ("wide", "49")):
            sent = {"authorization": f"Bearer {made[tier]['token']}"}
            assert gateway.chat(model=PINNED, headers=sent).headers["ratelimit-remaining"] == left
        told = gateway.ask("GET", f"/api/v1/usage?key_id={made['wide']['id']}").json
        assert (told["key_id"], told["tier"], told["limits"][0]["used"]) == (made["wide"]["id"], "wide", 1)
        nosy = {"authorization": f"Bearer {made['wide']['token']}"}
        assert gateway.ask("GET", f"/api/v1/usage?key_id={admin['id']}", headers=nosy).status == 403
        assert gateway.ask("GET", "/api/v1/usage?key_id=key_nobody").status == 404
        assert gateway.ask("GET", "/api/v1/usage").json["limits"] == []  # the admin's tier is enterprise


def test_an_open_port_counts_each_address_by_itself(tmp_path, settings, cloud):
    tree = {
        **settings,
        "server": {"trusted_proxies": ["127.0.0.1"], "host": "0.0.0.0", "allow_unauthenticated": True},
        "limits": {"tiers": {"small": {"per_day": 1}}, "default_tier": "small"},
    }
    with running(tmp_path, tree) as gateway:

        def ask(address: str) -> int:
            return gateway.chat(model=PINNED, headers={"x-forwarded-for": address}).status

        assert [ask("203.0.113.7"), ask("203.0.113.7"), ask("203.0.113.8")] == [200, 429, 200]
        assert [ask("2001:db8::1"), ask("2001:db8::2"), ask("2001:db8:0:1::1")] == [200, 429, 200]
