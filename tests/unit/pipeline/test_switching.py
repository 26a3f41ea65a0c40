"""Leaving the model that a conversation is with: what it costs, when it is right, and how conversations are known."""

from __future__ import annotations

import msgspec
import pytest
from deciding import CHEAP, HOME, STRONG, card, signals

from pointsman.core.catalog import Catalog
from pointsman.core.outcome import Outcome
from pointsman.core.request import ChatRequest
from pointsman.core.signals import Conversation, Signals
from pointsman.pipeline.decide import Decide, DecideRules, RulePolicy
from pointsman.pipeline.decide.effort import with_efforts
from pointsman.pipeline.decide.failures import CALM, Failures
from pointsman.pipeline.decide.predict import predict
from pointsman.pipeline.decide.switching import DOWN, UP, weigh_switch
from pointsman.pipeline.decide.threads import FORGOTTEN_AFTER, InUse, Place, Threads
from pointsman.pipeline.understand import ComplexityRules, PrivacyRules, Understand

CACHING = card("openai:caching", quality=0.8, price_input=2_000_000, price_cached_input=200_000, price_output=8_000_000)
MARKED = card(
    "anthropic:marked",
    quality=0.8,
    price_input=3_000_000,
    price_cached_input=300_000,
    price_output=15_000_000,
    cache_write_percent=(125, 200),
)


def place(model: str, *, tokens: int = 20_000, age: float = 10.0, effort: str | None = None) -> Place:
    return Place(InUse("c1", model, effort, tokens, 1_000.0), 1_000.0 + age)


def arm_of(model: str, arms):
    return next(arm for arm in arms if arm.card.id == model)


def at(stage: str, what: Signals, **fields) -> Signals:
    return msgspec.structs.replace(what, conversation=Conversation(stage=stage, **fields))


def test_the_model_in_use_is_reckoned_with_what_its_cache_holds():
    what = signals(prompt=22_000)
    before = predict([CACHING, STRONG], what)
    after = weigh_switch(before, what, place(CACHING.id, tokens=20_000))
    expected = CACHING.cost_micro_usd(22_000, what.needs.expected_output, 20_000)
    assert arm_of(CACHING.id, after).cost_micro_usd == pytest.approx(expected, abs=1)
    assert arm_of(CACHING.id, after).latency_seconds < arm_of(CACHING.id, before).latency_seconds
    assert arm_of(STRONG.id, after).cost_micro_usd == arm_of(STRONG.id, before).cost_micro_usd


@pytest.mark.parametrize(
    ("model", "fields", "needs"),
    [
        (CACHING, {"age": 301.0}, {}),  # the cache has expired
        (CACHING, {"tokens": 1_000}, {}),  # too short to be cached
        (MARKED, {}, {"cache_marks": 0}),  # this provider caches what is marked
        (CHEAP, {}, {}),  # no price of cached tokens is known: none is assumed
    ],
)
def test_no_cache_no_saving(model, fields, needs):
    what = signals(prompt=22_000, **needs)
    before = predict([model], what)
    assert weigh_switch(before, what, place(model.id, **fields))[0].cost_micro_usd == before[0].cost_micro_usd


def test_marked_prompts_are_cached_where_marks_are_needed():
    what = signals(prompt=22_000, cache_marks=1)
    before = predict([MARKED], what)
    assert weigh_switch(before, what, place(MARKED.id))[0].cost_micro_usd < before[0].cost_micro_usd / 3


def test_up_is_cheap_and_down_is_dear_most_of_all_in_mid_work():
    what = signals()
    seen = weigh_switch(predict([HOME, CHEAP, STRONG], what), what, place(CHEAP.id))
    assert [arm.switching_cost for arm in seen] == [DOWN, 0.0, UP]
    working = at("edit", what, awaiting_tool_result=True)
    seen = weigh_switch(predict([HOME, CHEAP, STRONG], working), working, place(CHEAP.id))
    assert [arm.switching_cost for arm in seen] == [2 * DOWN, 0.0, 2 * UP]


def test_a_stuck_agent_is_let_go():
    what = at("stuck", signals())
    before = predict([CHEAP, STRONG], what)
    after = weigh_switch(before, what, place(CHEAP.id))
    assert arm_of(CHEAP.id, after).quality < arm_of(CHEAP.id, before).quality
    assert arm_of(STRONG.id, after).switching_cost == 0.0


