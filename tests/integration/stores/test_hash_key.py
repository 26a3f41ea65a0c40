"""The key that prompts are hashed with."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pointsman.core.errors import StoreError
from pointsman.stores.hash_key import load_hash_key


def test_the_key_is_random_stays_and_is_the_owners_alone(tmp_path: Path):
    folder = tmp_path / "data"
    key = load_hash_key(folder)
    assert len(key) == 32
    assert load_hash_key(folder) == key
    assert load_hash_key(tmp_path / "other") != key
    assert [(one.name, stat.S_IMODE(one.stat().st_mode)) for one in folder.iterdir()] == [("hash.key", 0o600)]


def test_many_at_once_get_one_key(tmp_path: Path):
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(load_hash_key, [tmp_path] * 64))
    assert len(keys) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["hash.key"]


def test_a_file_that_is_no_key_is_refused_with_the_mend(tmp_path: Path):
    (tmp_path / "hash.key").write_bytes(b"short")
    with pytest.raises(StoreError, match=r"5 bytes instead of 32\. Delete it"):
        load_hash_key(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused_with_the_mend(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="set another data_dir"):
        load_hash_key(tmp_path / "file" / "data")
