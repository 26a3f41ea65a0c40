"""The `llm` command, with a file of OpenAI-compatible models that names the gateway."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pointsman.testing.answers import Answer, Status, ToolUse

from .environments import SECONDS, python_tool

pytestmark = [pytest.mark.client, pytest.mark.timeout(SECONDS + 60)]


@pytest.fixture(scope="module")
def llm() -> Path:
    return python_tool("llm")


@pytest.fixture
def folder(gateway, tmp_path: Path) -> Path:
    folder = tmp_path / "llm"
    folder.mkdir()
    models = [
        {"model_id": "pointsman", "model_name": "auto", "api_base": gateway.base_url, "supports_tools": True},
        {"model_id": "gpt", "model_name": "openai:gpt-4o", "api_base": gateway.base_url, "supports_schema": True},
    ]
    (folder / "extra-openai-models.yaml").write_text(yaml.safe_dump(models))
    (folder / "keys.json").write_text('{"openai": "unused"}')
    return folder


@pytest.mark.shows("llm", "stream")
def test_a_prompt(llm, folder, run, lan):
    lan.script(Answer(text="Hello from the yard.", pieces=3))
    done = run(llm, "-m", "pointsman", "Say hello", LLM_USER_PATH=str(folder))
    assert done.stdout.strip() == "Hello from the yard.", done.stderr
    assert lan.chats[0].json["stream"] is True


@pytest.mark.shows("llm", "text")
def test_without_streaming(llm, folder, run, lan):
    lan.script(Answer(text="Whole."))
    done = run(llm, "--no-stream", "-m", "pointsman", "Say hello", LLM_USER_PATH=str(folder))
    assert done.stdout.strip() == "Whole.", done.stderr


@pytest.mark.shows("llm", "tools")
def test_a_tool(llm, folder, run, lan):
    lan.script(Answer(text=None, tool_calls=(ToolUse("llm_version"),)), Answer(text="It is recent."))
    done = run(llm, "-m", "pointsman", "-T", "llm_version", "Which version?", LLM_USER_PATH=str(folder))
    assert done.stdout.strip().endswith("It is recent."), done.stderr
    assert lan.chats[1].json["messages"][-1]["role"] == "tool"


@pytest.mark.shows("llm", "structured output")
def test_a_schema(llm, folder, run, cloud):
    cloud.script(Answer(text='{"name": "Rex"}'))
    done = run(llm, "-m", "gpt", "--schema", "name: a dog's name", "Name a dog", LLM_USER_PATH=str(folder))
    assert '"Rex"' in done.stdout, done.stderr
    assert cloud.chats[0].json["response_format"]["type"] == "json_schema"


@pytest.mark.shows("llm", "errors")
def test_an_error_is_told(llm, folder, run, lan):
    lan.script(*[Status(400)] * 3)
    done = run(llm, "-m", "pointsman", "Say hello", LLM_USER_PATH=str(folder))
    assert done.returncode != 0
    assert "scripted 400" in done.stderr
