"""A bounded memory of what was computed before, the least recently used forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, ParamSpec, TypeVar

V = TypeVar("V")
P = ParamSpec("P")


class Memo(Generic[V]):
    """At most `size` values by digest; 0 remembers nothing. Threads may share it.

    Args:
        weigh: what a value takes beyond what every one does, in any unit; None: nothing.
        most: how much all of them may take together of that. A value that weighs more than a sixteenth of it is not
            remembered: it would put out all others.
    """

    def __init__(self, size: int, *, weigh: Callable[[V], int] | None = None, most: int = 0) -> None:
        self.size = size
        self.weight = 0
        """Of all values."""
        self._weigh = weigh
        self._most = most
        self._adding = Lock()
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
        return self.keep(digest, compute(*args, **kwargs))

    def keep(self, digest: bytes, value: V) -> V:
        """Remember a value that was computed, and return it."""
        weight = self._weigh(value) if self._weigh is not None else 0
        if self.size > 0 and weight <= self._most // 16:
            self._add(digest, value, weight)
        return value

    def _add(self, digest: bytes, value: V, weight: int) -> None:
        with self._adding:
            if weight:
                if digest in self._values:  # another thread was as far
                    return
                self.weight += weight
            self._values[digest] = value
            while len(self._values) > self.size or self.weight > self._most:
                _, gone = self._values.popitem(last=False)
                if self._weigh is not None:
                    self.weight -= self._weigh(gone)
