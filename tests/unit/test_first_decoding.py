"""What threads decode is known to msgspec before any of them does: of two that are the first at the same time, one sees
what the other has only begun to learn of the type, and the process crashes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pointsman

SOURCE = Path(pointsman.__file__).parent
IN_THREADS = ("core", "dialects/ollama", "pipeline/understand", "pipeline/execute")
"""What reads large bodies, texts that need a model, and answers that are judged: beside the loop, and in it."""
ALONE = {
    "program.py: cls",  # a file that the start and a command read
    "breaker_sharing.py: Said",  # the loop's own
}
_DECODED = re.compile(r"msgspec\.json\.decode\([^()]*(?:\([^()]*\))?[^()]*type=(?!int|list|dict)(\w+)")


@pytest.mark.parametrize("folder", IN_THREADS)
def test_decoders_are_made_with_their_modules(folder: str):
    files = (SOURCE / folder).rglob("*.py")
    assert {f"{file.name}: {kind}" for file in files for kind in _DECODED.findall(file.read_text())} <= ALONE
