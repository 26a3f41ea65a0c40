"""A network crosses as JSON, corrects the rules, explores within the allowance, and is refused when it is damaged."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from deciding import CATALOG, CHEAP, STRONG, card, signals

from pointsman.core.errors import InvalidRequest
from pointsman.core.features import EMBEDDED, VERSION
from pointsman.pipeline.decide import RulePolicy, kind_of, load_policy
from pointsman.pipeline.decide.explore import Allowance
from pointsman.pipeline.decide.network import ARM_FEATURES, INPUTS, Network, dump_network, read_inputs
from pointsman.pipeline.decide.predict import predict

MODELS = ("cheap", "never-there")


def network(rng: np.random.Generator | None = None, *, head: float = 0.0) -> Network:
    rng = rng or np.random.default_rng(0)
    return Network(
        models=MODELS,
        mean=np.zeros(INPUTS),
        scale=np.ones(INPUTS),
        hidden=rng.normal(size=(INPUTS, 4)),
        bias=np.zeros(4),
        head=head * rng.normal(size=(5, len(MODELS) + ARM_FEATURES)),
        temperature=0.1,
    )


def ranked(artefact: str, given, **more):
    policy = load_policy("network", artefact, version="net@1", base=RulePolicy())
    return policy.rank(predict(list(CATALOG), given), given, **more)


def test_a_network_that_says_nothing_ranks_as_the_rules():
    artefact = dump_network(network())
    assert kind_of(artefact) == "network"
    given = signals()
    rules = RulePolicy().rank(predict(list(CATALOG), given), given)
    found = ranked(artefact, given)
    assert [one.model for one in found] == [one.model for one in rules]
    assert [one.propensity for one in found] == [1.0] + [0.0] * (len(rules) - 1)


def test_it_corrects_the_rules():
    given, other = signals(), network(head=3.0)
    orders = {tuple(one.model for one in ranked(dump_network(each), given)) for each in (network(), other)}
    assert len(orders) == 2


def test_propensities_keep_to_the_allowance():
    given = signals()
    artefact = dump_network(network(head=0.3))
    free = ranked(artefact, given, allowance=Allowance(share=0.2, micro_usd=10**9))
    assert sum(one.propensity for one in free) == pytest.approx(1)
    assert free[0].propensity >= 0.8
    assert sum(one.propensity > 0 for one in free) == len(free)
    bound = ranked(artefact, given, allowance=Allowance(share=0.2, micro_usd=0))
    best = bound[0].cost_micro_usd or 0
    for one in bound[1:]:
        assert one.propensity == 0 or (one.cost_micro_usd or 0) <= best


def test_what_an_unknown_price_costs_is_not_found_out_by_trying():
    given, unpriced = signals(), card("openai:unpriced", quality=0.8)
    arms = predict([CHEAP, STRONG, unpriced], given)
    policy = load_policy("network", dump_network(network()), version="net@1", base=RulePolicy())
    allowance = Allowance(share=0.2, micro_usd=10**9)
    by_model = {one.model: one for one in policy.rank(arms, given, allowance=allowance)}
    first = next(iter(by_model))
    assert first != unpriced.id
    assert by_model[unpriced.id].propensity == 0
    assert all(one.propensity > 0 for model, one in by_model.items() if model != unpriced.id)


@pytest.mark.parametrize("least", [0.0, 0.05, 0.5])
def test_a_quality_floor_is_kept(least):
    given = msgspec.structs.replace(signals(), quality_floor=least)
    arms = predict(list(CATALOG), given)
    found = ranked(dump_network(network(head=3.0)), given, allowance=Allowance(share=0.2, micro_usd=10**9))
    best = max(arm.quality for arm in arms)
    kept = [arm for arm in arms if arm.quality >= best - least]
    assert found[0].model == min(kept, key=lambda arm: arm.weighed_micro_usd).card.id
    assert all(one.quality >= best - least for one in found if one.propensity)


def test_little_of_the_budget_left_leaves_it_to_the_rules():
    given = msgspec.structs.replace(signals(), budget_tier="low")
    rules = RulePolicy().rank(predict(list(CATALOG), given), given)
    assert ranked(dump_network(network(head=3.0)), given) == rules


def test_features_that_are_not_there_or_of_another_version_are_zeros():
    for features in (b"", b"\x00" * 300, bytes([VERSION + 1]) + b"\x7f" * 400):
        assert not read_inputs(msgspec.structs.replace(signals(), features=features))[:EMBEDDED].any()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"features": VERSION + 1}, "version"),
        ({"width": 0}, "width"),
        ({"temperature": 0.0}, "temperature"),
        ({"hidden": "AAAA"}, "hidden"),
        ({"head": "not base64!"}, "head"),
        ({"surplus": 1}, "surplus"),
        ({"bias": "AADAfwAAwH8AAMB/AADAfw=="}, "bias"),  # NaN four times
    ],
)
def test_a_damaged_one_is_refused_by_name(change, says):
    tree = {**msgspec.json.decode(dump_network(network())), **change}
    with pytest.raises(InvalidRequest, match=says):
        load_policy("network", msgspec.json.encode(tree), version="net@1", base=RulePolicy())
