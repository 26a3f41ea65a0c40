"""What Ollama says of the models that it keeps: what is stored, what is loaded, and how a pull goes on."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.errors import (
    ModelNotFound,
    PointsmanError,
    UpstreamBroken,
    UpstreamError,
    UpstreamProtocolError,
)

from .models import Details

MAX_LINE = 1024 * 1024
"""Bytes."""


class Stored(msgspec.Struct):
    """An entry of `/api/tags`, as far as whoever looks after the models needs it."""

    name: str
    size: int = 0
    digest: str = ""
    modified_at: str = ""
    details: Details | None = None
    remote_host: str | None = None


class Loaded(msgspec.Struct):
    """An entry of `/api/ps`."""

    name: str
    size: int = 0
    size_vram: int = 0
    digest: str = ""
    expires_at: str = ""
    context_length: int = 0
    details: Details | None = None


class Progress(msgspec.Struct, omit_defaults=True):
    """A line of `/api/pull`."""

    status: str = ""
    digest: str = ""
    total: int = 0
    """Bytes of this layer."""
    completed: int = 0


class _Stored(msgspec.Struct):
    models: list[Stored]


class _Loaded(msgspec.Struct):
    models: list[Loaded]


class _Line(Progress):
    error: Any = None


stored_decoder = msgspec.json.Decoder(_Stored)
loaded_decoder = msgspec.json.Decoder(_Loaded)
_line_decoder = msgspec.json.Decoder(_Line)


class PullStream:
    """Turns blocks of a pull's NDJSON into its lines."""

    def __init__(self) -> None:
        self._tail = b""
        self.done = False
        """Whether the pull has said that it went well."""
        self.failure: PointsmanError | None = None
        """What the upstream reported behind the lines that `feed` gave back last: to be raised after them."""

    def feed(self, block: bytes) -> list[Progress]:
        """The lines that are whole now.

        Raises:
            UpstreamProtocolError: a line is not what the API promises, or is too large.
        """
        *lines, self._tail = (self._tail + block).split(b"\n")
        if len(self._tail) > MAX_LINE:
            raise UpstreamProtocolError(f"The model's provider sent a line of more than {MAX_LINE} bytes.")
        return self._read(lines)

    def end(self) -> list[Progress]:
        """Say that the stream has ended.

        Raises:
            UpstreamBroken: it did so before the pull was done.
        """
        last = self._read([self._tail])
        if self.failure is None and not self.done:
            raise UpstreamBroken("The model's provider broke off in the middle of a pull.")
        return last

    def _read(self, lines: list[bytes]) -> list[Progress]:
        found: list[Progress] = []
        for text in lines:
            if not text.strip() or self.failure is not None:
                continue
            try:
                line = _line_decoder.decode(text)
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
                raise UpstreamProtocolError(f"The model's provider sent a line that cannot be read: {error}.") from None
            if line.error:
                self.failure = pull_error(str(line.error))
                break
            self.done = self.done or line.status == "success"
            total, completed = max(0, line.total), max(0, line.completed)
            found.append(Progress(status=line.status[:200], digest=line.digest[:100], total=total, completed=completed))
        return found


def pull_error(text: str) -> PointsmanError:
    """The typed error for what Ollama says of a pull that failed. It names a model or a registry, never a prompt."""
    shown = "".join(letter for letter in text[:300] if letter.isprintable())
    if "does not exist" in text or "not found" in text:
        return ModelNotFound(f"There is no such model to pull: {shown}")
    return UpstreamError(f"Ollama could not pull the model: {shown}", code="pull_failed")
