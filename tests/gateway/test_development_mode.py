"""Development mode: local models answer, the cloud answers what asks for it, up to a day's quota."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pointsman.testing.answers import Answer, Tokens

from .running import Gateway, running

HARD = (
    "Design a lock-free concurrent hash map with linearizable resizing, prove its progress guarantee under a weak"
    " memory model, compare hazard pointers with epoch-based reclamation, and justify the worst-case complexity."
)


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def developing(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    development = {"enabled": True, "allow": [r"#cloud\b", r"production"], "cloud_requests_per_day": 5}
    tree = {**settings, "routing": {"development": development}}
    with running(tmp_path_factory.mktemp("developing") / "gateway", tree) as gateway:
        yield gateway


def test_requests_stay_with_local_models(developing, lan):
    lan.script(Answer(text="here"))
    record = developing.decision(developing.chat(HARD))
    assert record["model"].startswith("lan:")
    assert {drop["constraint"] for drop in record["dropped"]} == {"development"}


def test_a_named_model_of_the_cloud_is_refused_with_the_mend(developing):
    refused = developing.chat("hi", model="openai:gpt-4o")
    assert refused.status == 403
    assert refused.json["error"]["code"] == "development_mode"
    assert "routing.development.allow" in refused.json["error"]["message"]


def test_what_asks_for_the_cloud_gets_it_up_to_the_days_quota(developing, cloud, lan):
    cloud.script(*[Answer(text="far", usage=Tokens(prompt=50, completion=5))] * 20)
    lan.script(*[Answer(text="here")] * 20)

    def ask(number: int) -> str:
        return developing.chat(f"{HARD} #cloud {number}").headers["x-pointsman-model"].partition(":")[0]

    with ThreadPoolExecutor(8) as pool:
        answered = list(pool.map(ask, range(12)))
    assert answered.count("openai") == 5  # exactly, however many ask at once
    assert answered.count("lan") == 7
    named = developing.chat("for production", model="openai:gpt-4o")
    assert named.status == 429
    assert "midnight" in named.json["error"]["message"]


def test_the_environment_turns_it_on_and_bounds_its_tokens(settings, cloud, lan, tmp_path):
    cloud.script(*[Answer(text="far", usage=Tokens(prompt=4_000, completion=900))] * 4)
    lan.script(*[Answer(text="here")] * 4)
    tree = {**settings, "routing": {"development": {"allow": ["#cloud"]}}}
    env = {"FORCE_DEV_MODE": "true", "DEV_MODE_TOKEN_LIMIT": "5000"}
    with running(tmp_path / "gateway", tree, env=env) as gateway:
        assert gateway.decision(gateway.chat(HARD))["model"].startswith("lan:")
        assert gateway.decision(gateway.chat(f"{HARD} #cloud"))["outcome"]["model"].startswith("openai:")
        # what it really took is charged, which was more than expected
        assert gateway.decision(gateway.chat(f"{HARD} #cloud again"))["outcome"]["model"].startswith("lan:")


def test_a_pattern_that_is_none_is_told_at_the_start(settings, tmp_path):
    tree = {**settings, "routing": {"development": {"enabled": True, "allow": ["("]}}}
    with pytest.raises(AssertionError, match="regular expression"), running(tmp_path / "gateway", tree):
        pass
