"""How much one key may say of a model."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.app.implicit import believed
from pointsman.pipeline.record.shares import FLOOR, STEPS, KeyShares
from pointsman.stores.observations import Agreement


def agreement(key_id: str, right: int, cases: int) -> Agreement:
    return Agreement(kind="retry", key_id=key_id, right=right, cases=cases)


def test_one_key_cannot_make_everybodys_guesses_believed_nor_unbelieved():
    coins = [agreement("alice", 20, 40), agreement("bob", 19, 40)]
    assert believed([agreement("flood", 5_000, 5_000)], 0.5)["retry"] > 0.95, "alone it says all there is to say"
    assert believed([agreement("flood", 5_000, 5_000), *coins], 1.0)["retry"] > 0.9
    assert believed([agreement("flood", 5_000, 5_000), agreement("alice", 0, 2)], 0.5) == {"retry": 0.0}
    assert believed([agreement("flood", 5_000, 5_000), *coins], 0.5)["retry"] < 0.4
    right = [agreement("alice", 200, 200), agreement("bob", 200, 200)]
    assert believed([agreement("flood", 0, 400), *right], 0.25)["retry"] > 0.0
    assert believed([agreement("flood", 0, 400), *right], 1.0) == {"retry": 0.0}
    assert believed([], 0.5) == {}


STEP = 2 ** (-1 / STEPS)


def counting(totals: dict[str | None, int], share: float = 0.5) -> tuple[KeyShares, dict[str | None, float]]:
    """What each key's observations of one model count for in all."""
    shares = KeyShares(share=share, most=100_000)
    for key, total in totals.items():
        for number in range(total):
            shares.put(f"{key}-{number}", ("m", key), weight=1.0, at=number)
    list(shares.settle(["m"]))
    return shares, {key: total * shares.scale(("m", key)) for key, total in totals.items()}


def test_one_key_alone_says_all_there_is_to_say():
    assert counting({None: 5_000})[1] == {None: 5_000}


def test_a_flood_of_one_key_counts_for_no_more_than_its_share():
    _, counts = counting({"flood": 5_000, "alice": 60, "bob": 40})
    assert STEP * 100 <= counts["flood"] <= 100, "half of all, rounded down"
    assert (counts["alice"], counts["bob"]) == (60, 40)


def test_a_first_thumb_does_not_silence_who_was_there_before():
    _, counts = counting({"old": 500, "new": 1})
    assert FLOOR * STEP <= counts["old"] <= FLOOR
    assert counts["new"] == 1


def test_keys_of_equal_weight_all_count_whole():
    assert counting({"a": 300, "b": 300})[1] == {"a": 300, "b": 300}


def test_a_share_of_one_is_no_bound():
    assert counting({"flood": 5_000, "alice": 1}, share=1.0)[1]["flood"] == 5_000


@given(
    totals=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 400), min_size=2),
    share=st.floats(0.05, 1.0),
)
def test_no_key_counts_for_more_than_its_share_or_the_floor(totals: dict[str | None, int], share: float):
    _, counts = counting(totals, share)
    bound = max(share, 1 / len(totals)) * sum(counts.values())
    for key, count in counts.items():
        assert count <= max(bound / STEP, FLOOR) + 1e-6, (key, counts)
        assert count >= min(totals[key], FLOOR * STEP) - 1e-6


def test_the_order_in_which_they_come_does_not_matter():
    rows = [(f"{key}{n}", ("m", key), n) for key, count in (("a", 90), ("b", 30), ("c", 3)) for n in range(count)]
    scales = set()
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        shares = KeyShares(share=0.4, most=1_000)
        for name, pair, at in rows:
            shares.put(name, pair, weight=1.0, at=at)
            list(shares.settle(["m"]))
        scales.add(tuple(shares.scale(("m", key)) for key in "abc"))
    assert len(scales) == 1


def test_what_is_replaced_or_withdrawn_no_longer_counts():
    shares, _ = counting({"flood": 100, "alice": 10})
    assert shares.scale(("m", "flood")) < 1
    for number in range(100):
        shares.put(f"flood-{number}", ("m", "flood"), weight=0.0 if number else 1.0, at=0)
    assert list(shares.settle(["m"])) == [("m", "flood")]
    assert shares.scale(("m", "flood")) == 1
    assert len(shares) == 11


def test_the_oldest_go_first():
    shares = KeyShares(share=0.5, most=3)
    for at in (5, 1, 4, 2, 3):
        shares.put(f"d{at}", ("m", None), weight=1.0, at=at)
    shares.put("d5", ("m", None), weight=1.0, at=5)
    assert shares.trim(0) == ["d1", "d2"]
    assert shares.trim(4.5) == ["d3", "d4"]
    assert len(shares) == 1


def test_a_key_that_says_the_same_again_and_again_counts_once():
    shares = KeyShares(share=0.5, most=10)
    for _ in range(5_000):
        shares.put("d", ("m", "k"), weight=1.0, at=1.0)
        shares.trim(0)
    assert len(shares) == 1
    assert len(shares._oldest) <= 21


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_no_weight_is_no_observation(weight: float):
    shares = KeyShares(share=0.5, most=10)
    shares.put("d", ("m", "k"), weight=weight, at=1.0)
    assert len(shares) == 0
