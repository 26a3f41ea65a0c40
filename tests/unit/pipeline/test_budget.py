"""Money without a store: the worst case bounds the cost, charges, periods, tiers in the choice, refusals."""

from __future__ import annotations

import calendar
import json

import msgspec
import pytest
from deciding import CATALOG, CHEAP, HOME, STRONG, anything, card, catalogs, decide, signals
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core import tokens
from pointsman.core.budget import UNMEASURED, Budget, Means, charges, worst_case_micro_usd
from pointsman.core.catalog import Catalog
from pointsman.core.errors import BudgetExceeded, UpstreamStatus, UpstreamTimeout
from pointsman.core.events import Usage
from pointsman.core.periods import period_of
from pointsman.core.ports import SystemClock
from pointsman.core.request import ChatRequest
from pointsman.core.signals import Needs
from pointsman.core.trail import Trail
from pointsman.pipeline.decide.policy import RulePolicy
from pointsman.pipeline.decide.predict import predict
from pointsman.pipeline.understand import ComplexityRules, PrivacyRules, Understand

PRICED = card("p:m", price_input=3_000_000, price_output=15_000_000, price_cached_input=300_000, max_output=4_096,
              context_window=100_000)  # fmt: skip
MONTHLY = Budget(
    total="global:2026-11", scope="global", name="", cycle="monthly", period="2026-11", cap_micro_usd=5_000_000,
    resets_at=1_700_000_900.0, used_micro_usd=4_990_000,
)  # fmt: skip


def means(tier="high", remaining=None, **fields):
    return Means(tier=tier, remaining_micro_usd=remaining, left_share=0.22, scarcest=MONTHLY, **fields)


@given(
    st.integers(0, 50_000), st.integers(0, 50_000), st.integers(0, 20_000), st.integers(1, 8), st.integers(0, 10**7),
    st.integers(0, 10**8), st.none() | st.integers(0, 10**8),
)  # fmt: skip
def test_the_cost_never_exceeds_the_worst_case(prompt, cached, output, choices, price_in, price_out, price_cached):
    priced = msgspec.structs.replace(PRICED, price_input=price_in, price_output=price_out,
                                     price_cached_input=price_cached)  # fmt: skip
    needs = Needs(prompt_tokens_high=prompt, prompt_tokens_most=prompt, output_most=output or None, choices=choices)
    longest = min(output or 4_096, 100_000)
    worst = worst_case_micro_usd(priced, needs)
    assert worst is not None
    for share in (0, 0.5, 1):
        cost = priced.cost_micro_usd(int(prompt * share), int(longest * choices * share), cached)
        assert cost is not None
        assert 0 <= cost <= worst


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=0, max_size=300), min_size=1, max_size=6), st.booleans())
def test_no_tokenizer_takes_more_than_the_bound_of_the_prompt(texts, with_tools):
    fields = {"model": "auto", "messages": [{"role": "user", "content": text} for text in texts]}
    if with_tools:
        fields["tools"] = [{"type": "function", "function": {"name": "f", "description": texts[0], "parameters": {}}}]
    request = ChatRequest.parse(json.dumps(fields).encode())
    understand = Understand(privacy=PrivacyRules(), complexity=ComplexityRules(), hash_key=b"k" * 32, windows=list)
    needs = understand(request).needs
    for encoding in ("o200k_base", "cl100k_base"):
        counted = sum(tokens.count(text, encoding) + 5 for text in texts) + 3
        if with_tools:
            counted += tokens.count(json.dumps(fields["tools"], ensure_ascii=False), encoding)
        assert counted <= needs.prompt_tokens_most


def needs_of(**fields):
    body = {"messages": [{"role": "user", "content": "hi"}], **fields}
    understand = Understand(privacy=PrivacyRules(), complexity=ComplexityRules(), hash_key=b"k" * 32, windows=list)
    return understand(ChatRequest.build(body)).needs


def test_of_two_bounds_the_larger_may_be_heeded():
    assert needs_of(max_tokens=9_000, max_completion_tokens=10).output_most == 9_000
    assert needs_of().output_most is None


