"""How large a context the engine gets: from the settings, the model and the memory that is free."""

from __future__ import annotations

import os
from pathlib import Path

from .gguf import GgufFacts

CACHE_SHARE = 0.25
"""Part of the free memory that the key-value cache may take; the cache is allocated, and resident, from the start."""
LEAST = 2048
"""Tokens per slot that are tried for even when memory is short."""
FALLBACK = 4096
"""Taken as the native context of a model whose file does not say."""
STEP = 256
"""llama.cpp pads a context to a multiple of this."""


def context_for(facts: GgufFacts, *, slots: int, memory_bytes: int, setting: int | None) -> int:
    """Tokens of context for each slot; never 0, which the engine would read as the model's whole context.

    llama.cpp shares its `n_ctx` between the slots: pass it this number times `slots`.

    Args:
        slots: answers at the same time, at least 1.
        memory_bytes: memory that is free for this model; see `available_memory`.
        setting: the user's choice, which memory does not overrule, or None.
    """
    native = facts.context_length or FALLBACK
    if setting is not None:
        return max(1, min(setting, native))
    affordable = int(memory_bytes * CACHE_SHARE) // (facts.cache_bytes_per_token * slots)
    return min(native, max(LEAST, affordable // STEP * STEP))


def available_memory(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that new processes may use without swapping: the machine's, or the container's when that is less."""
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        # Not Linux. Half of what is installed is as good a guess as any.
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    try:
        limit = int((cgroup / "memory.max").read_text())
        free = min(free, max(0, limit - int((cgroup / "memory.current").read_text())))
    except (OSError, ValueError):
        pass
    return free


def default_threads() -> int:
    """The cores that this process may use, at most 8: decoding is bound by memory, and more threads only wait."""
    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable is not None else os.cpu_count()
    return max(1, min(cores or 1, 8))
