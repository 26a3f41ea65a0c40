"""Turns, tool results, failures: what the shape of a conversation says."""

from __future__ import annotations

import pytest

from .understanding import assistant, tool, understand, user

CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "function": {"name": "run", "arguments": "{}"}}],
}


def test_a_single_turn():
    found = understand("hello").conversation
    assert (found.turn, found.messages, found.tool_results, found.awaiting_tool_result) == (1, 1, 0, False)


def test_turns_count_the_user_alone():
    found = understand(
        {"role": "system", "content": "be kind"}, "a", assistant("b"), "c", CALL, tool("d"), assistant("e"), "f"
    )
    assert (found.conversation.turn, found.conversation.messages) == (3, 8)


def test_in_the_middle_of_work():
    found = understand("do it all", CALL, tool("done")).conversation
    assert found.awaiting_tool_result
    assert (found.tool_results, found.tool_errors, found.repeated_failures) == (1, 0, 0)


def test_failures_in_a_row_are_counted_from_the_last():
    found = understand(
        "go", CALL, tool("exit code: 1"), CALL, tool("fine"), CALL, tool("exit code 2"), CALL, tool("Error: x")
    )
    assert (found.conversation.tool_results, found.conversation.tool_errors) == (4, 3)
    assert found.conversation.repeated_failures == 2
    assert understand("go", CALL, tool("Error: x"), CALL, tool("fine")).conversation.repeated_failures == 0


@pytest.mark.parametrize(
    "text",
    [
        "Traceback (most recent call last):\n  File x",
        "Command failed.\nExit code: 127",
        "exited with code 1",
        '{"exit_code": 2, "output": ""}',
        '{"is_error": true, "content": "x"}',
        "error: cannot find module",
        "src/main.rs:3:5: error: expected `;`",
        "ValueError: bad",
        "panic: oh no",
        "npm ERR! code ELIFECYCLE",
        "===== 3 failed, 12 passed in 1.2s =====",
        "Tests: 1 failed, 4 passed",
        "FAILED tests/test_x.py::test_y",
        "--- FAIL: TestX (0.00s)",
        "bash: foo: command not found",
        "cat: x: No such file or directory",
        "Found 2 errors in 1 file",
        "<tool_use_error>String to replace not found</tool_use_error>",
        "line\n" * 5000 + "Exit code: 1",
    ],
)
def test_what_tells_of_a_failure(text: str):
    assert understand("go", CALL, tool(text)).conversation.tool_errors == 1


@pytest.mark.parametrize(
    "text",
    [
        "exit code: 0",
        '{"exit_code": 0}',
        "12 passed, 0 failed",
        "0 errors, 0 warnings",
        "Success: no issues found in 12 source files",
        '{"is_error": false}',
        "def handle_error(error): ...",
        "All checks passed!",
        "src/errors.py\nsrc/main.py",
        "HTTP/1.1 200 OK",
        "",
    ],
)
def test_what_does_not(text: str):
    assert understand("go", CALL, tool(text)).conversation.tool_errors == 0


def test_results_that_agents_write_as_user_messages():
    found = understand(
        "build it", assistant("ok"), user("[execute_command for 'make'] Result:\nExit code: 2\n")
    ).conversation
    assert (found.turn, found.tool_results, found.tool_errors, found.awaiting_tool_result) == (1, 1, 1, True)
