"""What structs that are written without the fields at their defaults (`omit_defaults`) say, whole again.

What a default is belongs to what is stored: a row that leaves a field out means the default, so none may ever change.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, get_args

import msgspec
from msgspec import Struct


class _Field(NamedTuple):
    name: str
    default: Any
    """As plain JSON values; NODEFAULT where there is none."""
    inner: type[Struct] | None
    """The struct that it holds."""
    many: bool
    """Whether it holds a tuple or list of them."""


def whole(kind: type[Struct], told: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of a struct as plain JSON values: first those that were written, then those at their defaults.

    Args:
        kind: what was written.
        told: the object as it stands in the JSON. Fields that `kind` does not know stay as they are.
    """
    full = dict(told)
    for name, default, inner, many in _fields(kind):
        if name not in told:
            if default is not msgspec.NODEFAULT:
                full[name] = list(default) if isinstance(default, list) else default
        elif inner is not None:
            full[name] = [whole(inner, one) for one in told[name]] if many else whole(inner, told[name])
    return full


@cache
def _fields(kind: type[Struct]) -> tuple[_Field, ...]:
    """The fields that `whole` has something to do for."""
    found = []
    for field in msgspec.structs.fields(kind):
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if default is not msgspec.NODEFAULT:
            default = msgspec.json.decode(msgspec.json.encode(default))
        inside = get_args(field.type)
        inner = next((one for one in inside or (field.type,) if _is_struct(one)), None)
        if default is not msgspec.NODEFAULT or inner is not None:
            found.append(_Field(field.name, default, inner, bool(inside)))
    return tuple(found)


def _is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)
