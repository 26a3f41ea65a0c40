"""A streamed answer that broke off: read back from the events that went out, and gone on with in its own dialect."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pointsman.core.events import Frames, Usage


class BrokenAnswer(ABC):
    """An answer so far. `read` is given every event that goes out, in order; those that follow are made of chunks of
    chat, by `resume`, `written` and `end`, or the answer is ended as it stands, by `close`."""

    def __init__(self) -> None:
        self.begun = False
        self.texts: list[str] = []
        self.thought = False
        self.calls = 0
        """Those that are whole."""
        self.finish: str | None = None
        """In chat's words."""
        self.strange = False
        """Whether it holds what only its model could go on with, such as what tools gave that ran there."""

    @abstractmethod
    def read(self, raw: bytes) -> None:
        """
        Raises:
            UpstreamProtocolError: an event cannot be read.
        """

    @abstractmethod
    def resume(self) -> None:
        """Make ready to write what follows."""

    @abstractmethod
    def written(self, frames: Frames) -> bytes:
        """Chunks as events of this answer. Raises UpstreamProtocolError."""

    @abstractmethod
    def end(self) -> bytes:
        """What stands behind the last chunk."""

    @abstractmethod
    def close(self, finish: str | None, usage: Usage | None = None) -> bytes:
        """The end of the answer as it stands.

        Args:
            finish: in chat's words; None where it was told already.
            usage: what it took, where that was not told.
        """
