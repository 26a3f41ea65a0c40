"""A judge whose calls are scripted: what it asks, how it is read, and what ends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
import pytest

from pointsman.core.caller import Caller
from pointsman.core.decision import Candidate, Decision, Dropped
from pointsman.core.errors import BudgetExceeded
from pointsman.core.events import Body, Event, Frames
from pointsman.core.observation import Implicit
from pointsman.core.outcome import Outcome
from pointsman.core.request import ChatRequest, PrivacyLevel
from pointsman.core.signals import Needs, Privacy, PrivacyClass, Signals
from pointsman.learn.programs.judge import STEP
from pointsman.pipeline.record.judge import BUILT_IN, JUDGE_KEY, LONGEST, MOST_BYTES, MOST_WAITING, Judge, Listener
from pointsman.pipeline.record.meter import NOTHING_UNDERSTOOD

MODEL = "cloud:judge"
LARGE = ChatRequest.parse(
    json.dumps({"messages": [{"role": "user", "content": "x" * MOST_BYTES}, {"role": "user", "content": "?"}]}).encode()
)
REQUEST = ChatRequest.parse(json.dumps({"messages": [{"role": "user", "content": "2+2?"}]}).encode())


UNUSED = Dropped(model=MODEL, constraint="disabled", detail="is used only when it is named")


class SetClock:
    wall = 1_000_000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return 0.0


def body(text: str) -> Body:
    message = {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
    return Body(json.dumps(message).encode())


def better(word: str) -> str:
    return f"[[ ## better ## ]]\n{word}\n\n[[ ## completed ## ]]"


class Court:
    """A judge, what it was asked, and what it said."""

    def __init__(self, *answers: str | Exception | None, share: float = 1.0, cap: int = 1_000) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[dict[str, Any], Caller, PrivacyLevel]] = []
        self.said: list[Implicit] = []
        self.clock = SetClock()
        self.drawn = 0.5
        self.judge = Judge(
            program=BUILT_IN, model=MODEL, share=share, micro_usd_per_day=cap, keep=self.said.append,
            clock=self.clock, draw=lambda: self.drawn,
        )  # fmt: skip

    async def ask(
        self, request: ChatRequest, caller: Caller, level: PrivacyLevel
    ) -> AsyncGenerator[Event, None] | None:
        fields = {name: json.loads(bytes(raw)) for name, raw in request.fields.items()}
        self.asked.append((fields, caller, level))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return None if answer is None else self._stream(answer)

    async def _stream(self, text: str) -> AsyncGenerator[Event, None]:
        yield body(text)

    def hear(
        self, text: str = "4", *, outcome: Outcome | None = None, request: ChatRequest = REQUEST, **changes: Any
    ) -> bool:
        """Show it an answer; returns whether it listened."""
        chosen = decision(**changes)
        listener = self.judge.listen(chosen, request)
        if listener is not None:
            listener(body(text))
        self.judge.ended(chosen, request, outcome or Outcome(status="ok", finish_reason="stop"), listener)
        return listener is not None

    async def sit(self, until: Callable[[], bool]) -> None:
        """Let it judge until that is so."""
        running = asyncio.create_task(self.judge.run(self.ask))
        for _ in range(1_000):
            if until():
                break
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        running.cancel()


def decision(signals: Signals = NOTHING_UNDERSTOOD, **changes: Any) -> Decision:
    whole = Decision(
        id="dec_1", created_at=1.0, model="lan:m", plan=("lan:m",), mode="auto", requested_model="auto", candidates=(),
        dropped=(UNUSED,), propensity=1.0, policy="p@1", reasons=(), signals=signals, estimated_cost_micro_usd=None,
        key_id="key_a",
    )  # fmt: skip
    return msgspec.structs.replace(whole, **changes)


def test_what_is_optimised_is_what_judges():
    assert STEP.program == BUILT_IN


@pytest.mark.parametrize(
    ("first", "second", "success"),
    [("a", "b", 1.0), ("b", "a", 0.0), ("a", "a", 1.0), ("b", "b", 1.0), ("tie", "tie", 1.0), ("tie", "a", 1.0),
     ("b", "tie", 1.0)],
)  # fmt: skip
async def test_what_it_says_in_one_order_alone_is_a_tie(first: str, second: str, success: float):
    court = Court("The answer is 5.", better(first), better(second))
    assert court.hear()
    await court.sit(lambda: bool(court.said))
    assert [(one.decision_id, one.kind, one.success) for one in court.said] == [("dec_1", "judge", success)]
    own, *compared = court.asked
    assert own[0]["messages"] == [{"role": "user", "content": "2+2?"}]
    assert [fields["model"] for fields, _, _ in court.asked] == [MODEL] * 3
    places = [fields["messages"][-1]["content"].index("\n4\n") for fields, _, _ in compared]
    assert places[0] < places[1]
    for _, caller, _ in court.asked:
        assert (caller.key_id, caller.admin, caller.scopes.models, caller.scopes.daily_micro_usd) == (
            JUDGE_KEY, False, (MODEL,), 1_000,
        )  # fmt: skip


@pytest.mark.parametrize(
    "answers",
    [(None,), ("",), ("5", None), ("5", "no idea"), ("5", better("c")), ("5", better("a"), "!"), ("x" * 20_000,)],
)
async def test_what_cannot_be_told_is_not_said(answers: tuple[str | None, ...]):
    court = Court(*answers)
    court.hear()
    await court.sit(lambda: not court.answers)
    assert court.said == []


async def test_a_failure_ends_one_judgement_and_no_more(caplog: pytest.LogCaptureFixture):
    court = Court(
        BudgetExceeded("no money"), BudgetExceeded("no money"), KeyError("odd"), "5", better("a"), better("b")
    )
    for number in range(4):
        court.hear(id=f"dec_{number}")
    await court.sit(lambda: bool(court.said))
    assert [one.decision_id for one in court.said] == ["dec_3"]
    assert caplog.text.count("no money") == 1


def private(**changes: Any) -> Signals:
    return msgspec.structs.replace(NOTHING_UNDERSTOOD, privacy=Privacy(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        *({"signals": private(classes=(one,))} for one in PrivacyClass),
        {"signals": private(local_only=True)},
        {"signals": private(level="max")},
        {"signals": private(classes=(PrivacyClass.SECRET,), redacted=True)},
        {"signals": msgspec.structs.replace(NOTHING_UNDERSTOOD, needs=Needs(tools=True))},
        {"signals": msgspec.structs.replace(NOTHING_UNDERSTOOD, needs=Needs(vision=True))},
        {"signals": msgspec.structs.replace(NOTHING_UNDERSTOOD, needs=Needs(kind="embeddings"))},
        {"model": MODEL},
        {"mode": "forced"},
        {"dropped": ()},  # the caller's key may not use it
        {"dropped": (msgspec.structs.replace(UNUSED, constraint="provider"),)},
        {"dropped": (msgspec.structs.replace(UNUSED, constraint="credential"),)},
        {"request": LARGE},
        {"key_id": JUDGE_KEY},
    ],
)
def test_what_it_must_not_hear_it_does_not_hear(changes: dict[str, Any]):
    assert not Court().hear(**changes)


def test_it_hears_where_it_could_have_been_asked_itself():
    rival = Candidate(model=MODEL, quality=0.5, cost_micro_usd=1, latency_seconds=1.0, utility=0.1)
    assert Court().hear(candidates=(rival,), dropped=())


def test_a_level_goes_with_its_request():
    court = Court(None)
    assert court.hear(signals=private(level="high"))
    asyncio.run(court.sit(lambda: bool(court.asked)))
    assert court.asked[0][2] == "high"


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(status="error"),
        Outcome(status="cancelled"),
        Outcome(status="ok", finish_reason="length"),
        Outcome(status="ok", finish_reason="tool_calls"),
        Outcome(status="ok", finish_reason="stop", model=MODEL),
    ],
)
async def test_what_was_no_whole_answer_is_left_alone(outcome: Outcome):
    court = Court()
    court.hear(outcome=outcome)
    await court.sit(lambda: bool(court.asked))
    assert court.asked == []


@pytest.mark.parametrize("text", ["", " \n", "x" * (LONGEST + 1)])
async def test_what_is_empty_or_long_is_left_alone(text: str):
    court = Court()
    court.hear(text)
    await court.sit(lambda: bool(court.asked))
    assert court.asked == []


def test_it_draws():
    court = Court(share=0.3)
    court.drawn = 0.3
    assert not court.hear()
    court.drawn = 0.29
    assert court.hear()


async def test_what_waits_is_bounded():
    court = Court(*[None] * 100)
    for _ in range(MOST_WAITING + 20):
        court.hear()
    await court.sit(lambda: len(court.asked) > MOST_WAITING)
    assert len(court.asked) == MOST_WAITING


async def test_where_budgets_only_warn_it_stops_itself_until_the_next_day():
    court = Court("5", better("a"), better("b"), "5", better("a"), better("b"))
    paid = Outcome(status="ok", cost_micro_usd=1_000)
    court.judge.ended(decision(key_id=JUDGE_KEY), REQUEST, paid, None)
    court.hear()
    await court.sit(lambda: bool(court.asked))
    assert court.asked == []
    court.clock.wall += 86_400
    court.hear()
    await court.sit(lambda: bool(court.said))
    assert len(court.said) == 1


def test_a_stream_is_heard_whole_and_garbage_ends_it():
    listener = Listener()
    for piece in ("It ", "is ", "4."):
        frame = json.dumps({"choices": [{"index": 0, "delta": {"content": piece}}]})
        listener(Frames(f"data: {frame}\n\n".encode()))
    listener(Frames(b"data: [DONE]\n\n"))
    assert (listener.text, listener.plain) == ("It is 4.", True)
    listener(Frames(b"data: {nonsense\n\n"))
    assert not listener.plain
