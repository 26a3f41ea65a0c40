"""What is kept of a catalog says what would be worked out anew, and goes when the catalog or the settings change."""

from __future__ import annotations

from itertools import product

import pytest
from deciding import CATALOG, CHEAP, HOME, SECRET, STRONG, card, signals

from pointsman.core.budget import AMPLE, Means
from pointsman.core.caller import Caller, Scopes
from pointsman.core.catalog import Catalog
from pointsman.core.errors import ModelNotFound
from pointsman.core.signals import Privacy
from pointsman.pipeline.decide import Decide, DecideRules, RulePolicy, known
from pointsman.pipeline.decide.candidates import part
from pointsman.pipeline.decide.constraints import Demand, violations
from pointsman.pipeline.decide.known import Known
from pointsman.pipeline.decide.named import part_named
from pointsman.pipeline.decide.names import Requested
from pointsman.pipeline.decide.plan import chain
from pointsman.pipeline.decide.predict import predict

ODD = Catalog([*CATALOG, card("a:new", routable=False), card("b:bare", capabilities=frozenset({"chat"}))])
CONFINED = Caller(key_id="key_a", scopes=Scopes(models=("openai:*",)))
POOR = Means(remaining_micro_usd=10)


def demands():
    for prompt, tools, privacy in product((100, 5_000, 150_000), (False, True), (Privacy(), SECRET)):
        needs = signals(prompt=prompt, tools=tools).needs
        for unhealthy, caller, means, named in (
            ({}, None, AMPLE, frozenset()),
            ({}, None, AMPLE, frozenset({"a:new"})),
            ({"openai": "down"}, None, AMPLE, frozenset()),
            ({}, CONFINED, AMPLE, frozenset()),
            ({}, None, POOR, frozenset()),
        ):
            yield Demand(needs=needs, privacy=privacy, unhealthy=unhealthy, caller=caller, means=means, named=named)


def test_what_is_kept_is_what_the_constraints_say():
    kept = Known(ODD, DecideRules())
    for demand in [*demands(), *demands()]:
        assert kept.part(demand) == part(ODD, demand)
        for one in ODD:
            assert kept.violations(one, demand) == violations(one, demand)
        if demand.named:
            requested = Requested(mode="forced", cards=tuple(ODD[model] for model in sorted(demand.named)))
            none = part_named(requested.cards, demand, followers=lambda card: (), max_attempts=4)
            assert kept.named(requested, demand) == none


def test_a_plan_that_is_kept_is_that_of_the_order():
    kept, policy = Known(ODD, DecideRules(max_attempts=3)), RulePolicy()
    for complexity in (0.1, 0.9, 0.1, 0.9):
        what = signals(complexity=complexity)
        ranked = policy.rank(predict(CATALOG, what), what)
        first = ODD[ranked[0].model]
        assert kept.plan(ranked) == chain(
            first, ranked, catalog=ODD, max_attempts=3, equivalents=kept.equivalents(first)
        )
    assert len(kept._plans) == 2


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(known, "MOST", 4)
    many = [card(f"a:{number}") for number in range(50)]
    kept = Known(Catalog([HOME, *many]), DecideRules())
    for number in range(50):
        needs = signals(prompt=100).needs
        demand = Demand(needs=needs, privacy=Privacy(), unhealthy={}, named=frozenset({f"m:{number}"}))
        kept.part(demand)
        kept.violations(HOME, demand)
        kept.named(Requested(mode="forced", cards=(HOME,)), demand)
        kept.plan(RulePolicy().rank(predict([many[number], HOME], signals()), signals()))
    assert len(kept._pools) <= 4
    assert len(kept._named) <= 4
    assert len(kept._plans) <= 4
    assert len(kept._violations) <= 4
    for number in range(50):
        with pytest.raises(ModelNotFound):
            kept.requested(f"nobody:{number}")
    assert not kept._requested


def test_a_change_of_the_settings_or_of_the_catalog_holds_at_once():
    stage = Decide(rules=DecideRules(), policy=RulePolicy())

    def plan(name: str, catalog: Catalog) -> tuple[str, ...]:
        what = signals()
        return stage(name, what, catalog=catalog, unhealthy={}, key_id=None, now=1e9, stream=False).plan

    assert plan("cheap", CATALOG) == (CHEAP.id,)
    stage.rules = DecideRules(fallbacks={"cheap": ["strong"]})
    assert plan("cheap", CATALOG) == (CHEAP.id, STRONG.id)
    assert plan("cheap", Catalog([CHEAP])) == (CHEAP.id,)
    with pytest.raises(ModelNotFound):
        plan("strong", Catalog([CHEAP]))
    assert plan("strong", CATALOG) == (STRONG.id,)
