"""The size of the engine's context."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.providers.llamacpp.context import available_memory, context_for, default_threads
from pointsman.providers.llamacpp.gguf import GgufFacts

GIB = 1024**3


def facts(context_length: int = 32768, layers: int = 24, kv_heads: int = 2, head: int = 64) -> GgufFacts:
    return GgufFacts(
        name="m", architecture="qwen2", context_length=context_length, layers=layers, heads=14,
        kv_heads=(kv_heads,) * layers, key_length=head, value_length=head, embedding_length=896, tokenizer="gpt2",
        chat_template=True, file_size=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("slots", "memory", "setting", "expected"),
    [
        (2, 24 * GIB, None, 32768),  # memory to spare: what the model was trained for
        (2, 2 * GIB, None, 21760),  # a quarter of 2 GiB over 2 slots at 12,288 bytes a token, in steps of 256
        (8, 2 * GIB, None, 5376),
        (2, 0, None, 2048),  # never 0, which the engine would take for the whole context
        (64, GIB // 8, None, 2048),
        (2, GIB // 8, 16384, 16384),  # the user's word goes before memory
        (2, 24 * GIB, 1_000_000, 32768),  # but not before what the model can do
        (2, 24 * GIB, 256, 256),
    ],
)
def test_context_for(slots: int, memory: int, setting: int | None, expected: int) -> None:
    assert context_for(facts(), slots=slots, memory_bytes=memory, setting=setting) == expected


def test_a_small_native_context_is_the_bound() -> None:
    assert context_for(facts(context_length=1024), slots=1, memory_bytes=0, setting=None) == 1024


def test_a_file_that_names_no_context_gets_a_usual_one() -> None:
    assert context_for(facts(context_length=0), slots=1, memory_bytes=24 * GIB, setting=None) == 4096


@given(
    st.integers(0, 2**20), st.integers(1, 200), st.integers(1, 64), st.integers(0, 2**45),
    st.none() | st.integers(1, 2**24),
)  # fmt: skip
def test_it_is_never_zero(native: int, layers: int, slots: int, memory: int, setting: int | None) -> None:
    chosen = context_for(facts(context_length=native, layers=layers), slots=slots, memory_bytes=memory, setting=setting)
    assert 1 <= chosen <= (native or 4096)


def test_the_containers_limit_counts(tmp_path: Path) -> None:
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    proc.mkdir()
    cgroup.mkdir()
    (proc / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    assert available_memory(proc, cgroup) == 8000 * 1024
    (cgroup / "memory.max").write_text("5000000\n")
    (cgroup / "memory.current").write_text("1000000\n")
    assert available_memory(proc, cgroup) == 4_000_000
    (cgroup / "memory.max").write_text("max\n")
    assert available_memory(proc, cgroup) == 8000 * 1024


def test_this_machine_has_memory_and_threads() -> None:
    assert available_memory() > 0
    assert default_threads() == min(len(os.sched_getaffinity(0)), 8)
