"""What the fields beside the messages say: worked out once for requests that differ in their messages alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Raw

from pointsman.core.request import OWN_FIELDS, ChatRequest
from pointsman.core.signals import Needs

from .facts import FieldFacts
from .needs import needs_of_fields, searches
from .strings import MOST_VALUES, too_many_values

NOT_TEXT = frozenset({"messages", "model", "stream", *OWN_FIELDS})
"""Fields that are read elsewhere or that no upstream sees as they came."""


class Beside(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The sums over all fields but those of `NOT_TEXT`. Holds none of their text."""

    bytes: int
    """UTF-8 bytes of every string in them."""
    values: int
    disguised: int
    """Bytes that are written like a picture, and read as text."""
    cache_marks: int
    """How many of the fields speak of a cache."""
    detectors: tuple[str, ...]
    needs: Needs
    """What the request needs, as far as the fields say it."""
    searches: bool
    """Whether the provider may add to the prompt by itself."""


def fields_read(request: ChatRequest) -> list[str]:
    """Names of the fields, in an order that is the same for the same names."""
    return sorted(request.fields.keys() - NOT_TEXT)


def read_beside(
    request: ChatRequest, names: Sequence[str], values: int, facts_of: Callable[[str, Raw], FieldFacts]
) -> Beside:
    """Sum the fields up.

    Args:
        names: as `fields_read` gives them.
        values: JSON values in the messages.
        facts_of: the facts of one field.

    Raises:
        InvalidRequest: a field cannot be decoded, or is the one too many.
    """
    size = disguised = cache_marks = own_values = 0
    found: list[str] = []
    for name in names:
        field = facts_of(name, request.fields[name])
        size += field.bytes
        own_values += field.values
        disguised += field.disguised
        cache_marks += field.caches
        found += field.detectors
        if values + own_values > MOST_VALUES:
            raise too_many_values(name)
    return Beside(
        bytes=size,
        values=own_values,
        disguised=disguised,
        cache_marks=cache_marks,
        detectors=tuple(dict.fromkeys(found)),
        needs=needs_of_fields(request),
        searches=searches(request),
    )