def test_at_the_beginning_nothing_is_changed():
    what = signals()
    arms = predict([HOME, CHEAP, STRONG], what)
    assert weigh_switch(arms, what, Place(None, lambda name: 0.0, 0.0)) == arms


def test_a_local_model_that_nobody_used_has_to_be_loaded():
    big = card("ollama:big", local=True, load_seconds=9.0)
    what = signals()
    idle, warm = (
        weigh_switch(predict([big], what), what, Place(None, 1_000.0, {big.id: 1_000.0 - seconds}))[0]
        for seconds in (float("inf"), 10.0)
    )
    assert idle.latency_seconds == pytest.approx(warm.latency_seconds + 9.0)


def test_a_conversation_stays_until_the_gain_exceeds_the_cost():
    near = card("lan:near", quality=0.76, price_input=140_000, price_output=560_000)
    catalog = Catalog([CHEAP, near])
    stage = Decide(rules=DecideRules(), policy=RulePolicy())
    common = {"catalog": catalog, "unhealthy": {}, "key_id": None, "now": 1e9, "stream": False}
    what = signals()
    fresh = stage("auto", what, **common)
    other = next(model.id for model in catalog if model.id != fresh.model)
    stayed = stage("auto", what, **common, place=place(other))
    assert stayed.model == other
    better = Catalog([CHEAP, near, card("lan:far", quality=0.99, price_input=140_000, price_output=560_000)])
    assert (
        stage("auto", signals(complexity=0.9), **{**common, "catalog": better}, place=place(other)).model == "lan:far"
    )


def test_efforts_are_arms_and_a_named_effort_leaves_none():
    thinker = card(
        "openai:thinker", quality=0.8, price_input=1_000_000, price_output=8_000_000, efforts=("low", "high")
    )
    what = signals()
    own, low, high = with_efforts(predict([thinker], what), what.needs)
    assert (own.effort, low.effort, high.effort) == (None, "low", "high")
    assert low.quality < own.quality < high.quality
    assert low.cost_micro_usd < own.cost_micro_usd < high.cost_micro_usd
    assert low.latency_seconds < own.latency_seconds < high.latency_seconds
    named = signals(effort_named=True)
    assert [arm.effort for arm in with_efforts(predict([thinker], named), named.needs)] == [None]
    stage = Decide(rules=DecideRules(choose_effort=True), policy=RulePolicy())
    decision = stage(
        "auto", signals(complexity=0.1), catalog=Catalog([thinker]), unhealthy={}, key_id=None, now=1e9, stream=False
    )
    assert decision.effort == "low"
    assert decision.plan == ("openai:thinker",)
    assert sum(candidate.propensity for candidate in decision.candidates) == 1.0


# how conversations are known


def understood(*contents: str, key: bytes = b"k") -> Signals:
    roles = ("user", "assistant")
    messages = [{"role": "system", "content": "be brief"}]
    messages += [{"role": roles[place % 2], "content": text} for place, text in enumerate(contents)]
    understand = Understand(privacy=PrivacyRules(), complexity=ComplexityRules(), hash_key=key, windows=list)
    return understand(ChatRequest.build({"messages": messages}))


def kept(threads: Threads, what: Signals, *, key_id: str | None = None, now: float = 0.0):
    stage = Decide(rules=DecideRules(), policy=RulePolicy())
    decision = stage(
        "auto",
        what,
        catalog=Catalog([CHEAP]),
        unhealthy={},
        key_id=key_id,
        now=1e9,
        stream=False,
        place=threads.place(key_id, what, now),
    )
    threads.keep(decision, now)
    return decision


def test_the_turns_of_a_conversation_are_known_as_such():
    threads = Threads()
    first = kept(threads, understood("a"))
    second = kept(threads, understood("a", "b", "c"))
    third = kept(threads, understood("a", "b", "c", "d", "e"))
    assert first.conversation == second.conversation == third.conversation != ""
    assert threads.find(None, understood("a", "b", "c", "d", "e", "f", "g"), 1.0).model == CHEAP.id
    assert kept(threads, understood("other")).conversation != first.conversation


def test_a_process_that_did_not_see_the_first_turns_knows_the_conversation_by_the_same_name():
    first = kept(Threads(), understood("a"))
    elsewhere = Threads()
    assert kept(elsewhere, understood("a", "b", "c")).conversation == first.conversation
    long = ("a", *"bcdefghijklm" * 3)
    assert kept(elsewhere, understood(*long)).conversation != first.conversation  # its beginning is too far back
    assert kept(Threads(), understood("x", "b", "c")).conversation != first.conversation


