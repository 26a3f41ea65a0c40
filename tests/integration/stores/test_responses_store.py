"""Kept responses: whose they are, for how long, how much, and that nobody reads them in the database."""

from __future__ import annotations

import asyncio

import pytest

from pointsman.core.errors import StoreUnavailable
from pointsman.stores.database import Database, Statement
from pointsman.stores.envelope import Envelope
from pointsman.stores.responses import MOST_ITEMS, ResponseStore, TooLarge, Turn
from pointsman.stores.sealed import SealedValues
from pointsman.stores.secret_key import SecretKey

SECRET, NEXT = SecretKey(b"one installation's secret"), SecretKey(b"and the one after it")
DAY = 86_400.0


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


def store_of(database: Database, clock: Clock, *, secret: Envelope | None = None, most: int = 10**9) -> ResponseStore:
    sealed = SealedValues(database, secret or Envelope(SECRET), clock)
    return ResponseStore(database, sealed, clock, seconds=30 * DAY, most_of_one=10_000, most_of_all=most)


@pytest.fixture
def store(database: Database, clock: Clock) -> ResponseStore:
    return store_of(database, clock)


def turn(
    number: int, *, owner: str = "key_a", after: int | None = None, content: bytes = b"", items: tuple[str, ...] = ()
) -> Turn:
    return Turn(
        id=f"resp_{number}",
        owner=owner,
        previous_id=None if after is None else f"resp_{after}",
        created_at=1_700_000_000.0 + number,
        content=content or b"said %d" % number,
        items=items,
    )


async def count(database: Database) -> int:
    return (await database.fetch("SELECT COUNT(*) FROM responses"))[0][0]


async def test_a_turn_is_kept_for_its_owner_and_for_whoever_sees_all(store):
    await store.keep(turn(1))
    assert await store.get("resp_1", owner="key_a") == await store.get("resp_1", owner=None) == turn(1)
    assert await store.get("resp_1", owner="key_b") is None
    assert await store.conversation("resp_1", owner="key_b") == []
    assert await store.some(["resp_1", "resp_2"], owner="key_b") == []
    assert not await store.remove("resp_1", owner="key_b")
    assert await store.remove("resp_1", owner="key_a")
    assert not await store.remove("resp_1", owner=None)
    assert await store.get("resp_1", owner="key_a") is None


async def test_a_turn_is_found_by_its_items(store, database, clock):
    await store.keep(turn(1, items=("rs_1", "msg_1", "rs_1")))
    await store.keep(turn(2, items=("msg_2", "msg_1")))
    await store.keep(turn(3, owner="key_b", items=("rs_1",)))
    assert await store.holding(["rs_1"], owner="key_a") == ["resp_1"]
    assert await store.holding(["rs_1"], owner="key_b") == ["resp_3"]
    assert set(await store.holding(["rs_1", "msg_1", "msg_9"], owner="key_a")) == {"resp_1", "resp_2"}
    assert await store.holding(["msg_1"], owner="key_c") == []
    assert await store.remove("resp_2", owner="key_a")
    assert await store.holding(["msg_1"], owner=None) == ["resp_1"]
    clock.time += 31 * DAY
    assert await store.holding(["msg_1"], owner=None) == []
    await store.purge()
    assert (await database.fetch("SELECT COUNT(*) FROM response_items"))[0][0] == 0
    await store.keep(turn(4, items=tuple(f"rs_{number}" for number in range(MOST_ITEMS + 1))))
    assert await store.holding([f"rs_{MOST_ITEMS - 1}", f"rs_{MOST_ITEMS}"], owner="key_a") == ["resp_4"]


async def test_what_is_kept_cannot_be_read_nor_put_elsewhere(store, database):
    await store.keep(turn(1, content=b"a wish that nobody else reads"))
    await store.keep(turn(2, owner="key_b"))
    rows = await database.fetch("SELECT content FROM responses WHERE id = 'resp_1'")
    assert b"wish" not in bytes(rows[0][0])
    await database.execute("UPDATE responses SET content = $1 WHERE id = 'resp_2'", bytes(rows[0][0]))
    assert await store.get("resp_2", owner="key_b") is None
    assert await store.get("resp_1", owner="key_a") is not None


async def test_a_rotated_secret_reads_on(store, database, clock):
    await store.keep(turn(1))
    both = Envelope(NEXT, [SECRET])
    await SealedValues(database, both, clock).rewrap()
    assert await store_of(database, clock, secret=Envelope(NEXT)).get("resp_1", owner="key_a") == turn(1)