def test_what_cannot_be_measured_takes_the_whole_window():
    sound = [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]
    needs = needs_of(messages=[{"role": "user", "content": sound}], max_tokens=10)
    assert needs.prompt_tokens_most == UNMEASURED
    assert worst_case_micro_usd(PRICED, needs) == -(-(100_000 * 3_000_000 + 10 * 15_000_000) // 1_000_000)
    assert worst_case_micro_usd(msgspec.structs.replace(PRICED, context_window=None), needs) is None


@pytest.mark.parametrize(
    ("fields", "needs", "longest"),
    [
        ({}, {"output_most": 100}, 100),
        ({}, {}, 4_096),
        ({}, {"output_most": 10**9}, 100_000),
        ({"max_output": None}, {}, 100_000),
        ({"max_output": None, "context_window": None}, {}, None),
        ({"price_output": None}, {"output_most": 1}, None),
    ],
)
def test_the_longest_answer(fields, needs, longest):
    worst = worst_case_micro_usd(msgspec.structs.replace(PRICED, **fields), Needs(**needs))
    assert worst == (None if longest is None else longest * 15)


def test_what_an_attempt_is_charged():
    trail = Trail(SystemClock())
    needs = Needs(output_most=100)
    for end in (
        UpstreamStatus(500, b""), UpstreamStatus(504, b""), UpstreamTimeout("connect", 1), UpstreamTimeout("total", 1),
    ):  # fmt: skip
        step = trail.begin(PRICED)
        step.failed(end)
    step = trail.begin(PRICED)  # a stream whose client left after the usage had come
    step.first_byte()
    step.used(Usage(5, 10), final=True)
    step.cancelled()
    step = trail.begin(PRICED)  # one that was left in the middle, of an upstream that counts as it goes
    step.first_byte()
    step.used(Usage(0, 10))
    step.cancelled()
    step = trail.begin(PRICED)  # a whole answer without usage
    step.first_byte()
    step.succeeded()
    step = trail.begin(HOME)
    assert [charge.micro_usd for charge in charges(trail, needs)] == [0, 1_500, 0, 1_500, 165, 1_500, 1_500, 0]
    several = msgspec.structs.replace(needs, choices=2)
    assert charges(trail, several)[4].micro_usd == 3_000, "another choice may have been under way"


def test_upstreams_that_tell_nonsense_never_earn_money_back():
    assert PRICED.cost_micro_usd(10, 0, 10**9) == 3


@given(st.integers(0, 4_000_000_000))
def test_periods(now):
    period = period_of(now)
    assert period.day.startswith(period.month)
    assert now < period.day_ends <= now + 86_400
    assert period.day_ends <= period.month_ends
    assert period_of(period.month_ends).month > period.month
    assert period_of(period.month_ends - 1).month == period.month


def test_a_year_ends():
    period = period_of(calendar.timegm((2026, 12, 31, 23, 59, 59)))
    assert period[:2] == ("2026-12-31", "2026-12")
    assert period_of(period.month_ends)[:2] == ("2027-01-01", "2027-01")


@given(catalogs(plain=True), anything())
def test_a_lower_tier_never_raises_the_cost_of_the_choice(catalog, what):
    arms = predict(catalog, what)
    costs = {arm.card.id: arm.weighed_micro_usd for arm in arms}
    chosen = [
        costs[RulePolicy().rank(arms, msgspec.structs.replace(what, budget_tier=tier))[0].model]
        for tier in ("high", "medium", "low")
    ]
    assert chosen == sorted(chosen, reverse=True)


def test_as_money_runs_out_the_mix_moves_to_cheaper_and_local_models():
    easy = signals(complexity=0.1)
    assert decide("auto", easy).model == CHEAP.id
    low = decide("auto", easy, means=means("low"))
    assert (low.model, low.signals.budget_tier) == (HOME.id, "low")
    assert any("monthly budget is at 22%: local models go first" in reason for reason in low.reasons)
    hard = signals(complexity=0.9)
    assert decide("auto", hard).model == STRONG.id
    assert decide("auto", hard, means=means("medium")).model in (STRONG.id, CHEAP.id)


def test_the_map_of_tiers_restricts_the_choice_when_one_of_them_is_able():
    tiers = {"low": {"general": ["strong"]}, "medium": {"*": ["embedded:small", "nowhere:x"]}}
    assert decide("auto", means=means("low"), tier_models=tiers).model == STRONG.id
    medium = decide("auto", means=means("medium"), tier_models=tiers)
    assert medium.plan == ("embedded:small",)
    assert {drop.constraint for drop in medium.dropped} == {"tier"}
    long = signals(prompt=100_000)
    assert decide("auto", long, means=means("medium"), tier_models=tiers).model != "embedded:small"


def test_models_that_cannot_be_afforded_are_dropped_and_a_free_one_steps_in():
    decision = decide("auto", signals(max_output=1_000, complexity=0.9), means=means(remaining=100))
    assert {decision.model, *decision.plan} <= {HOME.id, "embedded:small"}
    [drop] = [drop for drop in decision.dropped if drop.model == STRONG.id]
    assert drop.constraint == "budget"
    assert "the monthly budget has $0.01 left" in drop.detail


def test_a_named_model_that_cannot_be_afforded_is_refused_with_all_that_helps():
    with pytest.raises(BudgetExceeded) as caught:
        decide(STRONG.id, signals(max_output=1_000), means=means(remaining=10_000))
    error = caught.value
    assert (error.status, error.type, error.code) == (429, "insufficient_quota", "budget_exceeded")
    for words in (STRONG.id, "$0.014", "$0.01 left", "$5.00", "starts anew at", "max_tokens"):
        assert words in error.message
    assert error.retry_after == 900
    assert (b"x-should-retry", b"false") in error.headers
    assert HOME.id in error.alternatives


def test_without_any_free_model_auto_is_refused():
    with pytest.raises(BudgetExceeded):
        decide("auto", catalog=Catalog([CHEAP, STRONG]), means=means(remaining=0))


def test_a_model_without_a_price_is_refused_under_a_hard_cap_alone():
    unknown = card("p:mystery")
    with pytest.raises(BudgetExceeded, match=r"set providers\.p\.prices") as caught:
        decide("p:mystery", catalog=Catalog([unknown]), means=means(remaining=10**9))
    assert caught.value.code == "price_unknown"
    assert decide("p:mystery", catalog=Catalog([unknown]), means=Means(tier="low")).model == "p:mystery"


def test_a_model_of_its_own_budget():
    broke = Means(models={CHEAP.id: 0}, scarcest_of={CHEAP.id: MONTHLY})
    assert CHEAP.id not in decide("auto", means=broke, catalog=CATALOG).plan
