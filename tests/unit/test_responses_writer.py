"""What the writer of Responses does with an answer that an upstream told in the same words, and with one in chat's."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from pointsman.core.decision import Decision, new_decision_id
from pointsman.core.errors import UpstreamBroken
from pointsman.core.events import Body, Event, Frames
from pointsman.core.ports import SystemClock
from pointsman.core.signals import Complexity, Conversation, Needs, Privacy, PrivacyClass, Signals
from pointsman.core.trail import Trail
from pointsman.dialects.responses_fields import read_fields
from pointsman.dialects.responses_request import to_chat
from pointsman.pipeline.answer import Answer
from pointsman.stores.envelope import Envelope
from pointsman.stores.responses import ResponseStore
from pointsman.stores.sealed import SealedValues
from pointsman.stores.secret_key import SecretKey
from pointsman.stores.sqlite_database import SqliteDatabase
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


async def test_frames_and_bodies_in_the_same_words_pass_as_they_are(writer):
    told = b'event: response.created\ndata: {"type":"response.created"}\n\n'
    relay = writer()
    assert relay.begin() == b""
    assert relay.write(Frames(told, dialect="responses")) == told
    assert await relay.end() == b""
    body = Body(b'{"object": "response", "x": 1}', dialect="responses")
    assert await writer().whole(body) == body.raw


async def test_a_relayed_stream_that_breaks_says_so(writer):
    relay = writer()
    relay.write(Frames(b'event: response.created\ndata: {"type":"response.created"}\n\n', dialect="responses"))
    assert relay.broken(UpstreamBroken()).startswith(b"event: response.failed\n")


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
