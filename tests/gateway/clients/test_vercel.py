"""The Vercel AI SDK, by each of its providers that can be pointed here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pointsman.testing.answers import Answer, Status, ToolUse

from .environments import SECONDS, node_modules

pytestmark = [pytest.mark.client, pytest.mark.timeout(SECONDS + 120)]

PROGRAM = Path(__file__).with_name("programs") / "vercel.cjs"
CITY = '{"name": "Riga", "population": 605802}'
CHAT, RESPONSES = "openai:gpt-4o", "responses:gpt-5.5"


@pytest.fixture(scope="module")
def settings(settings, cloud_server):
    speaks = {"base_url": cloud_server.base_url, "api_key": "sk-planted", "models": ["gpt-5.5"], "responses": True}
    return {**settings, "providers": {**settings["providers"], "responses": speaks}}


@pytest.mark.shows("vercel", "text")
@pytest.mark.shows("vercel", "stream")
@pytest.mark.shows("vercel", "tools")
@pytest.mark.shows("vercel", "structured output")
@pytest.mark.shows("vercel", "usage in a stream")
@pytest.mark.shows("vercel", "errors")
@pytest.mark.parametrize(
    ("dialect", "model"),
    [("responses", RESPONSES), ("responses", CHAT), ("chat", RESPONSES), ("compatible", CHAT), ("anthropic", CHAT)],
)
def test_turns_with_a_tool(gateway, run, cloud, dialect, model):
    """By default its OpenAI provider refers to earlier items instead of sending them."""
    call = ToolUse("weather", {"city": "Riga"}, id="call_rain")
    turn = (
        Answer(id="one", text="I look.", reasoning="hm", tool_calls=(call,)),
        Answer(id="two", text="It rains.", pieces=4),
    )
    cloud.script(*turn, Answer(text="Still."), *turn, Answer(text=CITY), Status(400))
    done = run("node", PROGRAM, gateway.url, model, dialect, NODE_PATH=str(node_modules()))
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["turns"] == ["It rains.", "Still."]
    text, tokens, kinds = told["stream"]
    assert (text, tokens) == ("It rains.", 30)
    assert {"tool-call", "tool-result", "text-delta", "finish"} <= set(kinds)
    assert told["structured"] == json.loads(CITY)
    assert "scripted 400" in told["error"]
    third = json.dumps(cloud.chats[2].json)
    for heard in ("How is it in Riga?", "I look.", "Rain in Riga.", "It rains.", "And?"):
        assert heard in third
