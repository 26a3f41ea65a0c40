"""What is noted of answers by what callers do next, and how far it is believed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.decision import Decision
from pointsman.core.observation import Implicit
from pointsman.core.outcome import Outcome
from pointsman.core.request import ChatRequest
from pointsman.core.signals import Conversation, Needs
from pointsman.pipeline.record.implicit import FEWEST, NEXT_TURN_WITHIN, RETRY_WITHIN, ImplicitSignals, belief
from pointsman.pipeline.record.meter import NOTHING_UNDERSTOOD


class SetClock:
    """A clock whose hands are moved."""

    def __init__(self) -> None:
        self.wall, self.steady = 1e9, 50.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady


class Conversing:
    """A caller whose requests are decided and answered one after another."""

    def __init__(self, **settings: Any) -> None:
        self.clock = SetClock()
        self.noted: list[Implicit] = []
        self.signals = ImplicitSignals(self.noted.append, self.clock, **settings)
        self.count = 0

    def turn(
        self,
        text: str,
        *,
        key: str | None = "key_a",
        conversation: str = "c",
        status: str = "ok",
        kind: str = "chat",
        prompt: str | None = None,
        end: bool = True,
        **shape: Any,
    ) -> Decision:
        self.count += 1
        body = {"model": "auto", "messages": [{"role": "user", "content": text}]}
        request = ChatRequest.parse(json.dumps(body).encode())
        signals = msgspec.structs.replace(
            NOTHING_UNDERSTOOD,
            conversation=Conversation(**{"turn": self.count, **shape}),
            needs=Needs(kind=kind),  # type: ignore[arg-type]
            prompt_hash=prompt or f"p{self.count}",
        )
        decision = Decision(
            id=f"dec_{self.count}", created_at=1.0, model="m", plan=("m",), mode="auto", requested_model="auto",
            candidates=(), dropped=(), propensity=1.0, policy="p@1", reasons=(), signals=signals,
            estimated_cost_micro_usd=None, conversation=conversation, key_id=key,
        )  # fmt: skip
        self.signals.asked(decision, request)
        if end:
            self.signals.answered(decision, Outcome(status=status))  # type: ignore[arg-type]
        return decision

    @property
    def found(self) -> list[tuple[str, str, float]]:
        return [(one.decision_id, one.kind, one.success) for one in self.noted]


@pytest.fixture
def caller() -> Conversing:
    return Conversing()


def test_the_next_turn_speaks_of_the_answer_before(caller: Conversing):
    caller.turn("Write a parser.")
    caller.turn("That doesn't work.")
    caller.turn("Perfect!")
    caller.turn("Now the tests.")
    assert caller.found == [("dec_1", "complaint", 0.0), ("dec_2", "praise", 1.0)]
    assert caller.noted[0].at == 1e9


@pytest.mark.parametrize(
    "change",
    [{"key": "key_b"}, {"key": None}, {"conversation": "other"}, {"conversation": ""}, {"turn": 1},
     {"kind": "completion"}],
)  # fmt: skip
def test_another_conversation_says_nothing_of_it(caller: Conversing, change: dict[str, Any]):
    caller.turn("Write a parser.")
    caller.turn("That doesn't work.", **change)
    assert caller.found == []


@pytest.mark.parametrize("status", ["error", "refused", "cancelled"])
def test_of_an_answer_that_never_came_nothing_is_said(caller: Conversing, status: str):
    caller.turn("Write a parser.", status=status, prompt="same")
    caller.turn("That doesn't work.")
    caller.turn("Write a parser.", prompt="same", conversation="d")
    assert caller.found == []


def test_the_same_prompt_again_soon_is_a_retry_and_nothing_else(caller: Conversing):
    caller.turn("That doesn't work.", prompt="same", conversation="a")
    caller.turn("That doesn't work.", prompt="same", conversation="a", turn=1)
    assert caller.found == [("dec_1", "retry", 0.0)]
    caller.turn("x", prompt="same", key="key_b")
    caller.clock.steady += RETRY_WITHIN + 1
    caller.turn("y", prompt="same", conversation="b")
    assert len(caller.found) == 1, "somebody else, or too late"


def test_the_same_prompt_at_once_is_no_retry(caller: Conversing):
    for _ in range(3):  # a caller who draws three samples side by side
        caller.turn("Tell me a joke.", prompt="same", conversation="", end=False)
    assert caller.found == []


def test_what_tools_answer_is_noted_once(caller: Conversing):
    tools: dict[str, Any] = {"awaiting_tool_result": True, "turn": 1}
    caller.turn("Fix it.", turn=1)
    caller.turn("2 failed", **tools, tool_results=1, tool_errors=1, tests_passed=False)
    caller.turn("ok", **tools, tool_results=2, tool_errors=1, tests_passed=False)
    caller.turn("5 passed", **tools, tool_results=3, tool_errors=1, tests_passed=True)
    caller.turn("5 passed", **tools, tool_results=3, tool_errors=1, tests_passed=True)
    assert caller.found == [
        ("dec_1", "tests_failed", 0.0), ("dec_1", "tool_failed", 0.0), ("dec_2", "tool_worked", 1.0),
        ("dec_3", "tests_passed", 1.0), ("dec_3", "tool_worked", 1.0),
    ]  # fmt: skip


def test_what_comes_much_later_says_nothing(caller: Conversing):
    caller.turn("Write a parser.")
    caller.clock.steady += NEXT_TURN_WITHIN + 1
    caller.turn("That doesn't work.")
    assert caller.found == []


def test_a_clock_that_jumps_changes_nothing(caller: Conversing):
    caller.turn("Write a parser.")
    caller.clock.wall -= 1e6
    caller.turn("That doesn't work.")
    assert caller.found == [("dec_1", "complaint", 0.0)]


def test_what_is_remembered_is_bounded():
    caller = Conversing(most=5)
    for number in range(50):
        caller.turn("Write a parser.", conversation=f"c{number}", turn=1)
    caller.turn("That doesn't work.", conversation="c0")
    assert caller.found == []
    caller.turn("That doesn't work.", conversation="c49")
    assert caller.found == [("dec_50", "complaint", 0.0)]
    assert len(caller.signals._conversations) == len(caller.signals._prompts) == 5


@pytest.mark.parametrize(
    ("right", "cases", "weight"),
    [
        (0, 0, 0.0), (29, 29, 0.0), (30, 30, 0.75), (15, 30, 0.0), (60, 100, 0.0), (90, 100, 0.65),
        (990, 1_000, 0.95), (100_000, 100_000, 0.95), (0, 100, 0.0), (31, 30, 0.0), (-1, 30, 0.0),
    ],
)  # fmt: skip
def test_a_kind_is_believed_as_far_as_it_was_right(right: int, cases: int, weight: float):
    assert belief(right, cases) == pytest.approx(weight)


@given(cases=st.integers(FEWEST, 10_000), share=st.floats(0, 1))
def test_belief_rises_with_how_often_it_was_right_and_never_beyond(cases: int, share: float):
    right = round(share * cases)
    weight = belief(right, cases)
    assert 0 <= weight <= max(0.0, 2 * right / cases - 1) + 1e-9
    assert belief(min(right + 1, cases), cases) >= weight
    assert belief(right * 10, cases * 10) >= weight - 1e-9
