"""A message of a role and a text is read in one pass: by what it says nobody can tell."""

from __future__ import annotations

import json

import msgspec
import pytest

from pointsman.core.errors import InvalidRequest
from pointsman.pipeline.understand import facts
from pointsman.pipeline.understand.detectors import Detectors
from pointsman.pipeline.understand.facts import MessageFacts, read_message

DETECTORS = Detectors(["gateway"])
TEXTS = (
    "",
    "Why does this fail?",
    'He said "no" and left C:\\temp\\',
    "ends in a backslash \\",
    "line\nfeed\ttab ünïcode 模型 🙂",
    "my key is AKIAQYLPMN5HFIQRT2AB, mind the gateway",
    "mark it with cache_control",
    "data:text/plain;base64,aGVsbG8gd29ybGQ=",
    "Observation: exit code 1",
    "```\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n```",
)


def in_full(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> MessageFacts:
    with monkeypatch.context() as patch:
        patch.setattr(facts, "_usual", lambda raw, detectors: None)
        return read_message(raw, 0, DETECTORS)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_it_says_the_same(text: str, role: str, ascii_only: bool, monkeypatch: pytest.MonkeyPatch):
    for fields in ({"role": role, "content": text}, {"content": text, "role": role}):
        raw = json.dumps(fields, ensure_ascii=ascii_only).encode()
        found = read_message(raw, 0, DETECTORS)
        full = in_full(raw, monkeypatch)
        assert msgspec.structs.replace(found, usual=False) == full
        user = role == "user"
        plain = MessageFacts(role=role, bytes=found.bytes, values=found.values, usual=True, user_turn=user)
        assert not found.usual or found == plain


def test_most_messages_are_usual():
    assert read_message(b'{"role":"user","content":"Why?"}', 0, DETECTORS).usual
    assert not read_message(b'{"role":"user","content":"Why?","name":"ada"}', 0, DETECTORS).usual


@pytest.mark.parametrize(
    "raw",
    [
        b'{"role":"user","content":"a","content":"b"}',
        b'{"role":"user","role":"user","content":"a"}',
        b'{"role":"user","content":"a\\\\","content":"b\\\\"}',
        b'{"role":"user","\\u0063ontent":"a","content":"b"}',
    ],
)
def test_a_key_that_stands_twice_is_refused(raw: bytes):
    with pytest.raises(InvalidRequest, match="stands twice"):
        read_message(raw, 0, DETECTORS)
