"""Reading the header of a GGUF file, whole and damaged."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.core.errors import WeightsError
from pointsman.providers.llamacpp.gguf import read_facts


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key: str, value: str | int | list[str] | list[int]) -> bytes:
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    if isinstance(value, int):
        return text(key) + struct.pack("<II", 4, value)
    if value and isinstance(value[0], str):
        return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(text(str(item)) for item in value)
    return text(key) + struct.pack("<IIQ", 9, 4, len(value)) + struct.pack(f"<{len(value)}I", *map(int, value))


PAIRS = [
    pair("general.architecture", "qwen2"),
    pair("general.name", "Tiny"),
    pair("qwen2.block_count", 4),
    pair("qwen2.context_length", 32768),
    pair("qwen2.embedding_length", 896),
    pair("qwen2.attention.head_count", 14),
    pair("qwen2.attention.head_count_kv", 2),
    pair("tokenizer.ggml.model", "gpt2"),
    pair("tokenizer.ggml.tokens", [f"token{number}" for number in range(3000)]),
    pair("tokenizer.ggml.token_type", list(range(3000))),
    pair("tokenizer.chat_template", "{{ messages }}"),
]


def header(pairs: list[bytes], *, magic: bytes = b"GGUF", version: int = 3, count: int | None = None) -> bytes:
    return magic + struct.pack("<IQQ", version, 0, len(pairs) if count is None else count) + b"".join(pairs)


def written(folder: Path, data: bytes) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(data)
    return path


def test_the_facts_are_read(tmp_path: Path) -> None:
    facts = read_facts(written(tmp_path, header(PAIRS) + bytes(100)))
    assert (facts.name, facts.architecture, facts.context_length) == ("Tiny", "qwen2", 32768)
    assert (facts.layers, facts.heads, facts.kv_heads, facts.key_length) == (4, 14, (2, 2, 2, 2), 64)
    assert facts.tokenizer == "gpt2"
    assert facts.chat_template
    assert facts.cache_bytes_per_token == 4 * 2 * (64 + 64) * 2


def test_key_value_heads_may_differ_by_layer(tmp_path: Path) -> None:
    pairs = [item for item in PAIRS if b"head_count_kv" not in item and b"chat_template" not in item]
    facts = read_facts(written(tmp_path, header([*pairs, pair("qwen2.attention.head_count_kv", [1, 2, 3, 4])])))
    assert facts.kv_heads == (1, 2, 3, 4)
    assert not facts.chat_template


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "shorter"),
        (header(PAIRS, magic=b"PK\3\4"), "does not begin"),
        (header(PAIRS, version=99), "version 99"),
        (header(PAIRS, count=2**60), "claims"),
        (header(PAIRS)[:-5], "more than the file"),
        (header(PAIRS, count=len(PAIRS) + 1), "breaks off"),
        (header([text("k") + struct.pack("<I", 77)]), "unknown type"),
        (header([text("k") + struct.pack("<IIQ", 9, 8, 2**61)]), "array of"),
        (header([text("k") + struct.pack("<IIQ", 9, 9, 1)]), "nests"),
        (header([struct.pack("<Q", 2) + b"\xff\xfe" + struct.pack("<II", 4, 1)]), "UTF-8"),
        (header(PAIRS[1:]), "architecture"),
        (header(PAIRS[:2]), "layers"),
    ],
)
def test_a_damaged_file_is_a_typed_error(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(WeightsError, match=why) as caught:
        read_facts(written(tmp_path, data))
    assert caught.value.code == "weights_corrupt"
    assert "fetched again" in caught.value.message


def test_a_file_that_cannot_be_read_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No such file"):
        read_facts(tmp_path / "missing.gguf")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_damage_gives_another_error(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(header([item for item in PAIRS if b"ggml.tok" not in item]))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        facts = read_facts(written(tmp_path, bytes(whole[: len(whole) - cut])))
    except WeightsError:
        return
    assert facts.layers > 0
