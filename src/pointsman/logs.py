"""The gateway's own log: lines for people, or JSON for machines, on standard error."""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import Literal

import msgspec

from .masking import masked

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class _Text(logging.Formatter):
    """`12:34:56 warning pointsman.catalog: …`, times in UTC."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return time.strftime("%H:%M:%S", time.gmtime(record.created))

    def format(self, record: logging.LogRecord) -> str:
        record.levelname = record.levelname.lower()
        # Paths and upstreams' words may hold line feeds and escapes: what follows one is told from a line of ours.
        return _CONTROL.sub("?", masked(super().format(record))).replace("\n", "\n    ")


class _Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(record.getMessage()),
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


def configure(level: str, format: Literal["text", "json"]) -> None:
    """Send the log of everything under `pointsman` to standard error; of the loop and of uvicorn what is amiss."""
    handler = _Stderr()
    handler.setFormatter(_Json() if format == "json" else _Text())
    for name, least in (("pointsman", level.upper()), ("asyncio", "WARNING"), ("uvicorn", "WARNING")):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(least)
