"""Policies as JSON."""

from __future__ import annotations

import json

import pytest

from pointsman.core.errors import InvalidRequest
from pointsman.pipeline.decide import RulePolicy, dump_policy, load_policy
from pointsman.pipeline.decide.policy import WEIGHTS


def load(tree: object) -> RulePolicy:
    policy = load_policy("rules", json.dumps(tree), version="mine@3", base=RulePolicy(default_provider="lan"))
    assert isinstance(policy, RulePolicy)
    return policy


def test_what_is_dumped_loads_as_the_same_policy():
    built_in = RulePolicy(complexity_threshold=0.5)
    policy = load(json.loads(dump_policy(built_in)))
    assert (policy.weights, policy.complexity_threshold) == (dict(WEIGHTS), 0.5)
    assert (policy.version, policy.default_provider) == ("mine@3", "lan")


def test_what_is_left_out_is_as_built_in():
    policy = load({"weights": {"balanced": {"cost": 99.5}}})
    assert policy.weights["balanced"].cost == 99.5
    assert policy.weights["balanced"].enough == WEIGHTS["balanced"].enough
    assert policy.weights["speed"] == WEIGHTS["speed"]
    assert policy.complexity_threshold == RulePolicy().complexity_threshold


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"weights": {"balanced": {"price": 1}}}, "has no 'price'"),
        ({"weights": {"balanced": {"cost": -1}}}, "between 0 and"),
        ({"weights": {"cheap": {"cost": 1}}}, "cheap"),
        ({"complexity_threshold": 1.5}, "between 0 and 1"),
        ({"surprise": 1}, "surprise"),
        ([], "not a policy"),
    ],
)
def test_what_makes_no_sense_is_refused(tree, says):
    with pytest.raises(InvalidRequest, match=says):
        load(tree)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{", b'{"weights": {"balanced": {"cost": 1e999}}}'])
def test_what_is_no_json_is_refused(content):
    with pytest.raises(InvalidRequest):
        load_policy("rules", content, version="mine@1", base=RulePolicy())


def test_another_kind_is_refused():
    with pytest.raises(InvalidRequest, match="bandit"):
        load_policy("bandit", "{}", version="mine@1", base=RulePolicy())
