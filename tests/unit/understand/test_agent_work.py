"""Where an agent's work stands, on transcripts of real clients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.clients.agent_work import SECOND_STAGES, STAGES
from pointsman.core.signals import Conversation
from pointsman.pipeline.understand.actions import action_of, writes_edits
from pointsman.pipeline.understand.tool_results import BROKEN, FAILING, MISSED, checks_in, severity

from .understanding import assistant, tool, understand

TRANSCRIPTS = Path(__file__).parents[2] / "data" / "transcripts"
TOOLS = [{"type": "function", "function": {"name": "shell"}}]


def along(name: str, **fields: Any) -> list[Conversation]:
    """What is seen at each request of a transcript."""
    messages = json.loads((TRANSCRIPTS / f"{name}.json").read_text())
    followers = [*(message["role"] for message in messages[1:]), "assistant"]
    ends = [
        place
        for place, (message, follower) in enumerate(zip(messages, followers, strict=True))
        if message["role"] != "assistant" and follower == "assistant"
    ]
    return [understand(*messages[: end + 1], **fields).conversation for end in ends]


@pytest.mark.parametrize(
    ("name", "stages"), [("codex", STAGES), ("claude_code", STAGES), ("codex_second", SECOND_STAGES)]
)
def test_the_stages_of_a_piece_of_work(name, stages):
    assert tuple(seen.stage for seen in along(name, tools=TOOLS)) == stages


def test_an_agent_without_tools_tells_of_its_checks_in_the_users_name():
    last = along("aider")[-1]
    assert (last.stage, last.tests_passed, last.awaiting_tool_result) == ("stuck", False, True)
    assert last.turn == 4  # three of them are the example in its prompt


def test_spinning_grows_with_repeats_and_numbers_do_not_hide_them():
    def run(command: str, result: str) -> list[dict[str, Any]]:
        call = {
            "id": "c1",
            "type": "function",
            "function": {"name": "bash", "arguments": json.dumps({"command": command})},
        }
        return [{"role": "assistant", "content": None, "tool_calls": [call]}, tool(result)]

    steps = [step for seconds in (1, 2, 3, 4) for step in run("ls src", f"a.py\nb.py\n(took 0.{seconds} s)")]
    seen = [understand("go", *steps[: 2 * count], tools=TOOLS).conversation for count in (1, 2, 3, 4)]
    shares = [found.spinning for found in seen]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == 0.75
    assert seen[-1].stage == "stuck"
    other = run("ls src", "a.py") + run("ls src", "a.py b.py") + run("ls docs", "c.md")
    assert understand("go", *other, tools=TOOLS).conversation.spinning == 0.0


def test_a_new_turn_begins_anew():
    call = {"id": "c1", "type": "function", "function": {"name": "edit_file", "arguments": "{}"}}
    work = [{"role": "assistant", "content": None, "tool_calls": [call]}, tool("written")]
    assert understand("go", *work, tools=TOOLS).conversation.stage == "edit"
    assert understand("go", *work, assistant("done"), "now the docs", tools=TOOLS).conversation.stage == "explore"
    assert understand("hello").conversation.stage == "chat"


@pytest.mark.parametrize(
    ("name", "arguments", "action"),
    [
        ("Bash", {"command": "cd x && python -m pytest -q 2>&1 | tail"}, "test"),
        ("exec_command", {"cmd": "ls -la"}, "explore"),
        ("shell", {"command": ["bash", "-lc", "sed -i s/a/b/ f.py"]}, "edit"),
        ("execute_command", {"command": "echo hi > f.txt"}, "edit"),
        ("Bash", {"command": "git diff 2>/dev/null"}, "explore"),
        ("Bash", {"command": "python main.py"}, "run"),
        ("str_replace_based_edit_tool", {"command": "view", "path": "x"}, "explore"),
        ("str_replace_based_edit_tool", {"command": "str_replace", "path": "x"}, "edit"),
        ("search_files", {}, "explore"),
        ("read_file", {"path": "pytest.ini"}, "explore"),
        ("TodoWrite", {"todos": []}, "other"),
        ("run_tests", {}, "test"),
        ("apply_patch", {"input": "*** Begin Patch"}, "edit"),
        ("attempt_completion", {}, "other"),
        ("", {}, "other"),
    ],
)
def test_what_a_tool_call_does(name, arguments, action):
    assert action_of(name, json.dumps(arguments)) == action


@pytest.mark.parametrize(
    ("text", "how_bad"),
    [
        ("12 passed in 0.3s", 0.0),
        ("def handle_error(error): ...", 0.0),
        ("cat: x: No such file or directory", MISSED),
        ("<tool_use_error>String to replace not found</tool_use_error>", MISSED),
        ("===== 3 failed, 12 passed in 1.2s =====", FAILING),
        ("src/main.rs:3:5: error: expected `;`", FAILING),
        ("Segmentation fault (core dumped)", BROKEN),
        ("exit code: 137", BROKEN),
        ("bash: foo: command not found", BROKEN),
    ],
)
def test_how_bad_a_failure_is(text, how_bad):
    assert severity(text) == how_bad


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("Ran 1 test in 0.000s\n\nOK", True),
        ("FAILED (failures=1)", False),
        ("test result: ok. 3 passed; 0 failed", True),
        ("ok  \tgithub.com/x/y\t0.01s", True),
        ("--- FAIL: TestX (0.00s)", False),
        ("Tests: 1 failed, 4 passed, 5 total", False),
        ("a.py\nb.py", None),
    ],
)
def test_what_is_said_of_tests(text, passed):
    assert checks_in(text) is passed


def test_edits_written_as_text():
    assert writes_edits("a.py\n<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE")
    assert not writes_edits("SEARCH for it in the docs")


def worked(name: str, arguments: dict[str, Any], result: str) -> list[dict[str, Any]]:
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    return [{"role": "assistant", "content": None, "tool_calls": [call]}, tool(result)]


def test_tests_that_pass_unstick_an_agent_and_so_does_a_new_word_of_the_user():
    failed = "FAILED tests/test_app.py::test_f - AssertionError\n1 failed in 0.1s"
    messages: list[Any] = ["Fix the failing test in tests/test_app.py"]
    for number in range(6):
        messages += worked("edit_file", {"path": "app.py", "text": str(number)}, "ok edited")
        messages += worked("bash", {"command": "pytest -q"}, failed)
    assert understand(*messages, tools=TOOLS).conversation.stage == "stuck"
    answered = [*messages, assistant("I give up."), "Look at line 5 again."]
    assert understand(*answered, tools=TOOLS).conversation.stage == "explore"

    messages += worked("edit_file", {"path": "app.py", "text": "right"}, "ok edited")
    for seconds in (1, 2, 3, 4):  # looked at once more, and again
        messages += worked("bash", {"command": "pytest -q"}, f"5 passed in 0.{seconds}s")
        assert understand(*messages, tools=TOOLS).conversation.stage == "done"
    now = understand(*messages, assistant("All done."), "Now write a README.", tools=TOOLS).conversation
    assert (now.stage, now.spinning) == ("explore", 0.0)
