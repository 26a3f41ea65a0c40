"""Local first, and a provider that a caller forces."""

from __future__ import annotations

import pytest
from deciding import CATALOG, CHEAP, HOME, RIVAL, SECRET, SMALL, STRONG, card, signals
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.caller import Caller, Scopes
from pointsman.core.catalog import Catalog
from pointsman.core.errors import Forbidden, InvalidRequest, PrivacyWall, UpstreamError
from pointsman.pipeline.decide import Decide, DecideRules, RulePolicy
from pointsman.pipeline.decide.effort import with_efforts
from pointsman.pipeline.decide.hybrid import WILL_DO, rank_local_first
from pointsman.pipeline.decide.predict import predict
from pointsman.pipeline.decide.recommend import GOOD, TIERS, USES, recommend, recommended_uses

PRIORITIES = sorted(WILL_DO)


def decide(model="auto", what=None, *, catalog=CATALOG, rules=None, **asked):
    stage = Decide(rules=rules or DecideRules(), policy=RulePolicy())
    usual = {"catalog": catalog, "unhealthy": {}, "key_id": None, "now": 1e9, "stream": False}
    return stage(model, what or signals(), **{**usual, **asked})


@given(
    complexity=st.floats(0, 1),
    priority=st.sampled_from(PRIORITIES),
    cards=st.lists(st.sampled_from([SMALL, HOME, CHEAP, STRONG, RIVAL]), min_size=1, unique_by=lambda card: card.id),
)
def test_those_that_will_do_come_first_and_nobody_is_lost(complexity, priority, cards):
    what = signals(complexity=complexity, priority=priority)
    arms = predict(cards, what)
    policy = RulePolicy()
    ranked = rank_local_first(policy, arms, what, preferred=frozenset())
    assert {one.model for one in ranked} == {card.id for card in cards}
    assert sum(one.propensity for one in ranked) == pytest.approx(1)
    local = {card.id for card in cards if card.local}
    quality = {one.model: one.quality for one in ranked}
    able = {name for name in local if quality[name] >= WILL_DO[priority] * max(quality.values())}
    if able:
        assert {one.model for one in ranked[: len(able)]} == able
        assert ranked[0].propensity == 1
    else:
        assert ranked == policy.rank(arms, what)


def test_an_effort_that_will_not_do_comes_after_the_one_that_will():
    thinks = card("ollama:thinks", local=True, quality=0.6, efforts=("low", "high"))
    what = signals(complexity=0.65, priority="quality")
    for others in ([], [CHEAP]):
        arms = with_efforts(predict([thinks, *others], what), what.needs)
        ranked = rank_local_first(RulePolicy(), arms, what, preferred=frozenset())
        assert {(one.model, one.effort) for one in ranked} == {(arm.card.id, arm.effort) for arm in arms}
        assert [one.propensity for one in ranked] == [1.0, *[0.0] * (len(arms) - 1)]
    alone = decide(what=what, catalog=Catalog([thinks]), rules=DecideRules(choose_effort=True), local_first=True)
    assert (alone.model, len(alone.candidates)) == (thinks.id, 3)


def test_a_hybrid_plan_leaves_only_when_those_at_home_fail():
    plan = decide(what=signals(complexity=0.1), local_first=True).plan
    assert plan[0] == HOME.id
    assert any(name not in (HOME.id, SMALL.id) for name in plan)
    assert decide(what=signals(complexity=0.9), local_first=True).model == STRONG.id


def test_a_hybrid_plan_of_a_private_request_never_leaves():
    plan = decide(what=signals(complexity=0.9, privacy=SECRET), local_first=True).plan
    assert set(plan) <= {HOME.id, SMALL.id}


def test_a_forced_provider():
    assert decide(force_provider="anthropic").plan == (RIVAL.id,)
    assert set(decide(force_provider="openai").plan) <= {CHEAP.id, STRONG.id}
    with pytest.raises(InvalidRequest, match="there are: anthropic, embedded, ollama, openai"):
        decide(force_provider="gemini")
    with pytest.raises(InvalidRequest, match="openai does not serve"):
        decide("ollama:home", force_provider="openai")
    assert decide("openai:strong", force_provider="openai").model == STRONG.id
    with pytest.raises(PrivacyWall):
        decide(what=signals(privacy=SECRET), force_provider="openai")
    with pytest.raises(PrivacyWall):
        decide("openai:strong", signals(privacy=SECRET), force_provider="openai")


def test_the_settings_provider_comes_first():
    rules = DecideRules(force_provider="ollama")
    assert decide(rules=rules, force_provider="ollama").model == HOME.id
    with pytest.raises(Forbidden, match="allows only ollama") as caught:
        decide(rules=rules, force_provider="openai")
    assert caught.value.code == "provider_not_allowed"


def test_a_provider_that_is_away_or_not_for_this_key():
    away = Catalog(CATALOG, absent={"gemini": "refused at 10.0.0.7"})
    with pytest.raises(UpstreamError) as caught:
        decide(catalog=away, force_provider="gemini")
    assert caught.value.plain == "The provider gemini is away."
    confined = Caller(key_id="k", admin=False, scopes=Scopes(models=("ollama:*",)))
    for name in ("gemini", "openai"):
        with pytest.raises(InvalidRequest, match=r"there are: ollama\.$"):
            decide(catalog=away, force_provider=name, caller=confined)


@pytest.mark.parametrize("use", sorted(USES))
@pytest.mark.parametrize("tier", sorted(TIERS))
def test_every_use_has_a_recommendation_that_can_do_it(use, tier):
    found = recommend(CATALOG, USES[use], TIERS[tier], policy=RulePolicy(), unhealthy={RIVAL.id: "down"})
    assert found
    assert RIVAL.id not in {one.card.id for one in found}
    assert all(one.card.local for one in found) or use != "private"
    assert all((one.card.context_window or 0) > 100_000 for one in found) or use != "long_context"
    if TIERS[tier] == "quality" and use not in ("private", "long_context"):
        assert found[0].card.id == STRONG.id
        assert "the strongest" in found[0].why


def test_what_a_model_is_good_for():
    coder = card("a:coder", quality=0.4, qualities={"tests": 0.7, "review": GOOD})
    assert recommended_uses(coder) == ["tests", "review"]
    assert recommended_uses(card("a:weak", quality=0.2, qualities={"math": 0.3})) == ["math"]
    assert recommended_uses(card("a:vectors", capabilities=frozenset({"embeddings"}))) == ["embeddings"]