async def test_a_conversation_is_its_turns_in_order_and_lives_as_long_as_its_last(store, database, clock):
    await store.keep(turn(1))
    clock.time += 20 * DAY
    await store.keep(turn(2, after=1))
    await store.keep(turn(3, after=1))  # another way on
    clock.time += 20 * DAY
    await store.keep(turn(4, after=2))
    assert await store.conversation("resp_4", owner="key_a") == [turn(1), turn(2, after=1), turn(4, after=2)]
    clock.time += 29 * DAY
    assert await store.purge() == 0
    clock.time += 2 * DAY
    assert await store.conversation("resp_4", owner="key_a") == []
    assert await store.get("resp_4", owner="key_a") is None
    assert await store.purge() == 4
    assert await count(database) == 0


@pytest.mark.parametrize("days", [0, 20])
async def test_many_go_on_from_one_turn_at_once(store, database, clock, days):
    """Those of several gateways too, each with connections of its own."""
    await store.keep(turn(0))
    for number in range(1, 30):
        await store.keep(turn(number, after=number - 1))
    clock.time += days * DAY
    await asyncio.gather(*(store.keep(turn(number, after=29)) for number in range(30, 90)))
    ends = await database.fetch("SELECT MIN(expires_at), COUNT(*) FROM responses WHERE root_id = 'resp_0'")
    assert ends[0][0] >= clock.time + 30 * DAY
    assert ends[0][1] == 90


async def test_a_conversation_that_lost_a_turn_shows_it(store):
    await store.keep(turn(1))
    await store.keep(turn(2, after=1))
    await store.remove("resp_1", owner="key_a")
    assert await store.conversation("resp_2", owner="key_a") == [turn(2, after=1)]
    await store.keep(turn(5, after=4))
    assert (await store.conversation("resp_5", owner=None))[0].previous_id == "resp_4"


async def test_too_large_a_turn_is_refused_and_too_much_forgotten_where_most_is(database, clock):
    store = store_of(database, clock)
    with pytest.raises(TooLarge):
        await store.keep(turn(1, content=b"x" * 10_001))
    await store.keep(turn(1, owner="key_b", content=b"x" * 900))
    for number in range(2, 12):
        await store.keep(turn(number, content=b"x" * 900))
    gone = await store_of(database, clock, most=5_000).purge()
    assert gone == 11 - await count(database)
    kept = {row[0] for row in await database.fetch("SELECT id FROM responses")}
    assert {"resp_1", "resp_11"} <= kept
    assert "resp_2" not in kept
    total = (await database.fetch("SELECT SUM(size) FROM responses"))[0][0]
    assert 3_000 < int(total) <= 5_000


async def test_between_two_purges_not_much_more_can_gather(database, clock):
    store = store_of(database, clock, most=16_000)
    for number in range(60):
        await store.keep(turn(number, content=b"x" * 900))
        assert int((await database.fetch("SELECT SUM(size) FROM responses"))[0][0]) <= 18_000


async def test_a_conversation_that_nobody_could_send_is_not_read(store, monkeypatch):
    monkeypatch.setattr("pointsman.stores.responses.MOST_OF_CONVERSATION", 15_000)
    await store.keep(turn(1, content=b"x" * 9_000))
    await store.keep(turn(2, after=1, content=b"x" * 9_000))
    assert await store.conversation("resp_1", owner="key_a")
    with pytest.raises(TooLarge):
        await store.conversation("resp_2", owner="key_a")


async def test_many_turns_are_a_conversation_still(store, database):
    await store.keep(turn(0))
    row = "INSERT INTO responses SELECT $1, owner, $2, root_id, created_at, expires_at, size, content FROM responses"
    link = [Statement(f"{row} WHERE id = 'resp_0'", (f"resp_{n}", f"resp_{n - 1}")) for n in range(1, 200)]
    await database.transaction(link)
    rows = await database.fetch("SELECT COUNT(*) FROM responses")
    assert rows[0][0] == 200
    assert await store.conversation("resp_199", owner="key_a") == []  # what was copied is bound to another id


async def test_a_database_that_is_away_says_so(store, database):
    await store.keep(turn(1))
    await database.close()
    for act in (store.get("resp_1", owner=None), store.keep(turn(2)), store.conversation("resp_1", owner=None)):
        with pytest.raises(StoreUnavailable):
            await act
