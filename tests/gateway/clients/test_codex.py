"""The Codex CLI, with the gateway as a model provider of its config: it runs a command and answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.running import running
from pointsman.testing.answers import Answer, HangUp, ToolUse

from . import agent_work
from .environments import SECONDS, node_tool

pytestmark = [pytest.mark.client, pytest.mark.timeout(SECONDS + 120)]

CONFIG = """
model = "{model}"
model_provider = "pointsman"

[model_providers.pointsman]
name = "Pointsman"
base_url = "{base_url}"
wire_api = "responses"
"""


@pytest.fixture(scope="module")
def codex() -> Path:
    return node_tool("codex")


@pytest.mark.shows("codex", "stream")
@pytest.mark.shows("codex", "tools")
def test_one_turn_with_a_tool(codex, gateway, run, tmp_path, cloud):
    home = tmp_path / "codex"
    home.mkdir()
    (home / "config.toml").write_text(CONFIG.format(base_url=gateway.base_url, model="openai:gpt-4o"))
    look = ToolUse("exec_command", {"cmd": "cat hello.py"}, id="call_look")
    cloud.script(Answer(text=None, tool_calls=(look,)), Answer(text="It greets with hello.", pieces=4))
    done = run(
        codex, "exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox",
        "What does hello.py say?", CODEX_HOME=str(home),
    )  # fmt: skip
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    said = [event["item"]["text"] for event in events if event.get("item", {}).get("type") == "agent_message"]
    assert said == ["It greets with hello."], done.stdout + done.stderr
    result = cloud.chats[-1].json["messages"][-1]
    assert (result["role"], result["tool_call_id"]) == ("tool", "call_look")
    assert "return" in str(result["content"])


PATCH = """*** Begin Patch
*** Update File: hello.py
@@
 def greet():
-    return "hello"
+    return "hallo"
*** End Patch
"""


@pytest.mark.shows("codex", "thinking")
@pytest.mark.parametrize(("responses", "path"), [(True, "/v1/responses"), (False, "/v1/chat/completions")])
def test_a_patch(codex, settings, run, tmp_path, work, cloud, responses, path):
    """For a model whose name Codex knows it has a tool of its own: one that takes free text."""
    home = tmp_path / "codex"
    home.mkdir()
    upstream = {"base_url": cloud.base_url, "responses": responses, "models": ["gpt-5.5"]}
    call = ToolUse("apply_patch", {"input": PATCH}, id="call_patch")
    cloud.script(Answer(text="", reasoning="hm", tool_calls=(call,)), Answer(text="Now it says hallo.", pieces=4))
    with running(tmp_path / "gateway", {**settings, "providers": {"some": upstream}}) as gateway:
        (home / "config.toml").write_text(CONFIG.format(base_url=gateway.base_url, model="gpt-5.5"))
        done = run(
            codex, "exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox",
            "Make hello.py speak German.", CODEX_HOME=str(home),
        )  # fmt: skip
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    said = [event["item"]["text"] for event in events if event.get("item", {}).get("type") == "agent_message"]
    assert said == ["Now it says hallo."], done.stdout + done.stderr
    assert "hallo" in (work / "hello.py").read_text()
    assert [chat.path for chat in cloud.chats] == [path, path]
    if responses:
        thought = next(item for item in cloud.chats[-1].json["input"] if item["type"] == "reasoning")
        assert thought["encrypted_content"].startswith("gAAAAA")


def test_a_stream_that_breaks_is_asked_for_again(codex, gateway, run, tmp_path, cloud):
    home = tmp_path / "codex"
    home.mkdir()
    (home / "config.toml").write_text(CONFIG.format(base_url=gateway.base_url, model="openai:gpt-4o"))
    cloud.script(
        HangUp(after_bytes=900, answer=Answer(text="It greets w" * 50, pieces=20)), Answer(text="It greets with hello.")
    )
    done = run(
        codex, "exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox",
        "What does hello.py say?", CODEX_HOME=str(home),
    )  # fmt: skip
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert "turn.completed" in {event["type"] for event in events}, done.stdout + done.stderr
    said = [event["item"]["text"] for event in events if event.get("item", {}).get("type") == "agent_message"]
    assert said[-1] == "It greets with hello."
    assert len(cloud.chats) == 2


def test_where_a_piece_of_work_stands(codex, gateway, run, tmp_path, work, cloud):
    home = tmp_path / "codex"
    home.mkdir()
    (home / "config.toml").write_text(CONFIG.format(base_url=gateway.base_url, model="openai:gpt-4o"))
    (work / "test_hello.py").write_text(agent_work.TEST)
    cloud.script(*agent_work.codex_work())
    done = run(
        codex, "exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox",
        agent_work.ASK, CODEX_HOME=str(home), PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip
    assert "good day" in (work / "hello.py").read_text(), done.stdout + done.stderr
    assert agent_work.stages_seen(gateway) == agent_work.STAGES
