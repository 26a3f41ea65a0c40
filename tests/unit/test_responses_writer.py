"""What the writer of Responses does with an answer that an upstream told in the same words, and with one in chat's."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from pointsman.core.decision import Decision, new_decision_id
from pointsman.core.errors import UpstreamBroken
from pointsman.core.events import Body, Event, Frames, payloads
from pointsman.core.ports import SystemClock
from pointsman.core.signals import Complexity, Conversation, Needs, Privacy, PrivacyClass, Signals
from pointsman.core.trail import Trail
from pointsman.dialects.responses.fields import read_fields
from pointsman.dialects.responses.request import to_chat
from pointsman.pipeline.answer import Answer
from pointsman.stores.envelope import Envelope
from pointsman.stores.responses import ResponseStore
from pointsman.stores.sealed import SealedValues
from pointsman.stores.secret_key import SecretKey
from pointsman.stores.sqlite_database import SqliteDatabase
from pointsman.surfaces.responses import memory
from pointsman.surfaces.responses.memory import Memory
from pointsman.surfaces.responses.responses import ResponsesWriter

CLOCK = SystemClock()


async def nothing() -> AsyncGenerator[Event, None]:
    return
    yield


def answer(privacy: Privacy) -> Answer:
    signals = Signals(
        complexity=Complexity(score=0, length=0, terms=0, structure=0),
        privacy=privacy,
        needs=Needs(),
        conversation=Conversation(),
    )
    decision = Decision(
        id=new_decision_id(), created_at=0, model="lan:small", plan=("lan:small",), mode="auto", requested_model="auto",
        candidates=(), dropped=(), propensity=1, policy="rules@1", reasons=(), signals=signals,
        estimated_cost_micro_usd=0,
    )  # fmt: skip
    return Answer(decision, Trail(CLOCK), None, nothing())


@pytest.fixture
async def writer(tmp_path: Path):
    database = SqliteDatabase(tmp_path / "data" / "pointsman.sqlite3")
    await database.open()
    sealed = SealedValues(database, Envelope(SecretKey(b"an installation's secret")), CLOCK)
    store = ResponseStore(database, sealed, CLOCK, seconds=60, most_of_one=10_000, most_of_all=10_000_000)

    def make(privacy: Privacy | None = None, **fields: object) -> ResponsesWriter:
        asked, rest = read_fields(json.dumps({"input": "hi", **fields}).encode())
        request = to_chat(asked, rest, before=[], kept={}, owner="key_a")
        return ResponsesWriter(request, answer(privacy or Privacy()), Memory(store, keeps=True, clock=CLOCK), CLOCK)

    yield make
    await database.close()


def event(kind: str, number: int, **fields: object) -> bytes:
    told = {"type": kind, "sequence_number": number, **fields}
    return f"event: {kind}\ndata: {json.dumps(told)}\n\n".encode()


def response(status: str) -> dict[str, object]:
    return {"id": "resp_theirs", "status": status, "output": [], "store": False, "x": 1}


def read(frames: bytes) -> list[dict[str, object]]:
    return [json.loads(payload) for payload in payloads(frames)]


async def test_a_relayed_response_gets_the_id_under_which_it_is_kept(writer):
    relay = writer()
    assert relay.begin() == b""
    (created,) = read(relay.write(Frames(event("response.created", 0, response=response("in_progress")),
                                         dialect="responses")))  # fmt: skip
    delta = event("response.output_text.delta", 1, delta='"type": "response.created"')
    assert relay.write(Frames(delta, dialect="responses")) == delta
    last = Frames(event("response.completed", 2, response=response("completed")), dialect="responses")
    assert relay.write(last) == b"", "the answer is kept before its end is told"
    (completed,) = read(await relay.end())
    assert (completed["type"], completed["sequence_number"]) == ("response.completed", 2)
    for told in (created["response"], completed["response"]):
        assert (told["model"], told["store"], told["x"]) == ("lan:small", True, 1)
    assert created["response"]["id"] == completed["response"]["id"] != "resp_theirs"
    whole = json.loads(await writer().whole(Body(json.dumps(response("completed")).encode(), dialect="responses")))
    assert (whole["id"][:5], whole["x"], whole["store"]) == ("resp_", 1, True)
    private = writer(Privacy(local_only=True))
    whole = json.loads(await private.whole(Body(json.dumps(response("completed")).encode(), dialect="responses")))
    assert (whole["id"][:13], whole["store"]) == ("resp_private_", False)


async def test_a_relayed_stream_that_breaks_says_so(writer):
    relay = writer()
    relay.write(Frames(event("response.created", 0, response=response("in_progress")), dialect="responses"))
    (failed,) = read(relay.broken(UpstreamBroken()))
    assert (failed["type"], failed["sequence_number"]) == ("response.failed", 1)


async def test_a_stream_that_breaks_before_its_first_event_begins_and_fails(writer):
    raw = writer().broken(UpstreamBroken()).decode()
    assert [line for line in raw.splitlines() if line.startswith("event")] == [
        "event: response.created", "event: response.in_progress", "event: response.failed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("privacy", "fields", "begins", "store"),
    [
        (Privacy(), {}, "resp_", True),
        (Privacy(), {"store": False}, "resp_unkept_", False),
        (Privacy(local_only=True), {"store": True}, "resp_private_", False),
        (Privacy(classes=(PrivacyClass.CONTACT,)), {}, "resp_private_", False),
        (
            Privacy(classes=(PrivacyClass.SECRET,), local_only=True, redacted=True),
            {"store": False},
            "resp_private_",
            False,
        ),
    ],
)
async def test_what_is_kept_shows_in_the_id(writer, privacy, fields, begins, store):
    chat = Body(b'{"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}')
    response = json.loads(await writer(privacy, **fields).whole(chat))
    assert response["id"].rpartition("_")[0] + "_" == begins
    assert response["store"] is store


async def test_a_database_that_hangs_holds_no_answer_back(writer, tmp_path, monkeypatch):
    body = Body(json.dumps(response("completed")).encode(), dialect="responses")
    await writer().whole(body)  # the key is made
    monkeypatch.setattr(memory, "KEEP_SECONDS", 0.2)
    busy = sqlite3.connect(tmp_path / "data" / "pointsman.sqlite3", isolation_level=None)
    busy.execute("BEGIN IMMEDIATE")
    began = CLOCK.monotonic()
    told = [json.loads(await writer().whole(body))["store"] for _ in range(2)]
    assert told == [False, False]
    assert CLOCK.monotonic() - began < 4, "SQLite itself waits for 5 s"
    busy.execute("ROLLBACK")
    busy.close()
