"""What structs that are written without the fields at their defaults (`omit_defaults`) say, whole again.

What a default is belongs to what is stored: a row that leaves a field out means the default, so none may ever change.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, get_args

import msgspec
from msgspec import Struct


class _Shape(NamedTuple):
    """What `whole` knows of a struct."""

    empty: dict[str, Any]
    """All fields in order, with their defaults as plain JSON values; None where there is none."""
    lists: tuple[str, ...]
    """Fields whose default is an empty list: each reader gets one of its own."""
    inner: tuple[tuple[str, type[Struct], bool], ...]
    """Fields that hold a struct, or a tuple of structs; which, and whether it is a tuple."""


def whole(kind: type[Struct], told: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of a struct as plain JSON values, those at their defaults included.

    Args:
        kind: what was written.
        told: the object as it stands in the JSON. Fields that `kind` does not know stay as they are.
    """
    shape = _shape(kind)
    full = {**shape.empty, **told}
    for name in shape.lists:
        if name not in told:
            full[name] = []
    for name, inner, many in shape.inner:
        full[name] = [whole(inner, one) for one in full[name]] if many else whole(inner, full[name])
    return full


@cache
def _shape(kind: type[Struct]) -> _Shape:
    empty: dict[str, Any] = {}
    inner = []
    for field in msgspec.structs.fields(kind):
        default = None if field.default is msgspec.NODEFAULT else field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        empty[field.name] = msgspec.json.decode(msgspec.json.encode(default))
        inside = get_args(field.type)
        held = next((one for one in inside or (field.type,) if _is_struct(one)), None)
        if held is not None:
            inner.append((field.name, held, bool(inside)))
    return _Shape(empty, tuple(name for name, default in empty.items() if default == []), tuple(inner))


def _is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)
