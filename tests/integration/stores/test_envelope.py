"""Secrets at rest: what an envelope protects, and what a rotation does to it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pointsman.core.ports import SystemClock
from pointsman.stores.credentials import Credential, Credentials
from pointsman.stores.database import Conflict, Database, Statement
from pointsman.stores.envelope import HEAD, Envelope, EnvelopeError, UnknownSecret
from pointsman.stores.sealed import SealedValues
from pointsman.stores.secret_key import (
    SecretKey,
    load_previous_secret_key,
    load_secret_key,
    renew_key_file,
)

SECRET = SecretKey(b"\x01" * 32)
OTHER = SecretKey(b"\x02" * 32)
VALUE = b'{"api_key":"sk-planted-upstream-key-0123456789"}'


def counted(size: int) -> bytes:
    return bytes(range(size))


def test_the_known_answer():
    """Written down once, so that a later version opens what this one sealed."""
    sealed = Envelope(SECRET, random=counted).seal(b"known answer", b"row 7")
    assert sealed.hex() == KNOWN
    assert Envelope(SECRET).open(bytes.fromhex(KNOWN), b"row 7") == b"known answer"


def test_the_form_is_as_told():
    """Opened with the library alone, from the description in the module's docstring."""
    sealed = Envelope(SECRET).seal(VALUE, b"row")
    magic, fingerprint, nonce, wrapped, inner, rest = (
        sealed[:3], sealed[3:11], sealed[11:23], sealed[23:71], sealed[71:83], sealed[83:],
    )  # fmt: skip
    assert (magic, fingerprint.hex()) == (b"PE1", SECRET.fingerprint)
    data_key = AESGCM(SECRET.derive("credentials")).decrypt(nonce, wrapped, b"key\0" + fingerprint + b"row")
    assert AESGCM(data_key).decrypt(inner, rest, b"value\0row") == VALUE


def test_every_byte_is_protected():
    envelope = Envelope(SECRET)
    sealed = envelope.seal(VALUE, b"row")
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(EnvelopeError) as refused:
            envelope.open(bytes(changed), b"row")
        assert "planted" not in str(refused.value)
    for short in (b"", sealed[:10], sealed[:HEAD], sealed[:-1], sealed[: HEAD + 27]):
        with pytest.raises(EnvelopeError):
            envelope.open(short, b"row")


def test_no_two_are_alike():
    envelope = Envelope(SECRET)
    first, second = envelope.seal(VALUE, b"row"), envelope.seal(VALUE, b"row")
    assert first != second
    assert first[HEAD:] != second[HEAD:]
    assert VALUE not in first


def test_it_opens_in_its_own_place_alone():
    with pytest.raises(EnvelopeError, match="another row"):
        Envelope(SECRET).open(Envelope(SECRET).seal(VALUE, b"row 1"), b"row 2")


def test_a_secret_that_is_not_at_hand_is_named():
    sealed = Envelope(OTHER).seal(VALUE, b"row")
    with pytest.raises(UnknownSecret, match=OTHER.fingerprint) as refused:
        Envelope(SECRET).open(sealed, b"row")
    assert "POINTSMAN_PREVIOUS_SECRET_KEY" in str(refused.value)


def test_the_previous_secret_opens_and_rewrapping_moves():
    sealed = Envelope(OTHER).seal(VALUE, b"row")
    both = Envelope(SECRET, [OTHER])
    assert both.open(sealed, b"row") == VALUE
    assert not both.is_current(sealed)
    moved = both.rewrap(sealed, b"row")
    assert both.is_current(moved)
    assert moved[HEAD:] == sealed[HEAD:]  # the value itself is not touched
    assert Envelope(SECRET).open(moved, b"row") == VALUE


def test_a_secret_that_came_meanwhile_is_looked_for():
    late: list[SecretKey] = []
    envelope = Envelope(SECRET, more=lambda: late)
    sealed = Envelope(OTHER).seal(VALUE, b"row")
    with pytest.raises(UnknownSecret):
        envelope.open(sealed, b"row")
    late.append(OTHER)
    assert envelope.open(sealed, b"row") == VALUE


def values(database: Database, secret: SecretKey = SECRET, *previous: SecretKey) -> SealedValues:
    return SealedValues(database, Envelope(secret, previous), SystemClock())


async def test_values_are_kept_replaced_and_removed(database: Database):
    kept = values(database)
    assert await kept.get("credential", "openai") is None
    await kept.put("credential", "openai", b"one", tell="credentials")
    await kept.put("credential", "openai", b"two", tell="credentials")
    await kept.put("signing", "openai", b"another kind")
    assert await kept.get("credential", "openai") == b"two"
    assert [(row.name, row.version, row.value) for row in await kept.all("credential")] == [("openai", 2, b"two")]
    assert await database.fetch("SELECT value FROM revisions WHERE name = 'credentials'") == [(2,)]
    assert await kept.remove("credential", "openai", tell="credentials")
    assert not await kept.remove("credential", "openai", tell="credentials")
    assert await kept.get("signing", "openai") == b"another kind"


