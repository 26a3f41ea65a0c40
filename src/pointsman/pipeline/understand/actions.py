"""What an agent does with its tools: look around, change files, run tests, or something else.

Told by the name of the tool, and for a shell by the command that it runs. Agents name their tools as they like, so the
words in a name count: `read_file`, `Grep`, `str_replace_based_edit_tool`.
"""

from __future__ import annotations

import re
from typing import Literal

from .tables import any_of, table

Action = Literal["explore", "edit", "test", "run", "other"]

LOOKED_AT = 2_000
"""Characters of a call's arguments: the command and the file's name come before what is written into it."""

_WORDS = re.compile(r"[a-z]+|[A-Z][a-z]*|[A-Z]+(?![a-z])")
_EDIT, _EXPLORE = frozenset(table("actions")["edit"]), frozenset(table("actions")["explore"])
_SHELL, _TEST = frozenset(table("actions")["shell"]), frozenset(table("actions")["test"])

_PLAN = frozenset(table("actions")["plan"])
_VIEWS = re.compile(r'"command": ?"view"')

_COMMAND = r"(?i:(?:^|[\s\"'/;&|(:])(?:{})\b)"
_RUNS_TESTS = any_of("actions", "runs_tests", _COMMAND)
_CHANGES_FILES = any_of("actions", "changes_files", _COMMAND)
_WRITES_FILES = any_of("actions", "writes_files")
_LOOKS = any_of("actions", "looks", _COMMAND)
_WRITTEN_EDIT = re.compile(r"^(?:<{5,9} SEARCH|\*\*\* Begin Patch|--- a/\S+\n\+\+\+ b/)", re.MULTILINE)


def action_of(name: str, arguments: str) -> Action:
    """What a tool call does."""
    words = {word.lower() for word in _WORDS.findall(name)}
    if words & _PLAN:
        return "other"
    if _VIEWS.search(arguments[:LOOKED_AT]):  # one tool that looks and edits, as its `command` says
        return "explore"
    if words & _SHELL or not words & (_EDIT | _EXPLORE | _TEST):
        told = _of_command(arguments[:LOOKED_AT])
        if told is not None:
            return told
    if words & _TEST:
        return "test"
    if words & _SHELL:
        return "run"
    if words & _EDIT:
        return "edit"
    return "explore" if words & _EXPLORE else "other"


def _of_command(arguments: str) -> Action | None:
    """What a shell's command does; the telling part of a chain counts: `cd x && pytest | tail` runs tests."""
    text = arguments.encode("utf-8", "replace")
    if _RUNS_TESTS.search(text):
        return "test"
    if _CHANGES_FILES.search(text) or _WRITES_FILES.search(text):
        return "edit"
    return "explore" if _LOOKS.search(text) else None


def writes_edits(text: str) -> bool:
    """Whether an assistant's text holds edits in a form that agents without tools apply: search-and-replace blocks,
    patches."""
    if "SEARCH" not in text and "*** Begin Patch" not in text and "+++ b/" not in text:
        return False
    return _WRITTEN_EDIT.search(text) is not None
