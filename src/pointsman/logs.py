"""The gateway's own log: lines for people, or JSON for machines, on standard error."""

from __future__ import annotations

import logging
import re
import sys
import time
import traceback
from types import TracebackType
from typing import Literal

import msgspec

from .core.errors import PointsmanError
from .masking import masked

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


_QUOTED = re.compile(r"(exception=\w+)\(.*")
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _Formatter(logging.Formatter):
    """Exceptions as a type and a stack: what others' messages quote may be a prompt, a row of the database, a key."""

    def formatException(self, ei: _ExcInfo) -> str:
        lines: list[str] = []
        error = ei[1]
        seen: set[int] = set()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            # Ours name fields and never content; the system's name files.
            told = f": {error}" if isinstance(error, (PointsmanError, OSError)) else ""
            name = type(error).__qualname__
            frames = traceback.format_tb(error.__traceback__)
            lines.insert(0, "".join(["Traceback (most recent call last):\n", *frames, name, told]))
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n\n".join(lines)


def _said(record: logging.LogRecord, message: str) -> str:
    """A message; asyncio's show tasks with what was raised in them."""
    return _QUOTED.sub(r"\1(…)", message) if record.name == "asyncio" else message


class _Text(_Formatter):
    """`12:34:56 warning pointsman.catalog: …`, times in UTC."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return time.strftime("%H:%M:%S", time.gmtime(record.created))

    def format(self, record: logging.LogRecord) -> str:
        record.levelname = record.levelname.lower()
        # Paths and upstreams' words may hold line feeds and escapes: what follows one is told from a line of ours.
        return _CONTROL.sub("?", masked(_said(record, super().format(record)))).replace("\n", "\n    ")


class _Json(_Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(_said(record, record.getMessage())),
        }
        if record.exc_info:
            line["exception"] = masked(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()


class _Stderr(logging.Handler):
    """Writes to what `sys.stderr` is when a line comes: while progress is drawn, that prints above the bars."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # as every handler of logging does: a log line never ends the program
            self.handleError(record)


def _tells(record: logging.LogRecord) -> bool:
    """Whether a record is worth a line. uvloop forgets the outcome of a TLS handshake whose connection was given up as
    it failed; the request has been told of the time-out."""
    error = record.exc_info[1] if record.exc_info else None
    forgotten = record.name == "asyncio" and type(error).__module__ == "ssl"
    return not (forgotten and record.getMessage().startswith("Future exception was never retrieved"))


def configure(level: str, format: Literal["text", "json"]) -> None:
    """Send the log of everything under `pointsman` to standard error; of the loop and of uvicorn what is amiss."""
    handler = _Stderr()
    handler.addFilter(_tells)
    handler.setFormatter(_Json() if format == "json" else _Text())
    for name, least in (("pointsman", level.upper()), ("asyncio", "WARNING"), ("uvicorn", "WARNING")):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(least)
