"""The installation's secret, and what is derived from it."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pointsman.core.errors import StoreError
from pointsman.stores.secret_key import SecretKey, load_secret_key


def test_the_key_is_random_stays_and_is_the_owners_alone(tmp_path: Path):
    folder = tmp_path / "data"
    key = load_secret_key(folder)
    assert load_secret_key(folder).derive("x") == key.derive("x")
    assert load_secret_key(tmp_path / "other").derive("x") != key.derive("x")
    assert [(one.name, stat.S_IMODE(one.stat().st_mode)) for one in folder.iterdir()] == [("secret.key", 0o600)]


def test_many_at_once_get_one_key(tmp_path: Path):
    with ThreadPoolExecutor(16) as pool:
        keys = {key.fingerprint for key in pool.map(load_secret_key, [tmp_path] * 64)}
    assert len(keys) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["secret.key"]


def test_a_file_that_is_no_key_is_refused_with_the_mend(tmp_path: Path):
    (tmp_path / "secret.key").write_bytes(b"short")
    (tmp_path / "secret.key").chmod(0o600)
    with pytest.raises(StoreError, match="5 bytes instead of 32"):
        load_secret_key(tmp_path)


def test_a_file_that_others_may_read_is_refused_with_the_mend(tmp_path: Path):
    load_secret_key(tmp_path)
    (tmp_path / "secret.key").chmod(0o640)
    with pytest.raises(StoreError, match="chmod 600"):
        load_secret_key(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused_with_the_mend(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="set another data_dir"):
        load_secret_key(tmp_path / "file" / "data")


@pytest.mark.parametrize("size", [16, 32, 33, 100])
def test_keys_are_derived_as_rfc_5869_says(size: int):
    reference = HKDF(SHA256(), length=size, salt=b"pointsman", info=b"prompts").derive(b"a secret")
    assert SecretKey(b"a secret").derive("prompts", size) == reference


def test_a_configured_secret_makes_no_file_and_shows_nothing(tmp_path: Path):
    key = load_secret_key(tmp_path, "configured by hand")
    assert list(tmp_path.iterdir()) == []
    assert "configured" not in f"{key!r} {key} {key.fingerprint}"
    assert key.derive("a") != key.derive("b")
