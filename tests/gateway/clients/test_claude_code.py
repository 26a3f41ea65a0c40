"""Claude Code in print mode, pointed at the gateway by `ANTHROPIC_BASE_URL`: it reads a file and answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.testing.answers import Answer, HangUp, ToolUse

from . import agent_work
from .environments import SECONDS, node_tool

pytestmark = [pytest.mark.client, pytest.mark.timeout(SECONDS + 120)]


@pytest.fixture(scope="module")
def claude() -> Path:
    return node_tool("claude")


@pytest.mark.shows("claude code", "stream")
@pytest.mark.shows("claude code", "tools")
def test_one_turn_with_a_tool(claude, gateway, run, work, cloud):
    read = ToolUse("Read", {"file_path": str(work / "hello.py")}, id="toolu_01")
    cloud.script(Answer(text=None, tool_calls=(read,)), Answer(text="It greets with hello.", pieces=4))
    done = run(
        claude, "-p", "What does hello.py say?", "--model", "openai:gpt-4o", "--allowedTools", "Read",
        ANTHROPIC_BASE_URL=gateway.url, ANTHROPIC_API_KEY="unused", CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        DISABLE_TELEMETRY="1", DISABLE_AUTOUPDATER="1", DISABLE_ERROR_REPORTING="1",
        ANTHROPIC_SMALL_FAST_MODEL="lan:llama3.1:8b",
    )  # fmt: skip
    assert done.stdout.strip() == "It greets with hello.", done.stdout + done.stderr
    turns = [seen.json for seen in cloud.chats]
    result = turns[-1]["messages"][-1]
    assert (result["role"], result["tool_call_id"]) == ("tool", "toolu_01")
    assert "return" in str(result["content"])


def test_a_stream_that_breaks_is_asked_for_again(claude, gateway, run, work, cloud):
    cloud.script(
        HangUp(after_bytes=900, answer=Answer(text="It greets w" * 50, pieces=20)), Answer(text="It greets with hello.")
    )
    done = run(
        claude, "-p", "What does hello.py say?", "--model", "openai:gpt-4o", "--allowedTools", "Read",
        ANTHROPIC_BASE_URL=gateway.url, ANTHROPIC_API_KEY="unused", CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        DISABLE_TELEMETRY="1", DISABLE_AUTOUPDATER="1", DISABLE_ERROR_REPORTING="1",
        ANTHROPIC_SMALL_FAST_MODEL="lan:llama3.1:8b",
    )  # fmt: skip
    assert done.stdout.strip() == "It greets with hello.", done.stdout + done.stderr
    assert len(cloud.chats) == 2


def test_where_a_piece_of_work_stands(claude, gateway, run, work, cloud):
    (work / "test_hello.py").write_text(agent_work.TEST)
    cloud.script(*agent_work.claude_work(work))
    done = run(
        claude, "-p", agent_work.ASK, "--model", "openai:gpt-4o", "--allowedTools", "Read,Edit,Bash",
        ANTHROPIC_BASE_URL=gateway.url, ANTHROPIC_API_KEY="unused", CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        DISABLE_TELEMETRY="1", DISABLE_AUTOUPDATER="1", DISABLE_ERROR_REPORTING="1", PYTHONDONTWRITEBYTECODE="1",
        ANTHROPIC_SMALL_FAST_MODEL="lan:llama3.1:8b",
    )  # fmt: skip
    assert "good day" in (work / "hello.py").read_text(), done.stdout + done.stderr
    assert agent_work.stages_seen(gateway) == agent_work.STAGES
