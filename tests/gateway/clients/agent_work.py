"""A piece of work that coding agents do here for real: their own tools run in a scratch repository, and only what the
model says is scripted. The requests that reach the upstream are transcripts of the clients as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.running import Gateway
from pointsman.core.signals import Stage
from pointsman.testing.answers import Answer, ToolUse

TEST = """import unittest
from hello import greet

class Greeting(unittest.TestCase):
    def test_greeting(self):
        self.assertEqual(greet(), "good day")
"""
ASK = "The test of hello.py fails. Find out why, mend it, and run the tests."
RUN = "python3 -m unittest -q"

STAGES: tuple[Stage, ...] = ("explore", "explore", "test", "edit", "test", "edit", "test", "stuck", "edit", "done")
"""Where the work stands when each of the requests is made."""


SECOND_ASK = "Add a module goodbye.py with a function part(), and a test for it."
SECOND_STAGES: tuple[Stage, ...] = (
    "explore", "explore", "explore", "explore", "edit", "test", "test", "stuck", "edit", "edit", "done",
)  # fmt: skip
"""Another piece of work, labelled and recorded after the rules were made and not changed for: it measures them."""


def second_codex_work() -> list[Answer]:
    def shell(command: str, number: int) -> Answer:
        return Answer(text=None, tool_calls=(ToolUse("exec_command", {"cmd": command}, id=f"call_{number}"),))

    test = (
        "import unittest, goodbye\\n"
        "class T(unittest.TestCase):\\n    def test(self): self.assertEqual(goodbye.part(), 1)\\n"
    )
    commands = (
        "ls -la && git log --oneline | head -3",
        "cat goodbye.py",
        "grep -rn 'def ' --include=*.py .",
        f"cat > goodbye.py <<'EOF'\ndef part()\n    return 1\nEOF\nprintf '{test}' > test_goodbye.py",
        "python3 -m unittest -q test_goodbye",
        "python3 -m unittest -q test_goodbye",
        "python3 -m unittest -q test_goodbye",
        "sed -i 's/part()$/part():/' goodbye.py",
        "git diff --stat; cat goodbye.py",
        "python3 -m unittest -q test_goodbye",
    )
    return [
        *(shell(command, number) for number, command in enumerate(commands, 1)),
        Answer(text="There is goodbye.py now.", pieces=3),
    ]


def codex_work() -> list[Answer]:
    def shell(command: str, number: int) -> Answer:
        return Answer(text=None, tool_calls=(ToolUse("exec_command", {"cmd": command}, id=f"call_{number}"),))

    return _work(shell, lambda old, new, number: shell(f"sed -i 's/{old}/{new}/' hello.py", number))


def claude_work(folder: Path) -> list[Answer]:
    file = str(folder / "hello.py")

    def shell(command: str, number: int) -> Answer:
        if command.startswith("cat "):
            return Answer(text=None, tool_calls=(ToolUse("Read", {"file_path": file}, id=f"toolu_{number}"),))
        use = ToolUse("Bash", {"command": command, "description": "Run it"}, id=f"toolu_{number}")
        return Answer(text=None, tool_calls=(use,))

    def edit(old: str, new: str, number: int) -> Answer:
        use = ToolUse("Edit", {"file_path": file, "old_string": old, "new_string": new}, id=f"toolu_{number}")
        return Answer(text=None, tool_calls=(use,))

    return _work(shell, edit)


def _work(shell: Any, edit: Any) -> list[Answer]:
    return [
        shell("cat hello.py", 1),
        shell(RUN, 2),
        edit("hello", "hi", 3),
        shell(RUN, 4),
        edit("hi", "hey", 5),
        shell(RUN, 6),
        shell(RUN, 7),
        edit("hey", "good day", 8),
        shell(RUN, 9),
        Answer(text="The greeting was another one; now the test passes.", pieces=3),
    ]


def stages_seen(gateway: Gateway) -> tuple[Stage, ...]:
    """The stages of the last requests, the first first."""
    latest = gateway.ask("GET", f"/api/v1/decisions?limit={len(STAGES)}").json["data"]
    records = [gateway.record(entry["id"]) for entry in reversed(latest)]
    return tuple(record["signals"]["conversation"]["stage"] for record in records)


def transcript(messages: Sequence[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """The messages of a request without the client's own instructions, which are its makers', and without paths of the
    machine."""
    kept = []
    for message in messages:
        if message["role"] in ("system", "developer"):
            continue
        told = {key: message[key] for key in ("role", "content", "tool_calls", "tool_call_id") if message.get(key)}
        if message["role"] == "user":
            told["content"] = ASK
            if kept and kept[-1] == told:
                continue
        kept.append(told)
    return kept