def test_a_system_prompt_in_common_is_no_conversation():
    threads = Threads()
    kept(threads, understood("a"))
    assert threads.find(None, understood("b"), 0.0) is None


def test_the_same_prompt_once_more_is_free_to_go_elsewhere():
    threads = Threads()
    kept(threads, understood("a"))
    assert threads.find(None, understood("a"), 0.0) is None


def test_conversations_of_different_keys_are_apart():
    threads = Threads()
    kept(threads, understood("a"), key_id="key_1")
    assert threads.find("key_2", understood("a", "b", "c"), 0.0) is None
    assert threads.find("key_1", understood("a", "b", "c"), 0.0) is not None


def test_another_secret_gives_other_hashes():
    assert understood("a").prefixes != understood("a", key=b"other").prefixes


def test_conversations_are_forgotten_and_bounded():
    threads = Threads(most=10)
    kept(threads, understood("a"))
    assert threads.find(None, understood("a", "b", "c"), FORGOTTEN_AFTER + 1) is None
    assert threads.find(None, understood("a", "b", "c"), -5.0) is None  # a clock that went back proves nothing
    for number in range(30):
        kept(threads, understood(str(number)))
    assert len(threads) == 10


def test_after_a_fallback_the_conversation_is_with_who_answered():
    threads = Threads()
    decision = kept(threads, understood("a"))
    threads.answered(decision, Outcome(status="ok", model="lan:other"), 1.0)
    assert threads.find(None, understood("a", "b", "c"), 2.0).model == "lan:other"
    threads.answered(decision, Outcome(status="error", model="lan:third"), 3.0)
    assert threads.find(None, understood("a", "b", "c"), 4.0).model == "lan:other"


# an agent that is stuck


def agent(stage: str, turn: int) -> Signals:
    """A turn of one agent's conversation, each a tool's result longer than the one before."""
    what = understood(*(f"message {number}" for number in range(2 * turn + 1)))
    return at(stage, what, awaiting_tool_result=turn > 0)


def models_of(stages: list[str], catalog: Catalog) -> list[str]:
    threads, stage = Threads(), Decide(rules=DecideRules(), policy=RulePolicy())
    chosen = []
    for turn, name in enumerate(stages):
        what = agent(name, turn)
        common = {"catalog": catalog, "unhealthy": {}, "key_id": None, "now": 1e9, "stream": False}
        decision = stage("auto", what, **common, place=threads.place(None, what, float(turn)))
        threads.keep(decision, float(turn))
        chosen.append(decision.model)
    return chosen


WEAK = card("lan:weak", quality=0.55, price_input=50_000, price_output=200_000)
MIDDLE = card("lan:middle", quality=0.72, price_input=100_000, price_output=400_000)
BEST = card("lan:best", quality=0.9, price_input=1_000_000, price_output=4_000_000)


def test_a_stuck_agent_goes_up_and_stays_there_for_some_turns():
    stages = ["explore", "edit", "test", "stuck", "edit", "stuck", "edit", "test"]
    assert models_of(stages, Catalog([WEAK, MIDDLE, BEST])) == [*[WEAK.id] * 3, *[MIDDLE.id] * 2, *[BEST.id] * 3]


def test_a_stuck_agent_never_goes_to_a_weaker_model():
    stages = ["explore", *["stuck", "edit"] * 6]
    for weaker in (WEAK, MIDDLE):
        assert set(models_of(stages, Catalog([weaker, CHEAP]))[2:]) == {CHEAP.id}


def test_what_failed_is_not_held_against_a_model_for_ever():
    failures = Failures(most=2)
    failures.note("c", "edit", "a:m")
    assert failures.of("c") == ()
    failures.note("c", "stuck", "a:m")
    failures.note("c", "stuck", "b:m")
    assert failures.of("c") == ("a:m", "b:m")
    for _ in range(CALM - 1):
        failures.note("c", "edit", "b:m")
    assert failures.of("c") == ("a:m", "b:m")
    failures.note("c", "edit", "b:m")
    assert failures.of("c") == ()
    failures.note("c", "stuck", "a:m")
    failures.note("c", "done", "a:m")
    assert failures.of("c") == ()
    for name in ("d", "e", "f"):
        failures.note(name, "stuck", "a:m")
    assert (len(failures), failures.of("d")) == (2, ())
