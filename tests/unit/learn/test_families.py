"""Families of success models on tables whose structure was planted."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pointsman.core.errors import InvalidRequest
from pointsman.core.features import EMBEDDED, WIDTH
from pointsman.learn.families import FAMILIES, ROUTER
from pointsman.learn.families.base import Floats, Prompts
from pointsman.learn.families.ensemble import surely_better, worth
from pointsman.learn.families.folds import grouped_folds
from pointsman.learn.families.lexicon import Lexicon
from pointsman.learn.families.logistic import fit_lines, sigmoid
from pointsman.learn.families.nearness import Nearness
from pointsman.learn.families.targets import Targets

TOPICS = ("prove the theorem about ideals", "name the capital of the country", "sort the list of records")


def planted(count: int, seed: int, *, signal: float = 1.0) -> tuple[Prompts, Floats, tuple[str, ...]]:
    """Prompts of three topics, told by words and embedding alike; the strong model gains on the first alone."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, 3, count)
    centres = np.random.default_rng(7).normal(size=(3, EMBEDDED))
    embedding = centres[topic] + 1.5 * rng.normal(size=(count, EMBEDDED))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    structure = rng.uniform(0, 1, (count, WIDTH - EMBEDDED))
    weak = np.where(topic == 0, 0.5 - 0.35 * signal, 0.5)
    strong = np.where(topic == 0, 0.5 + 0.4 * signal, 0.5)
    scores = (rng.uniform(size=(count, 2)) < np.stack([weak, strong], axis=1)).astype(np.float64)
    texts = tuple(f"{TOPICS[at]} {rng.integers(1000)}" for at in topic)
    features = np.hstack([embedding, structure]).astype(np.float32)
    return Prompts(texts=texts, features=features), scores, tuple(f"g{at // 2}" for at in range(count))


def apgr(gap: Floats, scores: Floats) -> float:
    """The mean over ties, so that a constant has 0.5."""
    gains = scores[:, 1] - scores[:, 0]
    _, block = np.unique(-gap, return_inverse=True)
    mean = (np.bincount(block, gains) / np.bincount(block))[np.sort(block)]
    curve = np.concatenate(([0.0], np.cumsum(mean))) / gains.sum()
    return float(((curve[1:] + curve[:-1]) / 2).mean())


@pytest.fixture(scope="module")
def tables() -> dict[str, tuple[Prompts, Floats, tuple[str, ...]]]:
    return {"train": planted(260, 1), "test": planted(600, 2)}


@pytest.mark.parametrize("name", FAMILIES)
def test_planted_structure_is_found(name: str, tables: dict[str, tuple[Prompts, Floats, tuple[str, ...]]]) -> None:
    prompts, scores, groups = tables["train"]
    fitted = FAMILIES[name]().fit(prompts, scores, groups=groups, rng=np.random.default_rng(0))
    asked, outcomes, _ = tables["test"]
    made = fitted.predict(asked)
    assert made.shape == (600, 2)
    assert ((made >= 0) & (made <= 1)).all()
    # the best that is possible is about 0.83 here
    assert apgr(made[:, 1] - made[:, 0], outcomes) > 0.68
    constant = float(((outcomes - scores.mean(axis=0)) ** 2).mean())
    assert float(((outcomes - made) ** 2).mean()) < constant


def test_noise_is_not_believed() -> None:
    prompts, scores, groups = planted(260, 3, signal=0.0)
    asked, outcomes, _ = planted(600, 4, signal=0.0)
    made = ROUTER().fit(prompts, scores, groups=groups, rng=np.random.default_rng(0)).predict(asked)
    losses = (outcomes - made) ** 2 - (outcomes - scores.mean(axis=0)) ** 2
    error = losses.mean(axis=1).std() / np.sqrt(len(asked))
    assert losses.mean() < 2 * error + 0.002
    assert made.std(axis=0).max() < 0.08


def test_the_same_seed_predicts_the_same() -> None:
    prompts, scores, groups = planted(60, 5)
    first, second = (
        ROUTER().fit(prompts, scores, groups=groups, rng=np.random.default_rng(9)).predict(prompts) for _ in range(2)
    )
    assert first.tobytes() == second.tobytes()


