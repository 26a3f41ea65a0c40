"""The learned classifier of intents: what it adds to the rules, and that it is made anew the same."""

from __future__ import annotations

import base64
import struct
from importlib import resources

import msgspec
import numpy as np
import pytest

from pointsman.core.features import decode
from pointsman.core.signals import Intent
from pointsman.learn.intent.asks import own_asks
from pointsman.learn.intent.softmax import SoftmaxRegression, platt, softmax
from pointsman.learn.intent.training import answers, by_source, calibrate, cross_validated, fit, read_inputs, train
from pointsman.pipeline.understand import ComplexityRules, FeatureReader, PrivacyRules, Understand
from pointsman.pipeline.understand.ask import find_ask
from pointsman.pipeline.understand.complexity import ComplexityScore
from pointsman.pipeline.understand.intent import IntentRules, judge
from pointsman.pipeline.understand.intent_model import (
    CLASSES,
    INPUTS,
    IntentArtefact,
    IntentModel,
    built_in_model,
    read_intent,
    rule_inputs,
)
from pointsman.providers.static_embedding.model import embed_one

from .understanding import understand

SEED = 7


@pytest.fixture(scope="module")
def known():
    return own_asks("known", seed=SEED, variants=1)


@pytest.fixture(scope="module")
def heldout():
    return own_asks("heldout", seed=SEED + 1)


RULES, FEATURES, SCORE = IntentRules(), FeatureReader(embed_one), ComplexityScore(ComplexityRules())


def features_and_weights(text: str):
    ask = find_ask(text)
    return FEATURES(ask, SCORE(ask)), RULES.weigh(ask)


def test_the_model_reckons_with_the_inputs_that_it_was_trained_with(known):
    artefact = msgspec.json.decode(
        resources.files("pointsman.pipeline.understand").joinpath("intent_model.json").read_bytes(), type=IntentArtefact
    )
    table = np.frombuffer(base64.b64decode(artefact.weights), dtype="<f4").reshape(INPUTS, len(CLASSES))
    heavy = dict.fromkeys(Intent, 50.0)
    for features, weights in [
        *[features_and_weights(ask.text) for ask in known[:50]],
        (FEATURES(find_ask(""), SCORE(find_ask(""))), heavy),
    ]:
        inputs = [*decode([features])[0], *rule_inputs(weights)]
        expected = np.array(inputs) @ table + np.array(artefact.bias)
        assert built_in_model().logits(features, weights) == pytest.approx(expected.tolist(), abs=1e-4)


def test_the_shipped_model_beats_the_rules_on_templates_that_it_never_saw(heldout):
    by_rules = by_model = 0
    for ask in heldout:
        features, weights = features_and_weights(ask.text)
        by_rules += judge(weights)[0] is ask.intent
        by_model += read_intent(features, weights)[0] is ask.intent
    assert by_model >= by_rules + 0.08 * len(heldout)


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 'x'", Intent.ERROR_ANALYSIS),
        ("<|fim_prefix|>def add(a, b):\n    <|fim_suffix|>\n<|fim_middle|>", Intent.COMPLETION),
        ("write a short poem about the sea", Intent.CREATIVE),
        ("xyzzy", Intent.GENERAL),
        ("", Intent.GENERAL),
    ],
)
def test_what_the_rules_know_stays(text: str, intent: Intent):
    found, chance = read_intent(*features_and_weights(text))
    assert found is intent
    assert 0 <= chance <= 1


def test_requests_without_features_are_left_to_the_rules():
    weights = {Intent.MATH: 3.0}
    assert read_intent(b"", weights) == judge(weights)
    assert read_intent(b"\1old", weights) == judge(weights)


