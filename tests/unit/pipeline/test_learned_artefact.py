"""Learned policies as JSON: what is dumped loads the same, and what makes no sense is refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learning import PLAIN, anchor, near, prior, unit

from pointsman.core.errors import InvalidRequest
from pointsman.core.features import VERSION, WIDTH
from pointsman.pipeline.decide import LearnedPolicy, RulePolicy, kind_of, load_policy
from pointsman.pipeline.decide.learned.artefact import (
    Exploration,
    Head,
    Learned,
    LearnedArtefact,
    Posterior,
    dump_artefact,
    pack,
    read_artefact,
    unpack,
)
from pointsman.pipeline.decide.learned.context import CONTEXT_WIDTH
from pointsman.pipeline.decide.learned.shipped import shipped
from pointsman.pipeline.decide.utility import MOST_WEIGHT
from pointsman.settings import checks

RNG = np.random.default_rng(5)
FULL = LearnedArtefact(
    features=VERSION,
    prior=prior(anchor(-1.0, digits=2.0), anchor(1.0), near=near(unit(RNG), unit(RNG))),
    heads={"p:m": Head(weights=pack(RNG.normal(size=WIDTH)), bias=0.5, count=300)},
    posterior=Posterior(prior_sd=0.2, noise_sd=0.4, half_life_days=10.0),
    state={"p:m": Learned(precision=pack(np.eye(CONTEXT_WIDTH).ravel()), shift=pack(np.zeros(CONTEXT_WIDTH)), at=1e9)},
    utility={"balanced": {"cost": 50.0}},
    complexity_threshold=0.5,
    exploration=Exploration(method="igw", share=0.01),
    floor=0.02,
)


def test_what_is_dumped_loads_as_the_same_policy():
    assert read_artefact(dump_artefact(FULL)) == FULL
    assert read_artefact(dump_artefact(PLAIN)) == PLAIN
    assert (kind_of(dump_artefact(FULL)), kind_of("{}")) == ("learned", "rules")
    policy = load_policy("learned", dump_artefact(FULL), version="mine@4", base=RulePolicy(default_provider="lan"))
    assert isinstance(policy, LearnedPolicy)
    assert policy.version == "mine@4"
    assert (policy.weights["balanced"].cost, policy.complexity_threshold) == (50.0, 0.5)
    assert policy.weights["speed"] == RulePolicy().weights["speed"]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_numbers_are_packed_to_the_bit(numbers):
    assert list(unpack(pack(numbers), len(numbers), "here")) == numbers


def broken(**changes: object) -> str:
    tree = json.loads(dump_artefact(FULL))
    for path, value in changes.items():
        place = tree
        *above, last = path.split("__")
        for step in above:
            place = place[int(step) if isinstance(place, list) else step]
        place[last] = value
    return json.dumps(tree)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"features": VERSION + 1}, "train it anew"),
        ({"prior": None}, "without a prior"),
        ({"surprise": 1}, "surprise"),
        ({"prior__mean": "!"}, "prior.mean: this is not base64"),
        ({"prior__mean": pack([0.0] * 3)}, f"prior.mean: {WIDTH} numbers"),
        ({"prior__mean": pack([math.nan] * WIDTH)}, "prior.mean: a number in it is not finite"),
        ({"prior__scale": pack([0.0] * WIDTH)}, "above 0"),
        ({"prior__anchors__1__weights": pack([math.inf] * WIDTH)}, r"anchors\[1\].weights: a number"),
        ({"prior__anchors__1__ability": -1.0}, "must rise"),
        ({"prior__near__inner": 0.9}, "inner must be below outer"),
        ({"prior__near__count": 3}, "prior.near.centres"),
        ({"heads__p:m__weights": pack([0.0])}, "heads.p:m.weights"),
        ({"posterior__noise_sd": 0.0}, "noise_sd is 0.0: it must be between 0.0001"),
        ({"posterior__prior_sd": 1e300}, "prior_sd is 1e\\+300"),
        ({"state__p:m__precision": pack((-25.5 * np.eye(CONTEXT_WIDTH)).ravel())}, "not positive definite"),
        (
            {"state__p:m__precision": pack((100 * (np.ones((CONTEXT_WIDTH,) * 2) - np.eye(CONTEXT_WIDTH))).ravel())},
            "not positive definite",
        ),
        ({"posterior__half_life_days": -1.0}, "half_life_days"),
        ({"state__p:m__shift": pack([math.inf] * CONTEXT_WIDTH)}, "state.p:m.shift"),
        ({"context": 99}, "contexts of version 99"),
        ({"exploration__share": 1.5}, "between 0 and 1"),
        ({"floor": -0.1}, "floor is -0.1"),
        ({"utility": {"balanced": {"price": 1.0}}}, "has no 'price'"),
        ({"utility": {"balanced": {"cost": -1.0}}}, "between 0 and"),
        ({"utility": {"balanced": {"cost": 1e308}}}, "between 0 and"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, says):
    with pytest.raises(InvalidRequest, match=says):
        load_policy("learned", broken(**changes), version="mine@1", base=RulePolicy())


def test_what_observations_leave_behind_is_positive_definite():
    rows = RNG.normal(size=(5, CONTEXT_WIDTH))
    state = {"p:m": Learned(precision=pack((1e4 * rows.T @ rows).ravel()), shift=pack(np.zeros(CONTEXT_WIDTH)), at=1e9)}
    assert read_artefact(dump_artefact(msgspec.structs.replace(FULL, state=state))).state == state


@pytest.mark.parametrize("content", [b"", b'{"a":' + b"[" * 100_000, b"null"])
def test_what_is_no_policy_has_no_kind(content):
    with pytest.raises(InvalidRequest, match="not a policy"):
        kind_of(content)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{", b"[]", b'{"features": 1e999}'])
def test_what_is_no_artefact_is_refused(content):
    with pytest.raises(InvalidRequest):
        load_policy("learned", content, version="mine@1", base=RulePolicy())


def test_reading_one_and_ranking_what_was_not_read_take_no_numpy():
    script = (
        "import sys\n"
        "from pointsman.pipeline.decide import LearnedPolicy, RulePolicy, load_policy\n"
        "from pointsman.core.catalog import ModelCard\n"
        "from pointsman.core.signals import *\n"
        "from pointsman.pipeline.decide.predict import predict\n"
        "policy = load_policy('learned', sys.stdin.read(), version='m@1', base=RulePolicy())\n"
        "what = Signals(complexity=Complexity(score=0.3, length=0, terms=0, structure=0), privacy=Privacy(),\n"
        "               needs=Needs(), conversation=Conversation())\n"
        "print(policy.rank(predict([ModelCard(id='p:m', provider='p', name='m')], what), what)[0].model)\n"
        "assert 'numpy' not in sys.modules\n"
    )
    content = dump_artefact(msgspec.structs.replace(FULL, state=None))
    done = subprocess.run(
        [sys.executable, "-c", script], input=content, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "p:m", done.stderr


def test_the_one_that_ships_can_be_read():
    assert shipped().features == VERSION


def test_the_settings_name_the_weights_that_there_are():
    assert set(checks.WEIGHTS) == set(RulePolicy().weights["balanced"].__dataclass_fields__)
    assert checks.MOST_WEIGHT == MOST_WEIGHT
