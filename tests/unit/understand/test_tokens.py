"""Token counts: bounds that hold for prose, code, data and hashes, and exact ones."""

from __future__ import annotations

import hashlib
import inspect
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core import tokens

SAMPLES = {
    "prose": "It was a bright cold day in April, and the clocks were striking thirteen. " * 40,
    "python": inspect.getsource(random),
    "json": json.dumps(
        [{"id": number, "name": f"item {number}", "tags": ["a", "b"]} for number in range(200)], indent=2
    ),
    "chinese": "机器学习是人工智能的一个分支，它使用统计方法让计算机从数据中学习。" * 40,
    "german": "Schreibe eine Funktion, die eine Liste sortiert und doppelte Einträge entfernt. " * 40,
    "hashes": "\n".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(80)),
    "emoji": "😀🎉🚀" * 200,
}


@pytest.mark.parametrize("name", SAMPLES)
def test_bounds_hold(name: str):
    text = SAMPLES[name]
    low, high = tokens.bounds(len(text.encode()))
    assert low <= tokens.count(text) <= high


@pytest.mark.parametrize("name", ["prose", "python", "json", "german"])
def test_the_estimate_is_near(name: str):
    text = SAMPLES[name]
    assert tokens.estimate(len(text.encode())) == pytest.approx(tokens.count(text), rel=0.5)


@given(st.integers(0, 10**9))
def test_bounds_are_ordered(size: int):
    low, high = tokens.bounds(size)
    assert 0 <= low <= tokens.estimate(size) <= high


def test_counts():
    assert tokens.count("") == 0
    assert tokens.count("hello world") == 2
    assert tokens.count("<|endoftext|>") > 1, "text that looks like a special token is text"
    assert tokens.count("a\ud800b") > 0
    assert tokens.count("hello world", "cl100k_base") == 2


def test_long_texts_are_counted_in_pieces():
    text = "word " * 300_000
    assert tokens.count(text) == pytest.approx(300_000, rel=0.001)


def test_an_unknown_encoding_is_named():
    with pytest.raises(ValueError, match="o300k"):
        tokens.count("x", "o300k")
