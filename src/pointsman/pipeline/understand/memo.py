"""A bounded memory of what was computed before, the least recently used forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, ParamSpec, TypeVar

V = TypeVar("V")
P = ParamSpec("P")


class Memo(Generic[V]):
    """At most `size` values by digest; 0 remembers nothing. Threads may share it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._values: OrderedDict[bytes, V] = OrderedDict()
        self.known, self.use = self._values.__getitem__, self._values.move_to_end
        """The value for a digest, and that it counts as used: for who asks about many at once. Both raise KeyError."""

    def __len__(self) -> int:
        return len(self._values)

    def peek(self, digest: bytes) -> V | None:
        """The value for a digest; None when it is not there."""
        return self._values.get(digest)

    def get(self, digest: bytes, compute: Callable[P, V], *args: P.args, **kwargs: P.kwargs) -> V:
        """The value for a digest, computed when it is not there. What `compute` raises is not remembered."""
        try:
            self._values.move_to_end(digest)
            return self._values[digest]
        except KeyError:  # new, or another thread made room meanwhile
            pass
        value = compute(*args, **kwargs)
        if self.size > 0:
            self._values[digest] = value
            if len(self._values) > self.size:
                with suppress(KeyError):
                    self._values.popitem(last=False)
        return value
