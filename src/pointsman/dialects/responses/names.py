"""Names that a chat tool goes by, and what the caller knows it as: Responses have namespaces, chat has none."""

from __future__ import annotations

import hashlib
import re
from typing import Literal

import msgspec

Kind = Literal["function", "custom", "tool_search"]

TOOL_SEARCH = "tool_search"
"""The function that stands for the caller's own search among tools that it has not named yet."""
MOST_LETTERS = 64
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Known(msgspec.Struct, frozen=True):
    """A tool as the caller named it."""

    kind: Kind
    name: str
    namespace: str | None = None


def flat_name(name: str, namespace: str | None) -> str:
    """The name in a chat body: `namespace__name`, shortened with a digest where it would be too long for upstreams."""
    if not namespace:
        return name
    joined = f"{namespace}__{name}"
    if _PLAIN.fullmatch(joined):
        return joined
    digest = hashlib.sha256(f"{namespace}\0{name}".encode()).hexdigest()[:12]
    return re.sub(r"[^A-Za-z0-9_-]", "_", joined)[: MOST_LETTERS - 13] + "_" + digest
