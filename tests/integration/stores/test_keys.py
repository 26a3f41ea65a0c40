"""API keys in the database: what is kept of them, and what each change does. Every test runs on both back ends."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from pointsman.core.caller import Scopes
from pointsman.core.errors import InvalidRequest, NotFound
from pointsman.core.keys import TOKEN
from pointsman.pipeline.admit import KeyDirectory
from pointsman.stores.database import Database
from pointsman.stores.keys import KeyChange, KeyStore
from pointsman.stores.secret_key import SecretKey
from pointsman.stores.watch import Watcher

SECRET = SecretKey(b"one installation's secret")
BOUNDS = Scopes(
    models=("openai:gpt-4o",), endpoints=("chat", "models"), networks=("10.0.0.0/8",), tier="free",
    daily_micro_usd=500_000, monthly_micro_usd=9_000_000,
)  # fmt: skip


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database: Database, clock: Clock) -> KeyStore:
    return KeyStore(database, SECRET, clock, tiers=["free", "premium"])


def directory_of(store: KeyStore, clock: Clock) -> KeyDirectory:
    return KeyDirectory(store, digest=store.digest, clock=clock, age=lambda: 0, stale_grace=300)


async def test_a_key_is_kept_without_its_token(store, database, clock):
    made = await store.create("ci", by="me", scopes=BOUNDS, expires_at=clock.time + 60)
    assert TOKEN.fullmatch(made.token.encode())
    assert made.token not in repr(made)
    assert await store.get("ci") == await store.get(made.key.id) == made.key == (await store.all())[0]
    assert made.key.scopes == BOUNDS
    assert (made.key.created_by, made.key.expires_at) == ("me", clock.time + 60)
    assert made.token.startswith(made.key.secrets[0].prefix)
    kept = str([await database.fetch(f"SELECT * FROM {table}") for table in ("api_keys", "api_key_secrets")])
    assert made.token[12:] not in kept


async def test_names_are_the_owners_until_revoked(store):
    first = await store.create("ci", by="me")
    with pytest.raises(InvalidRequest, match="rotate it"):
        await store.create("ci", by="me")
    await store.revoke("ci", by="you")
    second = await store.create("ci", by="me")
    assert (await store.get("ci")).id == second.key.id
    assert (await store.get(first.key.id)).revoked_by == "you"
    with pytest.raises(InvalidRequest, match="was revoked"):
        await store.rotate(first.key.id, by="me", overlap=0)
    with pytest.raises(NotFound):
        await store.get("other")


async def test_a_rotation_overlaps(store, clock):
    directory = directory_of(store, clock)
    first = await store.create("ci", by="me")
    second = await store.rotate("ci", by="me", overlap=60)
    assert second.key.id == first.key.id
    await directory.reload()

    def who(token: str) -> str | None:
        caller = directory.admit(token.encode(), None)
        return caller and caller.key_id

    assert who(first.token) == who(second.token) == first.key.id
    clock.time += 61
    with pytest.raises(Exception, match="replaced by a rotation"):
        who(first.token)
    assert who(second.token) == first.key.id
    third = await store.rotate("ci", by="me", overlap=0)
    assert len(third.key.secrets) == 2, "what had ended is forgotten"


async def test_a_change_leaves_the_rest(store, clock):
    await store.create("ci", by="me", scopes=BOUNDS)
    changed = await store.update("ci", KeyChange(tier=None, models=(), expires_at=clock.time + 5, role="viewer"))
    assert changed.scopes == msgspec.structs.replace(BOUNDS, tier=None, models=())
    assert (changed.role, changed.expires_at) == ("viewer", clock.time + 5)
    assert (await store.update("ci", KeyChange(expires_at=None, name="cd"))).expires_at is None
    assert (await store.get("cd")).scopes.networks == ("10.0.0.0/8",)
    await store.create("ci", by="me")
    with pytest.raises(InvalidRequest, match="already"):
        await store.update("cd", KeyChange(name="ci"))


async def test_changes_at_the_same_time_all_hold(store):
    await store.create("ci", by="me")
    await asyncio.gather(
        store.update("ci", KeyChange(models=("a",))),
        store.update("ci", KeyChange(tier="free")),
        store.update("ci", KeyChange(daily_micro_usd=1)),
    )
    assert (await store.get("ci")).scopes == Scopes(models=("a",), tier="free", daily_micro_usd=1)


@pytest.mark.parametrize(
    ("name", "bounds", "param"),
    [
        ("", {}, "name"),
        ("key_12", {}, "name"),
        (" x", {}, "name"),
        ("a\nb", {}, "name"),
        ("x" * 101, {}, "name"),
        ("x", {"endpoints": ("chat", "everything")}, "endpoints"),
        ("x", {"networks": ("10.0.0.0/33",)}, "networks"),
        ("x", {"networks": ("host.example",)}, "networks"),
        ("x", {"models": ("",)}, "models"),
        ("x", {"models": ("m",) * 101}, "models"),
        ("x", {"tier": "gold"}, "tier"),
        ("x", {"daily_micro_usd": -1}, "daily_micro_usd"),
    ],
)
async def test_what_cannot_be_is_refused(store, name, bounds, param):
    with pytest.raises(InvalidRequest) as refused:
        await store.create(name, by="me", scopes=Scopes(**bounds))
    assert refused.value.param == param


async def test_last_use_is_the_latest(store, clock):
    made = await store.create("ci", by="me")
    directory = directory_of(store, clock)
    await directory.reload()
    directory.admit(made.token.encode(), None)
    clock.time += 5
    directory.admit(made.token.encode(), None)
    await directory.flush()
    assert (await store.get("ci")).last_used_at == clock.time
    await store.used({made.key.id: clock.time - 3})
    assert (await store.get("ci")).last_used_at == clock.time


async def test_tokens_outlive_a_rotation_of_the_secret(database, clock):
    """They are hashed under a random value that is kept apart; whoever has another one admits nobody."""

    def under(secret: bytes, pepper: bytes) -> KeyStore:
        async def kept() -> bytes:
            return pepper

        return KeyStore(database, SecretKey(secret), clock, pepper=kept)

    made = await under(b"before", b"p" * 32).create("ci", by="me")
    for store, admitted in ((under(b"after", b"p" * 32), True), (under(b"before", b"q" * 32), False)):
        directory = directory_of(store, clock)
        await directory.reload()
        assert (directory.admit(made.token.encode(), None) is not None) is admitted


async def test_a_watcher_brings_every_change(store, database, clock):
    directory = directory_of(store, clock)
    watcher = Watcher(database, clock)
    watcher.watch("keys", directory.reload)
    await watcher.look()
    assert not directory.any
    made = await store.create("ci", by="me")
    await watcher.look()
    assert directory.admit(made.token.encode(), None) is not None
    await store.revoke("ci", by="me")
    await watcher.look()
    assert directory.admit(made.token.encode(), None) is None
    assert directory.any, "a key that was revoked opens no port"
