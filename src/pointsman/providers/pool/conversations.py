"""Which server of a pool answered a conversation last: it may still hold the prompt's beginning in its cache."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence

from msgspec import Raw

from pointsman.core.ports import ChatCall

from .instance import Instance

MOST = 4096
"""Conversations that are remembered."""
OPENING = 8
"""Messages among which the user's first is looked for."""
HASHED = 64 * 1024
"""Bytes of a message that tell it from others."""
EDGE = 80
_USER = re.compile(rb'"role"\s*:\s*"user"')


class Conversations:
    """Remembers numbers alone: hashes, keyed anew in each process, of what conversations begin with."""

    def __init__(self) -> None:
        self._at: OrderedDict[int, Instance] = OrderedDict()

    def key(self, call: ChatCall) -> int | None:
        """The number of a chat's conversation: the same for all its turns, which resend how it began."""
        if call.request.kind != "chat":
            return None
        return hash((call.card.name, *_opening(call.request.params.messages)))

    def last(self, key: int | None) -> Instance | None:
        return self._at.get(key) if key is not None else None

    def keep(self, key: int | None, instance: Instance) -> None:
        if key is None:
            return
        self._at[key] = instance
        self._at.move_to_end(key)
        if len(self._at) > MOST:
            self._at.popitem(last=False)


def _opening(messages: Sequence[Raw]) -> list[bytes]:
    """The beginnings of the messages up to the user's first."""
    opening = []
    for raw in messages[:OPENING]:
        view = memoryview(raw)
        opening.append(bytes(view[:HASHED]))
        if _USER.search(view[:EDGE]) or _USER.search(view[-EDGE:]):
            break
    return opening
