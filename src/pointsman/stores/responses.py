"""What callers of the Responses API may come back to: a turn each, encrypted, for a limited time.

Turns are encrypted with AES-256-GCM under a random value of the installation, which itself is sealed under its secret:
a rotation of the secret has one value to wrap anew, however many turns there are.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from pointsman.core.errors import StoreError
from pointsman.core.ports import Clock

from .database import Database, Statement
from .sealed import SealedValues

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

log = logging.getLogger(__name__)

NONCE = 12
MOST_TURNS = MOST_ASKED = 500
"""In a conversation, and fetched by their ids at once."""
MOST_ITEMS = 5_000
"""Of a turn, and looked for at once."""
LINGER, LINGER_SHARE = 3600.0, 0.01
"""Seconds, and share of its time, by which a conversation may be kept longer, whichever is less: its turns need not be
written anew with each that is added, nor do those who go on from one at the same time wait for one another."""
MOST_OF_CONVERSATION = 32 * 1024**2
"""Bytes of a conversation that can still be continued by its id: as many as a request's body may have by default."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, as it is kept."""

    id: str
    owner: str
    previous_id: str | None
    created_at: float
    content: bytes
    items: tuple[str, ...] = ()
    """Ids by which `holding` finds it; they are written and not read again."""


class TooLarge(StoreError):
    """It is larger than what is kept."""

    code = "response_too_large"


