"""What is believed of models before anything was observed."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from deciding import EVERYTHING, anything, card, catalogs, signals
from hypothesis import given, settings
from hypothesis import strategies as st
from learning import PLAIN, anchor, asked, features, near, prior, unit

from pointsman.core.features import VERSION, WIDTH, decode
from pointsman.pipeline.decide.learned.artefact import Head, LearnedArtefact, pack
from pointsman.pipeline.decide.learned.success import Success
from pointsman.pipeline.decide.predict import SIMULATED_TOOLS, predict

RNG = np.random.default_rng(11)
CENTRE = unit(RNG)


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def believed(success: Success, cards, what) -> list[float]:
    x = decode([what.features])[0] if what.features else None
    return success(predict(cards, what), what, x)


def at(quality: float, **fields):
    return card(f"p:{quality}", quality=quality, **fields)


def reading(embedding=CENTRE, structure: float = 0.5, **wishes):
    return msgspec.structs.replace(signals(**wishes), features=features(embedding, structure))


@given(catalogs(), anything(), st.booleans())
@settings(max_examples=40)
def test_without_training_what_was_predicted_stays(catalog, what, read):
    what = msgspec.structs.replace(what, features=features(CENTRE) if read else b"")
    arms = predict(catalog, what)
    x = decode([what.features])[0] if read else None
    assert Success(PLAIN)(arms, what, x) == [arm.quality for arm in arms]


def test_models_lie_between_the_anchors_by_their_ability():
    success = Success(LearnedArtefact(features=VERSION, prior=prior(anchor(-1.0, bias=-2.0), anchor(1.0, bias=0.5))))
    cards = [at(sigmoid(-1.0)), at(0.5), at(sigmoid(1.0)), at(sigmoid(-3.0)), at(sigmoid(2.5))]
    found = believed(success, cards, reading())
    assert found == pytest.approx([sigmoid(logit) for logit in (-2.0, -0.75, 0.5, -4.0, 2.0)], abs=1e-6)


def test_what_the_anchors_say_depends_on_the_prompt():
    artefact = LearnedArtefact(features=VERSION, prior=prior(anchor(-1.0, digits=-4.0), anchor(1.0, digits=-4.0)))
    easy, hard = (believed(Success(artefact), [at(0.5)], reading(structure=much))[0] for much in (0.0, 1.0))
    assert easy == pytest.approx(0.5, abs=1e-6)
    assert hard == pytest.approx(sigmoid(-4.0), abs=1e-6)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.floats(-3, 3), st.floats(-3, 3))
@settings(max_examples=60)
def test_more_ability_is_never_believed_to_succeed_less(qualities, low, high):
    artefact = LearnedArtefact(features=VERSION, prior=prior(anchor(-1.0, bias=low), anchor(1.0, bias=high)))
    found = believed(Success(artefact), [at(quality) for quality in sorted(qualities)], reading())
    assert all(one <= other + 1e-9 for one, other in pairwise(found))
    assert all(0 <= one <= 1 for one in found)


def test_far_from_everything_seen_it_falls_back_to_the_priors():
    gated = LearnedArtefact(
        features=VERSION, prior=prior(anchor(-1.0, bias=-5.0), anchor(1.0, bias=-5.0), near=near(CENTRE))
    )
    far = unit(RNG)
    far -= far @ CENTRE * CENTRE
    far /= np.linalg.norm(far)
    cards = [at(0.3), at(0.9)]
    outside, inside = reading(far), reading(CENTRE)
    assert believed(Success(gated), cards, outside) == [arm.quality for arm in predict(cards, outside)]
    assert max(believed(Success(gated), cards, inside)) < 0.03
    half = reading(0.5 * CENTRE + math.sqrt(0.75) * far)  # a cosine distance of 0.5, half-way between the bounds
    prior_logit = math.log(0.9 / 0.1)
    trained = -5.0 + prior_logit - 1.0  # beyond the strongest anchor
    assert believed(Success(gated), [at(0.9)], half)[0] == pytest.approx(
        sigmoid(0.5 * prior_logit + 0.5 * trained), abs=0.02
    )


def test_an_empty_embedding_is_near_nothing():
    gated = LearnedArtefact(
        features=VERSION, prior=prior(anchor(-1.0, bias=-5.0), anchor(1.0, bias=-5.0), near=near(CENTRE))
    )
    nothing = reading(np.zeros(256))
    assert believed(Success(gated), [at(0.9)], nothing) == [arm.quality for arm in predict([at(0.9)], nothing)]


def test_a_model_that_was_trained_with_has_a_head_of_its_own():
    heads = {
        "m1": Head(weights=pack(np.zeros(WIDTH)), bias=3.0),
        "q:m2": Head(weights=pack(np.zeros(WIDTH)), bias=-3.0),
    }
    success = Success(LearnedArtefact(features=VERSION, prior=prior(anchor(-1.0), anchor(1.0)), heads=heads))
    cards = [card("p:m1", quality=0.5), card("p:m2", quality=0.5), card("q:m2", quality=0.5)]
    assert believed(success, cards, reading()) == pytest.approx([sigmoid(3.0), 0.5, sigmoid(-3.0)], abs=1e-6)


def test_an_effort_moves_a_head_as_it_moves_the_prior():
    heads = {"m": Head(weights=pack(np.zeros(WIDTH)), bias=1.0)}
    success = Success(LearnedArtefact(features=VERSION, prior=prior(anchor(-1.0), anchor(1.0)), heads=heads))
    what = reading()
    [arm] = predict([card("p:m", quality=0.5)], what)
    harder = msgspec.structs.replace(arm, effort="high", prior=sigmoid(0.4))
    found = success([arm, harder], what, decode([what.features])[0])
    assert found == pytest.approx([sigmoid(1.0), sigmoid(1.4)], abs=1e-6)


def test_what_a_model_lacks_is_taken_off():
    success = Success(LearnedArtefact(features=VERSION, prior=prior(anchor(-1.0, bias=2.0), anchor(1.0, bias=2.0))))
    taught = card("p:m", quality=0.5, capabilities=EVERYTHING, simulated=frozenset({"tools"}))
    [plain], [tools] = (believed(success, [taught], reading(tools=needed)) for needed in (False, True))
    assert tools == pytest.approx(SIMULATED_TOOLS * plain)


def test_many_requests_at_once_are_believed_as_one_by_one():
    artefact = LearnedArtefact(
        features=VERSION,
        prior=prior(anchor(-1.0, digits=3.0), anchor(1.0, lines=-2.0), near=near(CENTRE, inner=0.5, outer=1.1)),
        heads={"m3": Head(weights=pack(RNG.normal(size=WIDTH) / 10), bias=0.1)},
    )
    asks = [asked(RNG, complexity=place / 20) for place in range(12)]
    asks[4] = signals()  # never read
    cards = [card(f"p:m{place % 5}", quality=0.2 + place / 20) for place in range(12)]
    arms = [predict([one], what)[0] for one, what in zip(cards, asks, strict=True)]
    alone = [believed(Success(artefact), [one], what)[0] for one, what in zip(cards, asks, strict=True)]
    assert Success(artefact).paired(arms, asks) == pytest.approx(alone, abs=1e-5)
