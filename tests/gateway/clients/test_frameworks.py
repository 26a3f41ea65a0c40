"""What agents are written with: OpenAI's Agents SDK and LangChain, each in front of chat and of Responses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pointsman.testing.answers import Answer, Status, ToolUse

from .environments import SECONDS, python_of

pytestmark = [pytest.mark.client, pytest.mark.timeout(SECONDS + 120)]

PROGRAMS = Path(__file__).with_name("programs")
CITY = '{"name": "Riga", "population": 605802}'
CHAT, RESPONSES = "openai:gpt-4o", "responses:gpt-5.5"


@pytest.fixture(scope="module")
def settings(settings, cloud_server):
    speaks = {"base_url": cloud_server.base_url, "api_key": "sk-planted", "models": ["gpt-5.5"], "responses": True}
    return {**settings, "providers": {**settings["providers"], "responses": speaks}}


@pytest.fixture(scope="module")
def python() -> Path:
    return python_of("frameworks")


def call(name: str = "weather", **arguments: str) -> Answer:
    return Answer(text="", reasoning="hm", tool_calls=(ToolUse(name, arguments, id=f"call_{name}"),))


@pytest.mark.shows("agents sdk", "text")
@pytest.mark.shows("agents sdk", "stream")
@pytest.mark.shows("agents sdk", "tools")
@pytest.mark.shows("agents sdk", "structured output")
@pytest.mark.shows("agents sdk", "errors")
@pytest.mark.parametrize(("dialect", "model"), [("responses", CHAT), ("responses", RESPONSES), ("chat", CHAT)])
def test_the_agents_sdk(python, gateway, run, cloud, model, dialect):
    rain = call(city="Riga")
    cloud.script(
        *(rain, Answer(text="It rains."), Answer(text="Still.")),
        *(call("transfer_to_reporter"), rain, Answer(text="It rains.")),
        *(rain, Answer(text="It rains.", pieces=4)),
        *(Answer(text=CITY), Status(400)),
    )
    done = run(python, PROGRAMS / "agents_sdk.py", gateway.base_url, model, dialect)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["session"] == ["It rains.", "Still."]
    assert told["handoff"] == ["Reporter", "It rains."]
    kinds, said = told["stream"]
    assert said == "It rains."
    assert [kind for kind in kinds if kind != "reasoning_item"] == [
        *("tool_call_item", "tool_call_output_item", "message_output_item")
    ]
    assert told["structured"] == json.loads(CITY)
    assert told["error"][0] == "BadRequestError"
    assert "scripted 400" in told["error"][1]
    third = json.dumps(cloud.chats[2].json)
    assert "Rain in Riga." in third
    assert "It rains." in third


@pytest.mark.shows("langchain", "text")
@pytest.mark.shows("langchain", "stream")
@pytest.mark.shows("langchain", "tools")
@pytest.mark.shows("langchain", "structured output")
@pytest.mark.shows("langchain", "usage in a stream")
@pytest.mark.shows("langchain", "errors")
@pytest.mark.parametrize(("dialect", "model"), [("chat", CHAT), ("responses", RESPONSES), ("messages", CHAT)])
def test_langchain(python, gateway, run, cloud, model, dialect):
    rain, said = call(city="Riga"), Answer(text="It rains.", pieces=4)
    cloud.script(rain, said, rain, said, Answer(text=CITY), Status(400))
    done = run(python, PROGRAMS / "langchain_chat.py", gateway.url, model, dialect)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["tools"] == told["stream"] == ["It rains.", 15]
    assert told["structured"] == json.loads(CITY)
    assert "scripted 400" in told["error"]
