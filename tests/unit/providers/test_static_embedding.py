"""The embedded embedding model: pieces, caps, cuts, and the way from an encoder to a table."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.providers.static_embedding import distil
from pointsman.providers.static_embedding.bert import Bert
from pointsman.providers.static_embedding.model import HEAD, TAIL, StaticEmbedder, embedded_model, read
from pointsman.providers.static_embedding.pieces import LONGEST_WORD, WordPieces

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##afford", "##able", "read", "file", "(", ")", "_",
              "cafe", "中", "a", "b", "c"]  # fmt: skip


def pieces_of(text: str) -> list[str]:
    return [VOCABULARY[number] for number in WordPieces(VOCABULARY)(text)]


def test_words_become_pieces():
    assert pieces_of("Unaffordable") == ["un", "##afford", "##able"]
    assert pieces_of("readFile(read_file)") == ["read", "file", "(", "read", "_", "file", ")"]
    assert pieces_of("Café 中中") == ["cafe", "中", "中"]
    assert pieces_of("zzz " + "a" * (LONGEST_WORD + 1)) == []


def test_meaning_is_near():
    model = embedded_model()
    vectors = model.embed(
        ["How do I sort a list?", "sorting lists", "The central bank raised rates.", "interest rates went up"]
    )
    alike = vectors @ vectors.T
    assert alike[0, 1] > alike[0, 2] + 0.2
    assert alike[2, 3] > alike[1, 3] + 0.2


@given(st.lists(st.text(max_size=60), min_size=1, max_size=4), st.integers(1, 256))
def test_any_text_has_a_vector_of_length_one(texts, width):
    vectors = embedded_model().embed(texts, width)
    assert vectors.shape == (len(texts), width)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-4)


def test_a_vector_of_which_nothing_is_left_has_length_one_too():
    bare = StaticEmbedder(np.zeros((2, 8), np.int8), np.ones(2, np.float32), ["[UNK]", "a"], unknown=0)
    assert bare.embed(["a"], 2).tolist() == [[1, 0]]


def test_cut_vectors_are_the_first_dimensions():
    whole, cut = embedded_model().embed(["a sentence"])[0], embedded_model().embed(["a sentence"], 32)[0]
    assert cut == pytest.approx(whole[:32] / np.linalg.norm(whole[:32]), abs=1e-5)


def test_of_a_long_text_head_and_tail_are_read():
    model = embedded_model()
    head, tail = "money and banks " * (HEAD // 16), " trains and rails" * (TAIL // 17 + 1)
    one, other = (model.embed([head + middle * 50_000 + tail])[0] for middle in (" cooking soup", " sailing boats"))
    assert one == pytest.approx(other, abs=0.02)
    assert len(model.pieces(head * 1000)) < HEAD + TAIL


def small_encoder(folder, chance: np.random.Generator) -> None:
    """An encoder of BERT's shape with weights by chance."""
    width, inner, words = 16, 32, [*VOCABULARY, *(f"word{number}" for number in range(40))]
    shapes = {
        "embeddings.word_embeddings.weight": (len(words), width),
        "embeddings.position_embeddings.weight": (64, width),
        "embeddings.token_type_embeddings.weight": (2, width),
    }
    dense = {
        "attention.self.query": (width, width), "attention.self.key": (width, width),
        "attention.self.value": (width, width), "attention.output.dense": (width, width),
        "intermediate.dense": (inner, width), "output.dense": (width, inner),
    }  # fmt: skip
    for at, shape in dense.items():
        shapes |= {f"encoder.layer.0.{at}.weight": shape, f"encoder.layer.0.{at}.bias": shape[:1]}
    for at in ("embeddings", "encoder.layer.0.attention.output", "encoder.layer.0.output"):
        shapes |= {f"{at}.LayerNorm.weight": (width,), f"{at}.LayerNorm.bias": (width,)}
    header, data = {}, b""
    for name, shape in shapes.items():
        values = chance.normal(size=shape).astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    told = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(told).to_bytes(8, "little") + told + data)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "config.json").write_text(
        json.dumps({"num_attention_heads": 2, "num_hidden_layers": 1, "layer_norm_eps": 1e-12, "hidden_size": width,
                    "vocab_size": len(words), "max_position_embeddings": 64})
    )  # fmt: skip


def test_an_encoder_becomes_a_table(tmp_path):
    chance = np.random.default_rng(5)
    small_encoder(tmp_path, chance)
    texts = [" ".join(f"word{number}" for number in chance.integers(0, 10, 8)) + "." for _ in range(60)]
    with gzip.open(tmp_path / "texts.jsonl.gz", "wt") as lines:
        lines.writelines(json.dumps({"prompt": text}) + "\n" for text in texts)
    table = tmp_path / "table.npz"
    assert distil.main([str(tmp_path), str(table), str(tmp_path / "texts.jsonl.gz")]) == 0
    model = read(table)
    assert model.dimensions == 16
    assert model.embed(["read file", "nothing known: ☃"]).shape == (2, 16)
    again = tmp_path / "again.npz"
    distil.main([str(tmp_path), str(again), str(tmp_path / "texts.jsonl.gz")])
    assert again.read_bytes() == table.read_bytes()


def test_the_encoder_reads_texts_of_one_length_together_or_apart(tmp_path):
    small_encoder(tmp_path, np.random.default_rng(6))
    encoder = Bert(tmp_path)
    together = encoder([[5, 6, 7], [8, 9, 8]])
    apart = np.concatenate([encoder([[5, 6, 7]]), encoder([[8, 9, 8]])])
    assert together == pytest.approx(apart, abs=1e-5)


def test_how_it_is_used_is_told(capsys):
    assert distil.main([]) == 2
    assert "usage" in capsys.readouterr().err
