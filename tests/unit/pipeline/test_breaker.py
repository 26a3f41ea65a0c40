"""Circuits open when models or providers fail, let few probes pass after a while, and close again."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.errors import (
    CallerKeyRefused,
    EngineDied,
    EngineError,
    OutOfFiles,
    Overloaded,
    PointsmanError,
    PrivacyWall,
    ProviderShort,
    UpstreamBroken,
    UpstreamClosed,
    UpstreamConnectError,
    UpstreamContextTooLong,
    UpstreamLacks,
    UpstreamProtocolError,
    UpstreamStatus,
    UpstreamTimeout,
)
from pointsman.pipeline.execute.blame import Blame, blame
from pointsman.pipeline.execute.breaker import MOST, CircuitBreakers
from pointsman.pipeline.execute.circuit import BUCKETS, BreakerRules, ModelCircuit, ProviderCircuit

CARDS = [ModelCard(id=f"{provider}:{name}", provider=provider, name=name) for provider in "ab" for name in "xyz"]
AX, AY, AZ, BX, *_ = CARDS
DOWN = UpstreamStatus(500, b"")
UNREACHABLE = UpstreamConnectError()


class Clock:
    def __init__(self) -> None:
        self.ticks = 5_000.0

    def now(self) -> float:
        return self.ticks

    def monotonic(self) -> float:
        return self.ticks


class Models:
    catalog = Catalog(CARDS)


class Setup:
    """Breakers, a clock that is moved by hand, and no jitter."""

    def __init__(self, **rules: object) -> None:
        self.clock = Clock()
        self.models = Models()
        self.breakers = CircuitBreakers(BreakerRules(**rules), models=self.models, clock=self.clock, chance=lambda: 1.0)
        self.changes: list[tuple[str, float]] = []
        self.breakers.on_change = lambda circuit: self.changes.append((circuit.name, circuit.until))

    def wait(self, seconds: float) -> None:
        self.clock.ticks += seconds

    def call(self, card: ModelCard, error: PointsmanError | None = None, seconds: float | None = 0.5) -> None:
        """A call that is admitted and ends at once."""
        assert self.breakers.admit(card) == 0
        self.breakers.told(card, error, None if error is not None else seconds)

    def fail(self, card: ModelCard = AX, times: int = 5, error: PointsmanError = DOWN) -> None:
        for _ in range(times):
            self.call(card, error)

    def state(self, name: str) -> str:
        return next((one.state for one in self.breakers.standings() if one.name == name), "closed")


def test_enough_failures_open_the_circuit_when_they_are_half_of_the_calls():
    setup = Setup()
    for _ in range(6):
        setup.call(AX)
    setup.fail(times=5)
    assert setup.breakers.opened() == {}, "enough, and not half"
    setup.fail(times=1)
    assert setup.breakers.opened() == {AX.id: "its circuit is open: 6 of 12 calls failed in 60 s"}
    setup = Setup()
    setup.fail(times=4)
    assert setup.breakers.opened() == {}, "all, and not enough"
    setup.fail(times=1)
    assert setup.breakers.opened() == {AX.id: "its circuit is open: 5 of 5 calls failed in 60 s"}
    assert setup.breakers.admit(AX) == 5.0
    assert setup.breakers.admit(AY) == setup.breakers.admit(BX) == 0
    setup.wait(2)
    assert setup.breakers.admit(AX) == 3.0


def test_most_calls_going_well_keep_it_closed():
    setup = Setup()
    for _ in range(40):
        setup.fail(times=1)
        setup.call(AX)
        setup.call(AX)
    assert setup.state(AX.id) == "closed"


def test_what_is_older_than_the_window_is_forgotten():
    setup = Setup()
    setup.fail(times=4)
    setup.wait(61)
    setup.fail(times=4)
    assert setup.state(AX.id) == "closed"
    setup.wait(50)
    setup.fail(times=1)
    assert setup.state(AX.id) == "open"


def test_few_probes_pass_and_their_success_closes_it():
    setup = Setup(probes=2)
    setup.fail()
    setup.wait(5)
    assert setup.breakers.opened() == {}, "it is ready for a probe"
    assert [setup.breakers.admit(AX) > 0 for _ in range(4)] == [False, False, True, True]
    assert AX.id in setup.breakers.opened(), "its probes are under way"
    setup.breakers.told(AX, None, 0.5)
    assert setup.state(AX.id) == "half-open"
    setup.breakers.told(AX, None, 0.5)
    assert setup.state(AX.id) == "closed"
    assert setup.breakers.opened() == {}
    setup.fail(times=4)
    assert setup.state(AX.id) == "closed", "what was counted before it opened is forgotten"


def test_a_probe_that_fails_opens_it_for_twice_as_long_up_to_the_longest():
    setup = Setup(max_open_seconds=60.0)
    setup.fail()
    waits = []
    for _ in range(6):
        waits.append(setup.breakers.admit(AX))
        setup.wait(waits[-1])
        setup.call(AX, DOWN)
    assert waits == [5, 10, 20, 40, 60, 60]


def test_calls_that_went_well_in_between_make_the_time_shorter_again():
    setup = Setup(probes=1)

    def fail_after(seconds: float) -> float:
        setup.wait(seconds)
        setup.call(AX)
        setup.fail()
        return setup.breakers.admit(AX)

    setup.fail()
    for wait in (5, 10):
        setup.wait(wait)
        setup.call(AX, DOWN)
    assert [fail_after(20), fail_after(10), fail_after(5)] == [10.0, 5.0, 5.0]
    for wait in (5, 10, 20):
        setup.wait(wait)
        setup.call(AX, DOWN)
    setup.wait(40)
    setup.call(AX)
    assert fail_after(61) == 5.0, "it was well for long"


def test_a_probe_that_is_never_told_of_blocks_nobody_for_ever():
    setup = Setup(probes=1, probe_seconds=30.0)
    setup.fail()
    setup.wait(5)
    assert setup.breakers.admit(AX) == 0
    setup.wait(29)
    assert 0 < setup.breakers.admit(AX) <= 1
    setup.wait(1)
    assert setup.breakers.opened() == {}
    setup.call(AX)
    assert setup.state(AX.id) == "closed"


@pytest.mark.parametrize("error", [None, UpstreamStatus(400, b"")])
def test_a_probe_of_which_nothing_was_learned_gives_its_place_back(error):
    setup = Setup(probes=1)
    setup.fail()
    setup.wait(5)
    for _ in range(3):
        setup.call(AX, error, seconds=None)
        assert setup.state(AX.id) == "half-open"
    setup.call(AX)
    assert setup.state(AX.id) == "closed"


def test_what_was_under_way_when_it_opened_changes_nothing():
    setup = Setup()
    for _ in range(20):
        assert setup.breakers.admit(AX) == 0
    for _ in range(10):
        setup.breakers.told(AX, DOWN, None)
    setup.breakers.told(AX, None, 0.5)
    assert setup.breakers.admit(AX) == 5.0
    setup.wait(6)
    setup.breakers.told(AX, DOWN, None)
    setup.breakers.told(AX, None, 0.5)
    assert setup.state(AX.id) == "half-open", "no probe is under way"
    assert len(setup.changes) == 1


@pytest.mark.parametrize(
    ("error", "learned"),
    [
        (UpstreamStatus(500, b""), Blame.FAILED),
        (UpstreamStatus(503, b"", retry_after=5), Blame.FAILED),
        (UpstreamStatus(529, b""), Blame.FAILED),
        (UpstreamStatus(401, b""), Blame.FAILED),
        (UpstreamStatus(402, b""), Blame.FAILED),
        (UpstreamStatus(400, b""), Blame.NOTHING),
        (UpstreamStatus(403, b""), Blame.NOTHING),
        (UpstreamStatus(404, b""), Blame.NOTHING),
        (UpstreamStatus(413, b""), Blame.NOTHING),
        (UpstreamStatus(429, b"", retry_after=5), Blame.NOTHING),
        (UpstreamStatus(429, b""), Blame.SLOW),
        (UpstreamConnectError(), Blame.UNREACHABLE),
        (UpstreamTimeout("connect", 5), Blame.UNREACHABLE),
        (UpstreamTimeout("first_byte", 5), Blame.FAILED),
        (UpstreamTimeout("between_bytes", 5), Blame.FAILED),
        (UpstreamTimeout("total", 5), Blame.NOTHING),
        (UpstreamBroken(), Blame.FAILED),
        (UpstreamClosed(), Blame.FAILED),
        (UpstreamProtocolError(), Blame.FAILED),
        (EngineError("It does not start."), Blame.FAILED),
        (EngineDied(), Blame.FAILED),
        (OutOfFiles(), Blame.NOTHING),
        (EngineError("It is loaded just now.", retry_after=2.0), Blame.NOTHING),
        (UpstreamContextTooLong("m", 10, 5), Blame.NOTHING),
        (UpstreamLacks("logprobs"), Blame.NOTHING),
        (CallerKeyRefused(), Blame.NOTHING),
        (Overloaded(), Blame.NOTHING),
        (PrivacyWall(), Blame.NOTHING),
        (ProviderShort("a", "used up", retry_after=1), Blame.NOTHING),
    ],
    ids=repr,
)
def test_what_counts(error, learned):
    assert blame(error) is learned
    setup = Setup(connect_errors=100)
    for _ in range(20):
        setup.breakers.told(AX, error, None)
    assert (setup.state(AX.id) == "open") == (learned is not Blame.NOTHING)


def test_all_that_one_death_of_an_engine_ended_count_as_one_failure():
    setup = Setup()
    for number in range(20):
        died = EngineDied()
        died.counts = number == 0
        setup.breakers.told(AX, died, None)
    assert setup.breakers.opened() == {}


def test_calls_that_take_much_longer_than_usual_open_it():
    setup = Setup(window=600.0)
    for number in range(60):
        setup.call(AX, seconds=3.0 + number % 4)
    for _ in range(60):
        setup.call(AY, seconds=0.2)
    for _ in range(20):
        setup.call(AX, seconds=14.0)
        setup.call(AY, seconds=9.0)  # 45 times as long as usual, and yet not slow
    assert setup.breakers.opened() == {}
    setup.wait(700)
    for _ in range(5):
        setup.call(AX, seconds=100.0)
    assert setup.breakers.opened() == {AX.id: "its circuit is open: 5 of 5 calls were slow or put off in 600 s"}
    setup.wait(5)
    setup.call(AX, seconds=100.0)
    assert setup.breakers.admit(AX) == 10.0, "a slow probe has not shown that it is well"


def test_slowness_that_lasts_becomes_usual_and_a_burst_does_not():
    setup = Setup(slow_rate=1.0, min_errors=10_000)
    for _ in range(40):
        setup.call(AX, seconds=3.0)
    circuit = setup.breakers._models[AX.id]
    for _ in range(1000):
        setup.call(AX, seconds=60.0)
    assert circuit.slow_from < 20
    for _ in range(100):
        setup.wait(3)
        setup.call(AX, seconds=60.0)
    assert circuit.usual == pytest.approx(60, rel=0.1)
    assert circuit.slow_from > 200


def test_an_absolute_bound_holds_from_the_first_call():
    setup = Setup(slow_beyond=2.0)
    setup.call(AX, seconds=1.0)
    setup.wait(61)
    for _ in range(5):
        setup.call(AX, seconds=3.0)
    assert setup.state(AX.id) == "open"


def test_calls_in_a_row_that_cannot_reach_a_provider_keep_all_its_models_back():
    setup = Setup()
    setup.fail(AX, 2, UNREACHABLE)
    setup.call(AY)
    setup.fail(AX, 2, UNREACHABLE)
    assert setup.state("a") == "closed", "it was reached in between"
    setup.call(AY, UNREACHABLE)
    why = "its provider's circuit is open: 3 calls in a row could not reach a"
    assert setup.breakers.opened() == {AX.id: why, AY.id: why, AZ.id: why}
    assert setup.breakers.admit(AZ) == 5.0, "though it was never asked"
    assert setup.breakers.admit(BX) == 0
    setup.wait(5)
    setup.call(AZ, DOWN)
    setup.call(AZ, DOWN)
    assert setup.state("a") == "closed", "it can be reached; that a model fails is the model's matter"


def test_a_provider_that_is_back_is_tried_at_once():
    setup = Setup(probes=1, open_seconds=300.0)
    setup.fail(AX, 3, UNREACHABLE)
    setup.fail(BX)
    setup.breakers.back("b")
    setup.breakers.back("nobody")
    assert setup.breakers.admit(BX) > 0, "it was never away; its model fails"
    assert AY.id in setup.breakers.opened()
    setup.breakers.back("a")
    assert set(setup.breakers.opened()) == {BX.id}
    setup.call(AX)
    assert setup.state("a") == "closed"


def test_errors_of_connecting_long_ago_do_not_make_a_row():
    setup = Setup()
    for _ in range(5):
        setup.call(AX, UNREACHABLE)
        setup.wait(70)
    assert setup.breakers.opened() == {}


def test_a_provider_several_of_whose_models_fail_is_left_alone_whole():
    setup = Setup()
    for _ in range(12):
        setup.call(AZ)
    setup.fail(AX)
    setup.fail(AY)
    assert set(setup.breakers.opened()) == {AX.id, AY.id}, "a third one does well"
    setup = Setup()
    setup.fail(AX)
    setup.fail(AY)
    assert set(setup.breakers.opened()) == {AX.id, AY.id, AZ.id}
    assert setup.breakers.opened()[AZ.id].endswith("several of its models fail, 10 of 10 calls in 60 s")
    setup.wait(5)
    setup.call(AX, DOWN)
    assert setup.breakers.admit(AZ) == 10.0, "that it can be reached was never in doubt"


def test_a_catalog_that_changes_changes_what_is_kept_back():
    setup = Setup()
    setup.fail(AX, 3, UNREACHABLE)
    assert len(setup.breakers.opened()) == 3
    more = ModelCard(id="a:new", provider="a", name="new")
    setup.models.catalog = Catalog([*CARDS, more])
    assert more.id in setup.breakers.opened()
    assert setup.breakers.opened() is setup.breakers.opened(), "it is not told anew while nothing changes"


def test_rules_change_while_it_runs():
    setup = Setup()
    setup.fail()
    setup.breakers.rules = BreakerRules(enabled=False)
    assert setup.breakers.opened() == {}
    setup.fail(times=50)
    setup.breakers.rules = BreakerRules(min_errors=2)
    setup.fail(times=2)
    assert setup.state(AX.id) == "open"


def test_a_provider_that_is_replaced_begins_anew():
    setup = Setup()
    setup.fail(AX)
    setup.fail(AY, 3, UNREACHABLE)
    setup.fail(BX)
    setup.breakers.forget("a")
    assert set(setup.breakers.opened()) == {BX.id}
    assert {one.name for one in setup.breakers.standings()} == {"b", BX.id}
    setup.breakers.forget("nobody")


def test_what_is_kept_is_bounded():
    setup = Setup()
    setup.fail()
    for number in range(2 * MOST + 10):
        setup.breakers.told(ModelCard(id=f"c{number % 7}:{number}", provider=f"c{number % 7}", name="m"), None, 0.5)
    assert len(setup.breakers._models) <= MOST
    assert sum(len(one.models) for one in setup.breakers._providers.values()) == len(setup.breakers._models)
    assert setup.state(AX.id) == "open", "one that is open is not forgotten"


def test_what_is_adopted_holds_and_is_not_told_again():
    setup = Setup(probes=1)
    setup.breakers.adopt("model", AX.id, seconds=7.0, why="9 of 10 calls failed in 60 s", level=2, unreached=False)
    setup.breakers.adopt(
        "provider", "b", seconds=3.0, why="3 calls in a row could not reach b", level=0, unreached=True
    )
    assert setup.breakers.admit(AX) == 7.0
    assert setup.breakers.admit(BX) == 3.0
    setup.breakers.adopt_closed("provider", "b")
    setup.breakers.adopt_closed("model", "nobody:m")
    assert set(setup.breakers.opened()) == {AX.id}
    assert setup.changes == []
    setup.wait(7)
    setup.call(AX, DOWN)
    assert setup.breakers.admit(AX) == 40.0, "it goes on from the other's third opening"


OUTCOMES = (None, "left", DOWN, UNREACHABLE, UpstreamStatus(429, b""), UpstreamStatus(400, b""))
STEPS = st.lists(
    st.tuples(
        st.sampled_from([AX, AY, BX]),
        st.sampled_from(OUTCOMES),
        st.sampled_from([0.0, 0.0, 0.1, 1.0, 4.0, 29.0, 100.0]),
        st.booleans(),
    ),
    max_size=150,
)


@given(STEPS)
def test_whatever_happens_few_probe_and_nothing_is_stuck(steps):
    setup = Setup(probes=2, max_open_seconds=40.0, probe_seconds=30.0)
    breakers = setup.breakers
    for card, outcome, pause, lost in steps:
        setup.wait(pause)
        held_back = card.id in breakers.opened()
        left = breakers.admit(card)
        assert (left > 0) == held_back
        assert 0 <= left <= 40.0
        for circuit in (*breakers._models.values(), *breakers._providers.values()):
            assert len(circuit.leases) <= 2
        if left == 0 and not lost:
            error = outcome if isinstance(outcome, PointsmanError) else None
            breakers.told(card, error, 0.5 if outcome is None else None)
    setup.wait(71.0)
    for card in (AX, AY, BX):
        for _ in range(2):
            setup.call(card)
        assert setup.state(card.id) == "closed"
    assert breakers.opened() == {}
    assert breakers._tripped == set()


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.9, 3.0, 10.0, 29.9, 31.0, 500.0]), st.booleans())))
def test_the_window_counts_what_a_list_of_calls_would(calls):
    rules = BreakerRules(window=30.0)
    circuit = ModelCircuit("a:x", ProviderCircuit("a"))
    now = 5_000.0
    seen: deque[tuple[int, bool]] = deque()
    for pause, failed in calls:
        now += pause
        if failed:
            circuit.failed(now, rules)
        else:
            circuit.answered(now, 0.5, rules)
        tick = int(now / 3.0)
        seen.append((tick, failed))
        within = [bad for at, bad in seen if tick - at < BUCKETS]
        circuit.turn(now, rules)
        assert (circuit.calls, circuit.errors) == (len(within), sum(within))