def test_the_stage_asks_the_classifier_where_a_model_is_to_be_chosen():
    text = "How is a bloom filter different from caching"
    learned = Understand(
        privacy=PrivacyRules(),
        complexity=ComplexityRules(),
        hash_key=b"test",
        windows=lambda: (),
        features=FeatureReader(embed_one),
        chooses=lambda name: name == "auto",
    )
    asked = understand(text, using=learned, model="auto")
    named = understand(text, using=learned, model="gpt-5")
    features, weights = features_and_weights(text)
    assert (asked.intent, asked.intent_confidence) == read_intent(features, weights)
    assert (named.intent, named.intent_confidence) == judge(weights)
    assert asked.features == features
    assert named.features == b""


def test_training_is_reproducible_and_serves_what_it_measured(known):
    some = known[::4]
    artefact = train(some, seed=SEED)
    assert artefact == train(some, seed=SEED)
    inputs = read_inputs(some)
    logits = fit(inputs).logits(inputs.x)
    grouped, apart = cross_validated(inputs, seed=SEED), by_source(inputs, seed=SEED)
    said, chances = answers(inputs, logits, calibrate(inputs, grouped=grouped, apart=apart))
    model = IntentModel(artefact)
    same = 0
    for place, ask in enumerate(some):
        features, weights = features_and_weights(ask.text)
        assert model.logits(features, weights) == pytest.approx(logits[place].tolist(), abs=1e-3)
        intent, chance = model(features, weights)
        same += CLASSES[said[place]] is intent and abs(chances[place] - chance) < 2e-3
    assert same >= len(some) - 1  # a tie to the last digit may fall either way


def _broken(**changed) -> IntentArtefact:
    whole = IntentArtefact(
        features=2,
        classes=CLASSES,
        weights=base64.b64encode(struct.pack(f"<{INPUTS * len(CLASSES)}f", *[0.0] * INPUTS * len(CLASSES))).decode(),
        bias=(0.0,) * len(CLASSES),
        lead=0.3,
        rules_calibration=(0.0, 1.0),
        calibration=(0.0, 1.0),
        least=0.5,
        trained_on={},
        seed=1,
    )
    return msgspec.structs.replace(whole, **changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"features": 1},
        {"classes": CLASSES[:-1]},
        {"bias": (0.0,)},
        {"weights": base64.b64encode(b"\0" * 8).decode()},
        {"weights": base64.b64encode(struct.pack("<f", float("nan")) * INPUTS * len(CLASSES)).decode()},
    ],
)
def test_a_model_that_is_none_is_refused(changed):
    IntentModel(_broken())
    with pytest.raises(ValueError, match=r"trained on other|another size"):
        IntentModel(_broken(**changed))


def test_where_nothing_is_likely_the_intent_is_general():
    model = IntentModel(_broken())
    features, weights = features_and_weights("qwertz uiop")
    intent, chance = model(features, weights)
    assert intent is Intent.GENERAL
    assert chance == pytest.approx(1 / len(CLASSES), abs=1e-3)


def test_the_built_in_model_says_what_taught_it():
    artefact = built_in_model()._artefact
    assert "stackeval" not in artefact.trained_on
    assert sum(artefact.trained_on.values()) > 1_000


def test_the_regression_finds_the_chances_that_made_the_labels():
    rng = np.random.default_rng(3)
    truth = np.array([[2.0, -1.0, 0.0], [0.0, 1.5, -1.0]])
    x = rng.normal(size=(4_000, 2))
    chances = softmax(x @ truth)
    y = np.array([rng.choice(3, p=row) for row in chances])
    model = SoftmaxRegression(penalty=1.0).fit(x, y, np.ones(len(y)), 3)
    assert np.abs(softmax(model.logits(x)) - chances).mean() < 0.02


def test_platt_undoes_what_is_too_sure():
    rng = np.random.default_rng(4)
    logits = rng.normal(size=20_000)
    right = rng.random(len(logits)) < 1 / (1 + np.exp(-(0.3 + logits)))
    said = 1 / (1 + np.exp(-3 * logits))
    a, b = platt(said, right)
    assert (a, b) == (pytest.approx(0.3, abs=0.06), pytest.approx(1 / 3, abs=0.03))
