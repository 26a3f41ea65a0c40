"""The feature vector of an ask: what it holds, and that no text is too odd for it."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.features import EMBEDDED, STRUCTURE, VERSION, WIDTH, decode, readable, without_embedding
from pointsman.core.request import ChatRequest
from pointsman.core.signals import Complexity
from pointsman.pipeline.understand import PrivacyRules, Understand, reading
from pointsman.pipeline.understand.ask import find_ask
from pointsman.pipeline.understand.complexity import ComplexityRules, ComplexityScore
from pointsman.pipeline.understand.features import FeatureReader
from pointsman.providers.static_embedding.model import embed_one
from pointsman.providers.static_embedding.pieces import WordPieces

read_features = FeatureReader(embed_one)
score = ComplexityScore(ComplexityRules())
PIECES = WordPieces(["a", "b", "##a", "##b", "1", "##1", "e", "ss", "##ss", "σ", "ς", "##σ", "为", "ab", ".", "(", "_"])


def read(text: str) -> bytes:
    ask = find_ask(text)
    return read_features(ask, score(ask))


def structure(text: str) -> dict[str, float]:
    return dict(zip(STRUCTURE, decode([read(text)])[0, EMBEDDED:].tolist(), strict=True))


@pytest.mark.parametrize(
    ("text", "level", "kept"),
    [("Explain how a lighthouse works.", None, True),
     ("Explain how a lighthouse works.", "max", False),
     ("Explain how a lighthouse works; write to greta.canary@example.org.", None, False),
     ("Explain ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2", None, False)],
)  # fmt: skip
@pytest.mark.parametrize("embeddings", [True, False])
def test_what_is_private_has_no_embedding_and_keeps_its_shape(text, level, kept, embeddings):
    read_ask = Understand(
        privacy=PrivacyRules(), complexity=ComplexityRules(), hash_key=b"test", windows=lambda: (),
        features=read_features, embeddings=embeddings,
    )  # fmt: skip
    request = ChatRequest.build({"model": "auto", "messages": [{"role": "user", "content": text}]})
    features = read_ask(request, privacy_level=level).features
    assert features == (read(text) if kept and embeddings else without_embedding(read(text)))
    assert any(decode([features])[0, EMBEDDED:])
    assert any(decode([features])[0, :EMBEDDED]) == (kept and embeddings)


def test_of_other_versions_nothing_is_left():
    assert without_embedding(b"") == b""
    assert without_embedding(b"\1" + b"\5" * WIDTH) == b""


ANY_TEXT = st.text(st.characters(codec=None), max_size=400)
"""Lone surrogates among them, as JSON can bring them."""


@settings(max_examples=150, deadline=None)
@given(st.one_of(ANY_TEXT, st.binary(max_size=400).map(lambda raw: raw.decode("utf-8", "surrogateescape"))))
def test_any_text_has_a_vector(text: str):
    features = read(text)
    assert readable(features)
    assert len(features) == WIDTH + 1
    numbers = decode([features])[0]
    assert np.isfinite(numbers).all()
    assert ((numbers[EMBEDDED:] >= 0) & (numbers[EMBEDDED:] <= 1)).all()
    assert np.linalg.norm(numbers[:EMBEDDED]) == pytest.approx(1, abs=0.35)  # what rounding and clipping leave
    assert features == read(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "\0" * 5_000, "\ud800\udfff" * 500, "👩‍👩‍👧" * 2_000, "a" * 10_000_000, "\n" * 1_000_000, "```" * 5_000,
     os.urandom(100_000).decode("latin-1"), "１２３" * 1_000, "x" * 99 + "é" * 50_000],
    ids=["empty", "blank", "zeros", "surrogates", "families", "ten megabytes", "line feeds", "fences", "binary",
         "wide digits", "accents"],
)  # fmt: skip
def test_odd_texts_have_a_vector(text: str):
    assert readable(read(text))


def test_a_number_that_is_none_counts_as_nothing():
    nan = float("nan")
    features = read_features(find_ask("hello"), Complexity(score=nan, length=nan, terms=float("inf"), structure=-1))
    assert decode([features])[0, -4:].tolist() == [0, 0, 1, 0]


def test_the_structure_tells_texts_apart():
    prose = structure("Why is the sky blue, and why is the sunset red?")
    code = structure("for (int i = 0; i < n; i++) { a[i] = b[i]; }\n    if (a[0]) {\n        return;\n    }")
    wide = structure("为什么天空是蓝色的")
    choices = structure("Which?\nA. one\nB. two")
    assert code["code_marks"] > 3 * prose["code_marks"]
    assert code["indented"] > prose["indented"] == 0
    assert prose["questions"] > code["questions"] == 0
    assert wide["not_ascii"] == 1
    assert choices["choices"] == 1
    assert structure("x = 3^2 + \\sqrt{4}")["mathematics"] > prose["mathematics"]
    assert structure('say "hello" or "bye"')["quotes"] > 0


def test_only_head_and_tail_of_a_long_text_are_looked_at():
    head, tail = "explain this " * 80, "write a test " * 30
    middles = ["one two three " * 1_000, "four five six " * 1_000]
    first, second = (read(f"{head}{middle}{tail}") for middle in middles)
    assert first[1 : 1 + EMBEDDED] == second[1 : 1 + EMBEDDED]


def test_the_reader_may_be_shared_by_threads():
    rng = random.Random(5)
    words = [f"word{number} CamelCase{number} and {number}" for number in range(2_000)]
    texts = [" ".join(rng.sample(words, 60)) for _ in range(200)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(read, texts + texts))
    assert together == [read(text) for text in texts + texts]


def test_vectors_of_another_version_are_not_read():
    features = read("hello")
    assert not readable(bytes([VERSION + 1]) + features[1:])
    with pytest.raises(ValueError, match="version"):
        decode([features[:-1]])


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("aAbB1_ \t\n\u3000\u0301éßΣσ为.,-'(){}"), max_size=80))
def test_what_white_space_parts_is_read_part_by_part(text: str):
    apart = [piece for run in text.split() for piece in PIECES(run)]
    assert PIECES(text) == apart


@pytest.mark.parametrize("broken", ["embedding", "classifier"])
def test_where_a_file_is_broken_the_rules_speak_and_the_log_says_so_once(monkeypatch, caplog, broken):
    def fail(*_):
        raise ValueError("truncated file")

    if broken == "classifier":
        monkeypatch.setattr(reading, "read_intent", fail)
    read_it = reading.Reader(score, FeatureReader(fail if broken == "embedding" else embed_one))
    texts = ("Refactor this function.", "Prove that there are infinitely many primes.")
    for text in texts:
        plain, found = read_it(text), read_it(text, featured=True)
        assert (found.intent, found.confidence, found.complexity) == (plain.intent, plain.confidence, plain.complexity)
        assert readable(found.features) == (broken == "classifier")
    assert caplog.text.count("the rules speak") == 1
