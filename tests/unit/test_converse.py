"""What a fault of ours does to an answer under way: its caller is told, the upstream is let go, and the log says so."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import pytest

from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.credential import NoKeysTaken
from pointsman.core.decision import Decision, new_decision_id
from pointsman.core.events import Body, Event, Frames
from pointsman.core.outcome import Outcome
from pointsman.core.ports import ChatCall, SystemClock, Timeouts
from pointsman.core.request import ChatRequest
from pointsman.core.trail import Trail
from pointsman.pipeline.answer import Answer
from pointsman.pipeline.execute import Execute
from pointsman.pipeline.record import Record
from pointsman.pipeline.record.meter import NOTHING_UNDERSTOOD
from pointsman.pipeline.run import Wishes
from pointsman.surfaces.converse import Converse
from pointsman.surfaces.openai.chat import ChatDialect
from pointsman.transport.http import Headers, HttpRequest

CARD = ModelCard(id="a:m", provider="a", name="m")


class Upstream:
    def __init__(self) -> None:
        self.closed = 0

    async def chat(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        try:
            yield Frames(b"data: {}\n\n") if call.request.stream else Body(b"{}")
            yield Frames(b"data: {}\n\n")
        finally:
            self.closed += 1


class Log:
    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def decided(self, decision: Decision, *, prompt: bytes | None) -> None:
        pass

    def ended(self, decision_id: str, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


class Straight:
    """A pipeline whose decision is made."""

    caller_keys = NoKeysTaken()

    def __init__(self) -> None:
        self.upstream, self.log, clock = Upstream(), Log(), SystemClock()
        self.record = Record(log=self.log, clock=clock)
        self.execute = Execute(provider_for=lambda card: self.upstream, timeouts=Timeouts(), clock=clock)

    async def run(self, request: ChatRequest, caller: Caller, wishes: Wishes) -> Answer:
        decision = Decision(
            id=new_decision_id(), created_at=0, model="a:m", plan=("a:m",), mode="auto", requested_model="auto",
            candidates=(), dropped=(), propensity=1, policy="rules@1", reasons=("so",), signals=NOTHING_UNDERSTOOD,
            estimated_cost_micro_usd=0,
        )  # fmt: skip
        trail = Trail(SystemClock())
        attempts = self.execute(decision, request, catalog=Catalog([CARD]), trail=trail)
        events = self.record.watch(decision, request, trail, attempts)
        return Answer(decision, trail, await anext(events), events)


class Responder:
    def __init__(self) -> None:
        self.written = b""

    def start(self, status: int, headers: Headers) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        pass


class Faulty(ChatDialect):
    """Cannot do one thing."""

    def __init__(self, at: str) -> None:
        self._at = at

    def __getattribute__(self, name: str) -> object:
        if name != "_at" and name == self._at:
            raise ZeroDivisionError
        return super().__getattribute__(name)


@pytest.mark.parametrize(("stream", "at"), [(False, "whole"), (False, "writer"), (True, "writer"), (True, "write")])
async def test_a_fault_while_an_answer_is_written_is_an_error_in_the_log(stream: bool, at: str) -> None:
    pipeline, respond = Straight(), Responder()
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": stream}
    http = HttpRequest(
        method="POST", path="/v1/chat/completions", query=b"", headers=[], body=json.dumps(body).encode(), peer=None
    )
    with pytest.raises(ZeroDivisionError):
        await Converse(Faulty(at), pipeline)(http, respond, Caller())
    assert [(outcome.status, outcome.error) for outcome in pipeline.log.outcomes] == [("error", "internal_error")]
    assert pipeline.upstream.closed == 1
    assert (b"internal_error" in respond.written) is (at == "write")
