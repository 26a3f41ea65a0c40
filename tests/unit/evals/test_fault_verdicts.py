"""The fault bench sees what must never happen: each defect, made by hand, is found and called by its name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

from pointsman.evals.faults import run as runner
from pointsman.evals.faults.dialects import DIALECTS
from pointsman.evals.faults.good import caught
from pointsman.evals.faults.readers import Malformed
from pointsman.evals.faults.run import Result
from pointsman.evals.faults.scenarios import SCENARIOS
from pointsman.evals.faults.traffic import Ask, Seen
from pointsman.evals.faults.verdicts import Behind, judge
from pointsman.surfaces.cli.bench import bench
from pointsman.testing import Answer, SeenRequest, ToolUse

WIRES = {
    "chat": ("/v1/chat/completions", {}),
    "completions": ("/v1/completions", {}),
    "responses": ("/v1/responses", {"input": "x"}),
    "messages": ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}),
    "ollama chat": ("/api/chat", {}),
    "ollama generate": ("/api/generate", {}),
    "native": ("/v1/chat/completions", {}),
}
"""Dialect → where a scripted upstream gives an answer in it, and what it wants to be asked."""
OK = {"outcome": {"status": "ok", "attempts": [{"model": "a:b", "status": "ok"}]}}
FAILED = {"outcome": {"status": "error", "attempts": [{"model": "a:b", "status": "error"}]}}


def asking(dialect: str = "chat", *, stream: bool = True, tools: bool = False) -> Ask:
    return Ask(
        number=412, dialect=DIALECTS[dialect], model="a:b", fault="none", fates=("none",), places=(0.5,),
        stream=stream, tools=tools, relays=False,
    )  # fmt: skip


async def answered(ask: Ask, answer: Answer) -> Seen:
    """The answer of a scripted upstream as if a gateway had passed it on."""
    path, fields = WIRES[ask.dialect.name]
    body = {"model": "m", "stream": ask.stream, **fields}
    headers = {"anthropic-version": "2023-06-01", "x-api-key": "k"}
    good = await caught(answer, SeenRequest("POST", path, headers, json.dumps(body).encode()))
    told = {"content-type": good.headers["content-type"], "x-pointsman-decision": "dec_1"}
    return Seen(status=good.status, headers=told, body=bytearray(b"".join(good.blocks)), whole=True)


def right(ask: Ask) -> Answer:
    calls = [ToolUse("note", ask.call)] if ask.call is not None else []
    return Answer(text=ask.text, tool_calls=calls, pieces=6)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_right_answer_has_no_defect(dialect: str, stream: bool):
    for tools in {False, DIALECTS[dialect].tools}:
        ask = asking(dialect, stream=stream, tools=tools)
        seen = await answered(ask, right(ask))
        assert not judge(ask, seen, Behind(record=OK)).defects
        assert judge(ask, seen, Behind(record=OK)).end == "whole"
        assert judge(ask, seen, Behind(record=OK, continued=1)).end == "continued"


def words(ask: Ask, *places: int) -> str:
    return " ".join(ask.text.split(" ")[place] for place in places)


WRONG = {
    "lost": (lambda ask: words(ask, *range(40)), lambda ask: words(ask, *range(10), *range(12, 48))),
    "duplicated": (lambda ask: words(ask, *range(9), *range(8, 48)), lambda ask: f"{ask.text} {ask.text}"),
    "corrupted": (
        lambda ask: ask.text.replace("412.7", "413.7"),
        lambda ask: ask.text.replace("412.4é", "412.4e"),
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_wrong_text_is_called_what_it_is(dialect: str, stream: bool):
    ask = asking(dialect, stream=stream)
    for defect, changes in WRONG.items():
        for change in changes:
            text = change(ask)
            seen = await answered(ask, Answer(text=text, pieces=6))
            found = judge(ask, seen, Behind(record=OK))
            assert set(found.defects) == {defect}, (text, found.defects)
            assert found.end == "wrong"
            assert not judge(ask, seen, Behind(record=OK, said=frozenset({text}))).defects, "an upstream said so"


@pytest.mark.parametrize("dialect", [name for name, dialect in DIALECTS.items() if dialect.tools])
async def test_half_a_call_is_seen(dialect: str):
    ask = asking(dialect, tools=True)
    seen = await answered(ask, Answer(text=ask.text))
    assert set(judge(ask, seen, Behind(record=OK)).defects) == {"half call"}
    seen = await answered(ask, Answer(text=ask.text, tool_calls=[ToolUse("note", {"request": 412, "words": "412.0"})]))
    assert set(judge(ask, seen, Behind(record=OK)).defects) == {"half call"}
    whole = await answered(ask, right(ask))
    half = whole.body.replace(b' 412.47\\"}', b"").replace(b' 412.47"}', b"")
    if dialect != "responses" and half != whole.body:  # there the pieces are told again as a whole
        seen = Seen(status=200, headers=whole.headers, body=half, whole=True)
        assert set(judge(ask, seen, Behind(record=OK)).defects) & {"half call", "malformed"}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_without_its_end_is_malformed(dialect: str):
    """Cut behind any of its frames, it never passes for a whole answer."""
    ask = asking(dialect)
    whole = await answered(ask, right(ask))
    end = b"\n" if dialect.startswith("ollama") else b"\n\n"
    frames = bytes(whole.body).split(end)[:-1]
    for count in range(len(frames)):
        cut = bytearray(b"".join(frame + end for frame in frames[:count]))
        found = judge(ask, Seen(status=200, headers=whole.headers, body=cut, whole=True), Behind(record=OK))
        assert found.defects, count
    with pytest.raises(Malformed):
        ask.dialect.read(200, "text/html", bytes(whole.body))
    with pytest.raises(Malformed):
        ask.dialect.read(502, "application/json", b'{"message": "no"}')


async def test_what_befalls_a_request_beside_its_text():
    ask = asking()
    seen = await answered(ask, right(ask))
    assert set(judge(ask, seen, Behind(record=None)).defects) == {"unlogged"}
    assert set(judge(ask, seen, Behind(record={"outcome": None})).defects) == {"unlogged"}
    assert set(judge(ask, seen, Behind(record=FAILED)).defects) == {"untrue"}
    assert "hung" in judge(ask, replace(seen, late=True, whole=False), Behind(record=OK)).defects
    assert "cut off" in judge(ask, replace(seen, whole=False), Behind(record=OK)).defects
    refused = refusal(502, "The model's provider failed.")
    assert judge(ask, refused, Behind(record=FAILED)).end == "refused"
    assert set(judge(ask, refused, Behind(record=FAILED), must=True).defects) == {"given up"}
    assert set(judge(ask, refusal(500, "Oh."), Behind(record=FAILED)).defects) == {"internal"}


def refusal(status: int, message: str) -> Seen:
    error: dict[str, Any] = {"message": message, "type": "upstream_error", "param": None, "code": "x"}
    headers = {"content-type": "application/json", "x-pointsman-decision": "dec_1"}
    return Seen(status=status, headers=headers, body=bytearray(json.dumps({"error": error}).encode()), whole=True)


@pytest.mark.parametrize(("defect", "status"), [(None, 0), ("hung", 1), ("leaked tasks", 1)])
async def test_the_exit_status_says_whether_anything_happened_that_must_not(defect, status, monkeypatch, tmp_path):
    ask = asking()
    seen = await answered(ask, right(ask))
    verdict = judge(ask, replace(seen, late=defect == "hung"), Behind(record=OK))
    leaks = {"leaked tasks": 2} if defect == "leaked tasks" else {}
    result = Result(
        scenario=SCENARIOS[0], verdicts=[verdict], played={"none": 1}, attempts=1, leaks=leaks, notes=[], seconds=1.0,
        log="",
    )  # fmt: skip
    monkeypatch.setattr(runner, "run", lambda **asked: [result])
    page = tmp_path / "page.md"
    done = CliRunner().invoke(bench, ["faults", "--json", "--markdown", str(page)])
    assert done.exit_code == status, done.output
    told = json.loads(done.stdout)
    assert told["kept"] is (status == 0)
    assert sum(told["parts"][0]["defects"].values()) == (0 if defect is None else 1 + (defect == "leaked tasks"))
    assert "## What must never happen" in page.read_text()
