"""A conversation stays with its model, through a real gateway."""

from __future__ import annotations

from typing import Any

import pytest

from pointsman.testing.answers import Answer, Status

from .running import running


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


def turns(*contents: str) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(contents)]


def test_turns_share_a_conversation_and_its_model(gateway, cloud, lan):
    for upstream in (cloud, lan):
        upstream.script(*[Answer(text="b")] * 2)
    first = gateway.decision(gateway.chat(messages=turns("Tell me of the sea")))
    second = gateway.decision(gateway.chat(messages=turns("Tell me of the sea", "b", "And of its tides")))
    other = gateway.chat(messages=turns("Something else"))
    assert first["conversation"] == second["conversation"] != ""
    assert gateway.decision(other)["conversation"] != first["conversation"]
    assert first["model"] == second["model"]


def test_after_a_failure_the_conversation_goes_on_with_who_answered(settings, cloud, lan, tmp_path):
    begun = turns("Tell me of the hills")
    with running(tmp_path / "gateway", settings) as gateway:
        lan.script(Answer(text="ok"))
        cloud.script(Answer(text="ok"))
        usual = gateway.decision(gateway.chat(messages=turns("Tell me of the woods")))["model"]
        server, other = (lan, cloud) if usual.startswith("lan:") else (cloud, lan)
        server.reset()
        other.reset()
        server.script(Status(500), Status(500), Answer(text="c"))
        other.script(*[Answer(text="b")] * 4)
        first = gateway.decision(gateway.chat(messages=begun))
        assert first["outcome"]["model"] != first["model"] == usual
        second = gateway.decision(gateway.chat(messages=[*begun, *turns("x", "b")[1:], *turns("And of the dales")]))
        used = {one["model"]: one for one in second["candidates"]}
        assert used[first["outcome"]["model"]]["switching_cost"] == 0.0
        assert used[usual]["switching_cost"] > 0.0


def test_effort_reaches_the_model_that_it_was_chosen_for(settings, cloud, tmp_path):
    upstream = {"base_url": cloud.base_url, "api_key": "k", "models": ["gpt-5-mini"]}
    tree = {
        **settings,
        "providers": {"openai": upstream, "ollama": {"enabled": False}},
        "routing": {"choose_effort": True},
    }
    cloud.script(*[Answer(text="ok")] * 2)
    with running(tmp_path / "gateway", tree) as gateway:
        decision = gateway.decision(gateway.chat("hi there"))
        assert decision["effort"] == "low"
        assert cloud.chats[-1].json["reasoning_effort"] == "low"
        named = gateway.decision(gateway.chat("hi there", reasoning_effort="medium"))
        assert named["effort"] is None
        assert cloud.chats[-1].json["reasoning_effort"] == "medium"
