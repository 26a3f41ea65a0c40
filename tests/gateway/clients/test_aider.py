"""aider edits a file in a repository, as its users run it: one message, an OpenAI-compatible address, model `auto`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pointsman.testing.answers import Answer

from .environments import SECONDS, python_tool

pytestmark = [pytest.mark.client, pytest.mark.timeout(SECONDS + 120)]

EDIT = """Done.

hello.py
```python
<<<<<<< SEARCH
    return "hello"
=======
    return "good morning"
>>>>>>> REPLACE
```
"""


@pytest.fixture(scope="module")
def aider() -> Path:
    if sys.version_info >= (3, 13):
        pytest.skip("aider declares that it needs a Python before 3.13")
    return python_tool("aider")


@pytest.mark.shows("aider", "stream")
@pytest.mark.shows("aider", "one edit of a file")
def test_one_edit(aider, gateway, run, work, cloud, lan):
    for upstream in (cloud, lan):
        upstream.script(Answer(text=EDIT, pieces=9))
    done = run(
        aider, "--model", "openai/auto", "--edit-format", "diff", "--yes-always", "--no-auto-commits",
        "--no-show-model-warnings", "--no-check-update", "--analytics-disable", "--no-gitignore", "--map-tokens", "0",
        "--message", "Greet in the morning.", "hello.py",
        OPENAI_API_BASE=gateway.base_url, OPENAI_API_KEY="unused",
    )  # fmt: skip
    assert (work / "hello.py").read_text() == 'def greet():\n    return "good morning"\n', done.stdout + done.stderr
    changed = subprocess.run(["git", "diff", "--stat"], cwd=work, capture_output=True, text=True).stdout
    assert "hello.py | 2 +-" in changed
    asked = (*cloud.chats, *lan.chats)[0].json
    assert asked["stream"] is True
    assert "def greet" in str(asked["messages"])