async def test_rows_cannot_be_swapped_or_put_back(database: Database):
    kept = values(database)
    await kept.put("credential", "openai", b"theirs")
    [(old,)] = await database.fetch("SELECT envelope FROM sealed WHERE name = 'openai'")
    await kept.put("credential", "evil", b"mine")
    await database.execute("UPDATE sealed SET envelope = $1 WHERE name = 'evil'", bytes(old))
    with pytest.raises(EnvelopeError, match="another row"):
        await kept.get("credential", "evil")
    await kept.put("credential", "openai", b"newer")
    await database.execute("UPDATE sealed SET envelope = $1 WHERE name = 'openai'", bytes(old))
    [row] = [row for row in await kept.all("credential") if row.name == "openai"]
    assert row.value is None
    assert "another row" in str(row.problem)


async def test_what_is_made_once_stays_through_rotations(database: Database):
    pepper = await values(database).made_once("pepper")
    assert len(pepper) == 32
    assert await values(database).made_once("pepper") == pepper
    assert await values(database, OTHER, SECRET).rewrap() == 1
    assert await values(database, OTHER).made_once("pepper") == pepper


async def test_a_rotation_moves_all_or_none(database: Database):
    old = values(database)
    for name in ("a", "b", "c"):
        await old.put("credential", name, name.encode())
    both = values(database, OTHER, SECRET)
    await both.put("credential", "d", b"d")
    assert (await both.wrapping()).previous == 3
    with pytest.raises(Conflict):
        await both.rewrap((Statement("DELETE FROM sealed WHERE name = 'nobody'", (), 1),))
    assert (await both.wrapping()).previous == 3
    assert await both.rewrap() == 3
    assert await both.rewrap() == 0
    assert [row.value for row in await values(database, OTHER).all("credential")] == [b"a", b"b", b"c", b"d"]
    assert (await values(database).wrapping()).unknown == 4


async def test_a_rotation_stops_at_what_it_cannot_read(database: Database):
    await values(database).put("credential", "openai", b"x")
    await values(database, OTHER).put("credential", "anthropic", b"y")
    with pytest.raises(UnknownSecret, match="credential openai"):
        await values(database, OTHER).rewrap()
    assert await values(database, OTHER).forget_unreadable(tell=("credentials",)) == ["credential openai"]
    assert await values(database, OTHER).get("credential", "anthropic") == b"y"


async def test_a_file_holds_no_key_in_the_clear(path: Path):
    from pointsman.stores.sqlite_database import SqliteDatabase

    database = SqliteDatabase(path)
    await database.open()
    await Credentials(values(database)).set("openai", Credential(api_key="sk-planted-upstream-key-0123456789"))
    await database.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM sealed").fetchone() == (1,)
    connection.close()
    for file in path.parent.iterdir():
        assert b"planted" not in file.read_bytes()


@pytest.mark.parametrize("key", ["", " ", "two\nlines", "na\u00efve", "x" * 9000])
async def test_a_key_that_cannot_be_sent_is_refused(database: Database, key: str):
    from pointsman.core.errors import InvalidRequest

    with pytest.raises(InvalidRequest):
        await Credentials(values(database)).set("openai", Credential(api_key=key))


def test_nothing_shows_itself():
    shown = (
        repr(Envelope(SECRET))
        + repr(SECRET)
        + repr(Credential(api_key="sk-planted"))
        + str(Credential(api_key="sk-planted"))
    )
    assert "planted" not in shown
    assert Credential(api_key="short").masked == "…"
    assert Credential(api_key="sk-planted-0123456789").masked == "…6789"


def test_a_key_file_is_renewed_whole(tmp_path: Path):
    first = load_secret_key(tmp_path)
    second = renew_key_file(tmp_path)
    assert load_secret_key(tmp_path).fingerprint == second.fingerprint != first.fingerprint
    previous = load_previous_secret_key(tmp_path)
    assert previous is not None
    assert previous.fingerprint == first.fingerprint
    assert sorted(os.listdir(tmp_path)) == ["secret.key", "secret.key.previous"]
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o600 for name in os.listdir(tmp_path))


KNOWN = (
    "5045313e3782b4a0eee921000102030405060708090a0b5f6c275b87042f81404fab6c23b4adfda43a5d55c1624e151b5f60"
    "81baea26f6978af45232dd6f4fdac7968420399074000102030405060708090a0b2c6cb96cabc5a375fe36f2f99e30d4ea3c"
    "b33ecfc615904e680971cc"
)
