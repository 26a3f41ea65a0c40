"""A bounded memory of what was computed before, the least recently used forgotten first."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Generic, ParamSpec, TypeVar

V = TypeVar("V")
P = ParamSpec("P")


class Memo(Generic[V]):
    """At most `size` values by digest; 0 remembers nothing. Threads may share it.

    Args:
        most: how much all values may weigh together (`keep`). One that weighs more than a sixteenth of it is not
            remembered: it would put out all others.
    """

    def __init__(self, size: int, *, most: int = 0) -> None:
        self.size = size
        self.weight = 0
        """Of all values."""
        self._most = most
        self._adding = Lock()
        self._values: OrderedDict[bytes, V] = OrderedDict()
        self._weights: dict[bytes, int] = {}
        """Of those that weigh anything."""
        self.peek: Callable[[bytes], V | None] = self._values.get
        """The value for a digest; None when it is not there."""

    def __len__(self) -> int:
        return len(self._values)

    def get(self, digest: bytes, compute: Callable[P, V], *args: P.args, **kwargs: P.kwargs) -> V:
        """The value for a digest, computed when it is not there. What `compute` raises is not remembered."""
        try:
            self._values.move_to_end(digest)
            return self._values[digest]
        except KeyError:  # new, or another thread made room meanwhile
            pass
        return self.keep(digest, compute(*args, **kwargs))

    def use(self, digests: Iterable[bytes]) -> None:
        """Have values that were peeked at count as used just now."""
        try:
            deque(map(self._values.move_to_end, digests), maxlen=0)
        except KeyError:  # more than are remembered, or another thread made room meanwhile
            return

    def keep(self, digest: bytes, value: V, weight: int = 0) -> V:
        """Remember a value that was computed, and return it.

        Args:
            weight: what it takes beyond what every value does, in any unit.
        """
        if weight:
            if weight <= self._most // 16:
                self._add_heavy(digest, value, weight)
            return value
        self._values[digest] = value
        if len(self._values) > self.size:
            self._make_room()
        return value

    def _add_heavy(self, digest: bytes, value: V, weight: int) -> None:
        with self._adding:
            if digest in self._values:  # another thread was as far
                return
            self.weight += weight
            self._weights[digest] = weight
            self._values[digest] = value
        self._make_room()

    def _make_room(self) -> None:
        with self._adding:
            while len(self._values) > self.size or self.weight > self._most:
                digest, _ = self._values.popitem(last=False)
                if self._weights:
                    self.weight -= self._weights.pop(digest, 0)