class ResponseStore:
    """Keeps turns. All methods raise StoreError when the database is away."""

    def __init__(
        self,
        database: Database,
        sealed: SealedValues,
        clock: Clock,
        *,
        seconds: float,
        most_of_one: int,
        most_of_all: int,
    ) -> None:
        """
        Args:
            seconds: how long a conversation is kept after its last turn.
            most_of_one, most_of_all: bytes of a turn, and of all turns together.
        """
        self._database = database
        self._sealed = sealed
        self._clock = clock
        self._seconds = seconds
        self._most_of_one = most_of_one
        self._most_of_all = most_of_all
        self._key: bytes | None = None
        self._written = 0
        """Bytes since the last purge."""

    async def keep(self, turn: Turn) -> None:
        """Keep a turn; the conversation that it continues is kept as long as it.

        Raises:
            TooLarge: it is.
        """
        if len(turn.content) > self._most_of_one:
            raise TooLarge(f"A turn of {len(turn.content)} bytes is more than responses.max_turn_bytes.")
        root = turn.id
        if turn.previous_id is not None:
            rows = await self._database.fetch("SELECT root_id FROM responses WHERE id = $1", turn.previous_id)
            root = rows[0][0] if rows else root
        until = self._clock.now() + self._seconds
        ends = until + min(LINGER, LINGER_SHARE * self._seconds)
        nonce = os.urandom(NONCE)
        content = nonce + _aead(await self._key_at_hand()).encrypt(nonce, turn.content, _bound(turn.id, turn.owner))
        longer = "UPDATE responses SET expires_at = $1 WHERE expires_at < $2"
        await self._database.transaction(
            [
                # The first turn before all others: two transactions that took them in different orders would deadlock.
                Statement(f"{longer} AND id = $3", (ends, until, root)),
                Statement(
                    "INSERT INTO responses (id, owner, previous_id, root_id, created_at, expires_at, size, content)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                    (turn.id, turn.owner, turn.previous_id, root, turn.created_at, ends, len(content), content),
                    1,
                ),
                *_items_of(turn),
                Statement(f"{longer} AND root_id = $3", (ends, until, root)),
            ]
        )
        self._written += len(content)
        if self._written > self._most_of_all // 16:  # between two regular purges, much can come
            try:
                await self.purge()
            except StoreError as error:
                log.warning("Old responses cannot be purged now. %s", error.message)

    async def get(self, identifier: str, *, owner: str | None) -> Turn | None:
        """A turn, or None where there is none that this owner may see; without an owner, anybody's."""
        found = await self.some([identifier], owner=owner)
        return found[0] if found else None

    async def holding(self, items: Sequence[str], *, owner: str | None) -> list[str]:
        """The ids of the turns that were kept with these items; of several with one, the newest. At most
        `MOST_ITEMS` are looked for."""
        wanted = list(dict.fromkeys(items))[:MOST_ITEMS]
        places = ", ".join(f"${number}" for number in range(2, len(wanted) + 2))
        rows = await self._database.fetch(
            "SELECT i.item_id, r.id, r.owner FROM response_items i JOIN responses r ON r.id = i.response_id"  # noqa: S608
            f" WHERE r.expires_at > $1 AND i.item_id IN ({places}) ORDER BY r.created_at, r.id",
            self._clock.now(),
            *wanted,
        )
        found = {row[0]: row[1] for row in rows if owner is None or row[2] == owner}
        return list(dict.fromkeys(found.values()))

    async def some(self, identifiers: Sequence[str], *, owner: str | None) -> list[Turn]:
        """Those of these turns that are there for this owner, in no order. At most `MOST_ASKED` are looked for.

        Raises:
            TooLarge: they are more than `MOST_OF_CONVERSATION` together.
        """
        rows = await self._rows("id, owner, size", list(dict.fromkeys(identifiers))[:MOST_ASKED])
        rows = [row for row in rows if owner is None or row[1] == owner]
        size = sum(int(row[2]) for row in rows)
        if size > MOST_OF_CONVERSATION:
            raise TooLarge(f"Turns of {size} bytes are more than {MOST_OF_CONVERSATION}.")
        rows = await self._rows("id, owner, previous_id, created_at, content", [row[0] for row in rows])
        return await self._opened(rows)

    async def _rows(self, columns: str, identifiers: Sequence[str]) -> Sequence[tuple[Any, ...]]:
        if not identifiers:
            return []
        places = ", ".join(f"${number}" for number in range(2, len(identifiers) + 2))
        return await self._database.fetch(
            f"SELECT {columns} FROM responses WHERE expires_at > $1 AND id IN ({places})",  # noqa: S608
            self._clock.now(),
            *identifiers,
        )

    async def conversation(self, identifier: str, *, owner: str | None) -> list[Turn]:
        """A turn and those before it, the oldest first; it is cut where one is gone, and then begins with a turn whose
        `previous_id` is set.

        Raises:
            TooLarge: all of it is more than `MOST_OF_CONVERSATION`.
        """
        rows = await self._database.fetch(
            "WITH RECURSIVE chain (id, owner, previous_id, size, depth) AS ("
            " SELECT id, owner, previous_id, size, 1 FROM responses WHERE id = $1 AND expires_at > $2"
            " UNION ALL SELECT r.id, r.owner, r.previous_id, r.size, chain.depth + 1 FROM responses r"
            " JOIN chain ON r.id = chain.previous_id WHERE chain.depth < $3 AND r.expires_at > $2)"
            " SELECT id, owner, size FROM chain ORDER BY depth DESC",
            identifier,
            self._clock.now(),
            MOST_TURNS,
        )
        if owner is not None and any(row[1] != owner for row in rows):
            return []
        size = sum(int(row[2]) for row in rows)
        if size > MOST_OF_CONVERSATION:
            raise TooLarge(f"A conversation of {size} bytes is more than {MOST_OF_CONVERSATION}.")
        found = {turn.id: turn for turn in await self.some([row[0] for row in rows], owner=None)}
        return [found[row[0]] for row in rows] if len(found) == len(rows) else []

    async def remove(self, identifier: str, *, owner: str | None) -> bool:
        """Forget a turn; False where there is none that this owner may see."""
        if owner is None:
            return await self._database.execute("DELETE FROM responses WHERE id = $1", identifier) > 0
        sql = "DELETE FROM responses WHERE id = $1 AND owner = $2"
        return await self._database.execute(sql, identifier, owner) > 0

    async def purge(self) -> int:
        """Forget what is over its time, and the oldest of whoever has most, while all is too much."""
        self._written = 0
        gone = await self._database.execute("DELETE FROM responses WHERE expires_at <= $1", self._clock.now())
        while True:
            rows = await self._database.fetch(
                "SELECT owner, SUM(size), COUNT(*) FROM responses GROUP BY owner ORDER BY SUM(size) DESC"
            )
            over = sum(int(row[1]) for row in rows) - self._most_of_all
            if over <= 0:
                return gone
            owner, size, count = rows[0][0], int(rows[0][1]), int(rows[0][2])
            some = max(1, min(count, -(-count * min(over, size) // size)))
            gone += await self._database.execute(
                "DELETE FROM responses WHERE id IN"
                " (SELECT id FROM responses WHERE owner = $1 ORDER BY created_at, id LIMIT $2)",
                owner,
                some,
            )

    async def _opened(self, rows: Iterable[tuple[str, str, str | None, float, bytes]]) -> list[Turn]:
        """The turns of these rows; what cannot be decrypted is told in the log and left out."""
        from cryptography.exceptions import InvalidTag

        turns = []
        key = await self._key_at_hand()
        for identifier, owner, previous, created_at, stored in rows:
            sealed = bytes(stored)
            try:
                content = _aead(key).decrypt(sealed[:NONCE], sealed[NONCE:], _bound(identifier, owner))
            except InvalidTag:
                self._key = None  # somebody may have begun anew with another
                log.error("The response %s cannot be decrypted; it counts as gone.", identifier)
                continue
            turns.append(Turn(id=identifier, owner=owner, previous_id=previous, created_at=created_at, content=content))
        return turns

    async def _key_at_hand(self) -> bytes:
        if self._key is None:
            self._key = await self._sealed.made_once("responses")
        return self._key


def _aead(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _items_of(turn: Turn) -> Iterator[Statement]:
    """What puts a turn's items down, in as few statements as a database takes."""
    items = list(dict.fromkeys(turn.items))[:MOST_ITEMS]
    if items:
        places = ", ".join(f"(${number}, $1)" for number in range(2, len(items) + 2))
        yield Statement(f"INSERT INTO response_items (item_id, response_id) VALUES {places}", (turn.id, *items))  # noqa: S608


def _bound(identifier: str, owner: str) -> bytes:
    return b"response\0" + msgspec.json.encode((identifier, owner))
