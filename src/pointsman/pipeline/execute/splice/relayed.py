"""Answers that are relayed in the caller's own dialect."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pointsman.core.events import Frames, Usage
from pointsman.core.request import Dialect
from pointsman.dialects.broken import BrokenAnswer

from .held import Calls
from .told import Told


class Relayed:
    """Implements `telling.Telling`.

    Args:
        calls: makes what finds tool calls in this dialect.
    """

    one_thought = False

    def __init__(self, dialect: Dialect, broken: BrokenAnswer, calls: Callable[[], Calls]) -> None:
        self._dialect: Dialect = dialect
        self._broken = broken
        self._calls = calls

    def calls(self) -> Calls:
        return self._calls()

    def read(self, raw: bytes, before: Told) -> Told:
        broken = self._broken
        broken.read(raw)
        return Told(
            begun=broken.begun,
            text="".join(broken.texts),
            thought=broken.thought,
            calls=broken.calls,
            finish=broken.finish,
            strange=broken.strange,
        )

    def resume(self) -> None:
        self._broken.resume()

    def written(self, event: Frames) -> Frames:
        return msgspec.structs.replace(event, raw=self._broken.written(event), dialect=self._dialect)

    def end(self) -> Frames | None:
        return Frames(self._broken.end(), dialect=self._dialect)

    def close(self, told: Told, finish: str | None, usage: Usage | None) -> Frames:
        return Frames(self._broken.close(finish, usage), finish_reason=finish or told.finish, dialect=self._dialect)
