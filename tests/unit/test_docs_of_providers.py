"""The table of providers says of each what the presets say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pointsman.providers.cards import presets

PAGE = Path(__file__).parents[2] / "docs/reference/providers.md"


@pytest.mark.parametrize("name", sorted(presets()))
def test_each_has_its_row(name: str) -> None:
    rows = [line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    [row] = [row for row in rows[: len(presets())] if f"`{name}`" in row[1]]
    assert set(re.findall(r"`([a-z_]+)`", row[4])) == presets()[name].unsupported