def test_a_prediction_does_not_depend_on_what_is_asked_beside_it() -> None:
    prompts, scores, groups = planted(60, 5)
    fitted = ROUTER().fit(prompts, scores, groups=groups, rng=np.random.default_rng(9))
    alone = np.concatenate([fitted.predict(prompts.rows(np.array([at]))) for at in range(8)])
    assert np.allclose(alone, fitted.predict(prompts)[:8], atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_missing_scores_one_class_and_few_prompts(name: str) -> None:
    prompts, scores, groups = planted(40, 6)
    table = np.hstack([scores, np.ones((40, 1)), np.full((40, 1), np.nan)])
    table[::3, 0] = np.nan
    made = FAMILIES[name]().fit(prompts, table, groups=groups, rng=np.random.default_rng(0)).predict(prompts)
    assert made.shape == (40, 4)
    assert np.isfinite(made).all()
    assert made[:, 2].min() > 0.6


@pytest.mark.parametrize("name", FAMILIES)
def test_a_single_group_and_empty_texts(name: str) -> None:
    prompts, scores, _ = planted(6, 8)
    bare = Prompts(texts=("",) * 6, features=prompts.features * 0)
    made = FAMILIES[name]().fit(bare, scores, groups=("one",) * 6, rng=np.random.default_rng(0)).predict(bare)
    assert np.isfinite(made).all()


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("name", FAMILIES)
def test_broken_features_are_refused(name: str, broken: float) -> None:
    prompts, scores, groups = planted(12, 6)
    prompts.features[3, 5] = broken
    with pytest.raises(InvalidRequest, match="prompt 3"):
        FAMILIES[name]().fit(prompts, scores, groups=groups, rng=np.random.default_rng(0))


def test_scores_beyond_their_range_and_other_lengths_are_refused() -> None:
    prompts, scores, groups = planted(12, 6)
    with pytest.raises(InvalidRequest, match=r"\[0, 1\]"):
        ROUTER().fit(prompts, scores + 1, groups=groups, rng=np.random.default_rng(0))
    with pytest.raises(InvalidRequest, match="12 prompts, 11 rows"):
        ROUTER().fit(prompts, scores[:11], groups=groups, rng=np.random.default_rng(0))


def test_signals_of_an_attempt_are_used() -> None:
    prompts, scores, groups = planted(200, 10, signal=0.0)
    rng = np.random.default_rng(11)
    calls = rng.integers(5, 100, 200).astype(np.float64)
    scores[:, 0], scores[:, 1] = calls < 50, 1.0
    told = Prompts(texts=prompts.texts, features=prompts.features, attempt=calls[:, None])
    fitted = ROUTER().fit(told, scores, groups=groups, rng=rng)
    made = fitted.predict(told)
    assert made[calls > 70, 0].mean() + 0.3 < made[calls < 30, 0].mean()
    with pytest.raises(InvalidRequest, match="signals"):
        fitted.predict(prompts)


def test_far_from_everything_seen_every_prompt_gets_the_means() -> None:
    prompts, scores, groups = planted(260, 12)
    fitted = ROUTER().fit(prompts, scores, groups=groups, rng=np.random.default_rng(0))
    away = np.random.default_rng(13).normal(size=(50, WIDTH))
    away[:, :EMBEDDED] /= np.linalg.norm(away[:, :EMBEDDED], axis=1, keepdims=True)
    made = fitted.predict(Prompts(texts=("something else",) * 50, features=np.abs(away).astype(np.float32) * [-1.0]))
    assert np.allclose(made, scores.mean(axis=0), atol=0.02)


def test_a_prompt_of_another_form_is_far_however_near_it_lies() -> None:
    rng = np.random.default_rng(5)
    embedding = rng.normal(size=(400, 8))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    structure = np.abs(rng.normal(size=(400, 3))) * [1, 1, 0] + [1, 0, 0]
    structure[:120, 1] = 0  # a trait that some have is no form
    structure[7, 0] = 0  # and one that was read wrongly takes none away
    gate = Nearness().fit(embedding, structure)
    asked = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert gate(embedding[:3], asked).tolist() == [1.0, 1.0, 0.0]


def test_what_errs_less_by_chance_is_not_surely_better() -> None:
    rng = np.random.default_rng(6)
    right = rng.normal(size=500)
    even = right + rng.normal(size=500)
    assert not surely_better(even + 0.01 * rng.normal(size=500), even, right, 0.5)
    assert surely_better(right + 0.5 * rng.normal(size=500), even, right, 0.5)


def test_groups_stay_together() -> None:
    groups = [f"g{at % 17}" for at in range(100)]
    folds = grouped_folds(groups, 5, np.random.default_rng(0))
    assert all(len(set(folds[np.array(groups) == group])) == 1 for group in set(groups))
    assert np.bincount(folds).min() >= 10


def test_targets_come_back() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=(30, 4))
    targets = Targets().fit(scores)
    assert np.allclose(targets.back(targets.values_), scores)
    assert np.allclose(targets.of(scores), targets.values_)


def test_what_is_worth_nothing_is_given_up() -> None:
    rng = np.random.default_rng(0)
    right = rng.normal(size=500)
    assert worth(np.zeros(500), right) == 0
    assert worth(-right, right) == 0
    assert worth(right / 2 + rng.normal(size=500) * 0.01, right) == pytest.approx(1.5)
    assert worth(right, right) == pytest.approx(1.0)


def test_products_of_sparse_rows() -> None:
    texts = ["a b a c", "", "b c d", "a a a a b b", "d"] * 4
    rows = Lexicon(pieces=(2, 3), least=1).fit(texts)
    dense = rows @ np.eye(rows.shape[1])
    assert np.allclose(rows.kernel(), dense @ dense.T)
    other = np.random.default_rng(0).normal(size=(20, 2))
    assert np.allclose(rows.transposed_times(other), dense.T @ other)
    places: NDArray[np.int64] = np.array([3, 1, 4])
    assert np.allclose(rows.pick(places) @ np.eye(rows.shape[1]), dense[places])


def test_logistic_lines_are_at_the_minimum() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 3))
    outcomes = (rng.uniform(size=300) < sigmoid(rows @ [1.0, -2.0, 0.0] + 0.5)).astype(np.float64)
    [line] = fit_lines(rows, outcomes[:, None], 2.0)
    gradient = rows.T @ (line(rows) - outcomes) + 2.0 * line.weights
    assert np.abs(gradient).max() < 0.05
    assert line.weights[0] > 0.5 > -1 > line.weights[1]
