"""Limits of providers, met by a real gateway in front of scripted upstreams."""

from __future__ import annotations

import openai
import pytest

from pointsman.testing.answers import Answer, Status, Tokens

from .running import running

SCARCE, SPARE = "openai:gpt-4o", "lan:llama3.1:8b"
LOW = "pm-key-of-the-low-0123456789"


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture
def tree(settings):
    """`openai` takes two requests a minute; its gpt-4o has a model to step in, its gpt-4o-mini has none."""
    providers = settings["providers"]
    return {
        **settings,
        "providers": {**providers, "openai": {**providers["openai"], "requests_per_minute": 2}},
        "routing": {"fallbacks": {SCARCE: [SPARE]}},
    }


def test_the_next_model_steps_in_when_a_provider_is_short(tmp_path, tree, cloud, lan):
    with running(tmp_path, tree) as gateway:
        for _ in range(2):
            assert gateway.chat(model=SCARCE).headers["x-pointsman-model"] == SCARCE
        other = gateway.chat(model=SCARCE)
        assert (other.status, other.headers["x-pointsman-model"]) == (200, SPARE)
        assert other.headers["x-pointsman-reason"].startswith(f"fallback: {SCARCE} was passed over; ")
        assert (len(cloud.chats), len(lan.chats)) == (2, 1)
        refused, answered = gateway.decision(other)["outcome"]["attempts"]
        assert (refused["model"], refused["status"]) == (SCARCE, "refused")
        assert refused["error"].startswith("provider_limit_reached: ")
        assert (answered["model"], answered["status"]) == (SPARE, "ok")

        with (
            openai.OpenAI(base_url=gateway.base_url, api_key="unused", max_retries=0) as client,
            pytest.raises(openai.RateLimitError) as caught,
        ):
            client.chat.completions.create(model="openai:gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
        assert caught.value.code == "provider_limit_reached"
        assert "openai allows" in caught.value.body["message"]
        assert 0 < int(caught.value.response.headers["retry-after"]) <= 30
        health = gateway.ask("GET", "/api/v1/health").json  # a limit of ours is no failure of theirs
        assert health["providers"]["openai"]["connected"], health
        assert len(cloud.chats) == 2


def test_low_priority_leaves_the_last_part_to_high_priority(tmp_path, tree, cloud):
    tree["providers"]["openai"]["requests_per_minute"] = 10
    tree["server"] = {"api_keys": [LOW]}
    tree["limits"] = {**tree["limits"], "default_tier": "free"}
    with running(tmp_path, tree) as gateway:
        asked = [gateway.chat(model=SCARCE, headers={"authorization": f"Bearer {LOW}"}) for _ in range(12)]
    models = [answer.headers["x-pointsman-model"] for answer in asked]
    # Ten fit, three are left behind; a bucket of ten gets one more every six seconds.
    assert models[:7] == [SCARCE] * 7
    assert models.count(SPARE) >= 3


def test_tokens_are_counted_as_they_were_used(tmp_path, tree, cloud, lan):
    tree["providers"]["openai"] |= {"requests_per_minute": 1000, "tokens_per_minute": 2000}
    cloud.script(Answer(usage=Tokens(prompt=1500, completion=480)))
    with running(tmp_path, tree) as gateway:
        first = gateway.chat(model=SCARCE, max_tokens=20)
        assert first.headers["x-pointsman-model"] == SCARCE
        gateway.decision(first)
        # About 20 tokens are left of the minute's, and some 33 come back each second.
        second = gateway.chat("word " * 1500, model=SCARCE, max_tokens=20)
        assert second.headers["x-pointsman-model"] == SPARE


def test_a_model_that_asks_for_patience_is_left_alone(tmp_path, settings, cloud, lan):
    cloud.script(Status(429, retry_after=60))
    with running(tmp_path, {**settings, "routing": {"fallbacks": {SCARCE: [SPARE]}}}) as gateway:
        first, second = gateway.chat(model=SCARCE), gateway.chat(model=SCARCE)
        assert [answer.headers["x-pointsman-model"] for answer in (first, second)] == [SPARE, SPARE]
        assert len(cloud.chats) == 1
        attempts = gateway.decision(second)["outcome"]["attempts"]
        assert [(attempt["model"], attempt["status"]) for attempt in attempts] == [(SCARCE, "refused"), (SPARE, "ok")]
        lan.script(Status(500))  # when nobody else answers, it is asked all the same
        assert gateway.chat(model=SCARCE).headers["x-pointsman-model"] == SCARCE
