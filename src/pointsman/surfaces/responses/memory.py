"""Earlier responses: what of an answer is kept, and how a request finds it again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from pointsman.core.aside import aside
from pointsman.core.caller import Caller
from pointsman.core.errors import InvalidRequest, NotFound, StoreError
from pointsman.core.ports import Clock
from pointsman.dialects.responses.object import why_absent
from pointsman.dialects.responses.request import response_of
from pointsman.stores.responses import MOST_ASKED, MOST_ITEMS, ResponseStore, TooLarge, Turn

log = logging.getLogger(__name__)

KEEP_SECONDS = 3.0
"""How long the end of an answer waits until it is kept; a database that hangs must not keep its caller."""

Item = dict[str, Any]


class Kept(msgspec.Struct):
    """The content of a turn."""

    input: list[Item]
    """What the request added to the conversation."""
    response: Item
    """The response object, its output with it."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Kept)


class Memory:
    """Keeps and finds responses for whoever asks.

    Args:
        keeps: whether anything is kept at all.
    """

    def __init__(self, store: ResponseStore, *, keeps: bool, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.keeps = keeps

    async def conversation(self, previous_id: str, caller: Caller) -> list[Item]:
        """The items up to and with a response, the oldest first.

        Raises:
            InvalidRequest: it is not there, was never kept, or an earlier turn is gone.
            StoreError: the database is away.
        """
        try:
            turns = await self._store.conversation(previous_id, owner=_bound(caller))
        except TooLarge:
            raise _no_previous("its conversation has grown too long; send what matters of it as `input`") from None
        if not turns:
            raise _no_previous(why_absent(previous_id) or "there is no such response")
        if turns[0].previous_id is not None:
            raise _no_previous("an earlier turn of its conversation is gone; send all of it as `input`")
        return await aside(partial(_items, turns), _size(turns))

    async def items(self, identifiers: list[str], caller: Caller) -> Mapping[str, Item]:
        """Those of these items that are kept.

        Raises:
            InvalidRequest: they are of too many responses, or of too long ones.
            StoreError: the database is away.
        """
        ours = [(each, response_of(each)) for each in identifiers]
        theirs = [each for each, of in ours if of is None]
        wanted = list(dict.fromkeys(of for _, of in ours if of is not None))
        if len(wanted) > MOST_ASKED:
            raise InvalidRequest(f"Invalid `input`: items of more than {MOST_ASKED} responses.", param="input")
        if len(theirs) > MOST_ITEMS:
            raise InvalidRequest(f"Invalid `input`: more than {MOST_ITEMS} references.", param="input")
        if theirs:
            wanted += await self._store.holding(theirs, owner=_bound(caller))
        try:
            turns = await self._store.some(wanted, owner=_bound(caller))
        except TooLarge:
            raise InvalidRequest(
                "Invalid `input`: the responses of its items are too long together; send the items themselves.",
                param="input",
            ) from None
        return {item["id"]: item for item in await aside(partial(_items, turns), _size(turns))}

    async def keep(self, response: Item, items: list[Item], *, owner: str) -> bool:
        """Keep an answer; False, with a line in the log, where that cannot be done."""
        turn = Turn(
            id=response["id"],
            owner=owner,
            previous_id=response["previous_response_id"],
            created_at=self._clock.now(),
            content=_encoder.encode(Kept(input=items, response=response)),
            items=tuple(_foreign(response["output"])),
        )
        try:
            async with asyncio.timeout(KEEP_SECONDS):
                await self._store.keep(turn)
        except TimeoutError:
            log.warning("The response %s is not kept. The database took more than %g s.", turn.id, KEEP_SECONDS)
            return False
        except TooLarge as error:
            log.info("The response %s is not kept. %s", turn.id, error.message)
            return False
        except StoreError as error:
            log.warning("The response %s is not kept. %s", turn.id, error.message)
            return False
        return True

    async def get(self, identifier: str, caller: Caller) -> Kept:
        """
        Raises:
            NotFound: it is not there, for this caller.
            StoreError: the database is away.
        """
        turn = await self._store.get(identifier, owner=_bound(caller))
        if turn is None:
            raise _absent(identifier)
        return _decoder.decode(turn.content)

    async def remove(self, identifier: str, caller: Caller) -> None:
        """Raises as `get`."""
        if not await self._store.remove(identifier, owner=_bound(caller)):
            raise _absent(identifier)


def _foreign(output: Sequence[Item]) -> Iterator[str]:
    """The ids of a relayed answer's items: the upstream's, to which encrypted reasoning is bound."""
    for item in output:
        known = item.get("id") if isinstance(item, dict) else None
        if isinstance(known, str) and response_of(known) is None:
            yield known


def _items(turns: Sequence[Turn]) -> list[Item]:
    kept = [_decoder.decode(turn.content) for turn in turns]
    return [item for turn in kept for item in (*turn.input, *turn.response["output"])]


def _size(turns: Sequence[Turn]) -> int:
    return sum(len(turn.content) for turn in turns)


def owner_of(caller: Caller) -> str:
    """Whom what this caller leaves belongs to."""
    return caller.key_id or ""


def _bound(caller: Caller) -> str | None:
    """Whose responses a caller may see; None: everybody's."""
    return None if caller.admin else owner_of(caller)


def _no_previous(reason: str) -> InvalidRequest:
    param = "previous_response_id"
    return InvalidRequest(f"Invalid `{param}`: {reason}.", param=param, code="previous_response_not_found")


def _absent(identifier: str) -> NotFound:
    reason = why_absent(identifier)
    return NotFound(f"There is no such response{f': {reason}' if reason else ' that you may see'}.", param="id")
