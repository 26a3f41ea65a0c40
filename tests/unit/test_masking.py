"""What has the form of a secret does not reach a log line, whichever way it came there."""

from __future__ import annotations

import io
import json
import logging
import sys
import time

import pytest

from pointsman import logs
from pointsman.masking import masked

PLANTED = [
    "sk-proj-planted_0123456789abcdef",
    "sk-ant-api03-planted-0123456789",
    "AIzaplanted0123456789abcdefghijklmnopq",
    "gsk_planted0123456789abcdefgh",
    "hf_planted0123456789abcdefgh",
    "xai-planted0123456789abcdefgh",
    "pm_abcdefgh_planted0123456789-abcdefghijklmnop",
    "pmsig_planted0123456789_abcdefghijklmnop",
    "eyJplanted0123456789.eyJplanted0123456789.planted0123-456",
]
SHAPES = [
    "{}",
    "The upstream said {!r}: refused",
    '{{"authorization": "Bearer {}"}}',
    "providers.openai.api_key={}",
    "https://host/v1?key=1&api_key={}&x=1",
    "({})",
]


@pytest.mark.parametrize("secret", PLANTED)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_key_is_masked(secret, shape):
    assert "planted" not in masked(shape.format(secret))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://joe:planted@db.example/pm failed", "postgresql://…@db.example/pm failed"),
        ("redis://:planted@host:6379/0", "redis://…@host:6379/0"),
        ("postgresql://joe:planted/and?more@db", "postgresql://…@db"),
        ("postgresql+asyncpg://joe:pl@nted/planted@db/x", "postgresql+asyncpg://…@db/x"),
        ("Authorization: Bearer planted-opaque-token", "Authorization: Bearer …"),
        ("authorization: Basic cGxhbnRlZDpwbGFudGVk", "authorization: Basic …"),
        ("password=planted host=db", "password=… host=db"),
    ],
)
def test_addresses_and_headers_are_masked(text, shown):
    assert masked(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "openai offers 12 models",
        "http://127.0.0.1:8000/v1 answers; see https://host:443/path",
        "embedded:qwen2.5-coder:0.5b, ask-me-anything, task-force, risk-averse-planning",
        "The previous key …6789 was replaced at 12:00:01",
        "dec_01jd8f3k2m9x7q key_0a4724d843f5 max_tokens=100",
        "bearer tokens are needed",
        "line 12, column 3: mapping values are not allowed here",
    ],
)
def test_ordinary_lines_stay(text):
    assert masked(text) == text


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("name", ["pointsman.x", "asyncio", "uvicorn.error"])
def test_log_lines_are_masked(monkeypatch, form, name):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    kept = [(logger, logger.handlers, logger.propagate, logger.level)
            for logger in map(logging.getLogger, ("pointsman", "asyncio", "uvicorn"))]  # fmt: skip
    try:
        logs.configure("info", form)
        try:
            raise ValueError(f"cannot connect to postgresql://joe:planted@db with {PLANTED[0]}")
        except ValueError:
            logging.getLogger(name).exception(
                "failed with %s for %s", PLANTED[1], {"Authorization": "Bearer planted-x"}
            )
    finally:
        for logger, handlers, propagate, level in kept:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
    assert "planted" not in out.getvalue()
    assert "ValueError" in out.getvalue()
    if form == "json":
        assert json.loads(out.getvalue())["message"] == "failed with … for {'Authorization': 'Bearer …'}"


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_an_exception_quotes_is_not_logged(form):
    """A driver's error shows the row that it could not write, a task what was raised in it."""
    formatter = logs._Json() if form == "json" else logs._Text()
    said = " ".join(["the launch", "is on Friday"])  # not as one word in the lines of code that a stack shows
    try:
        try:
            {}[said]
        except KeyError as error:
            raise ValueError(f"Failing row contains ({said})") from error
    except ValueError as error:
        broken = (type(error), error, error.__traceback__)
    record = logging.LogRecord("pointsman.stores", logging.ERROR, "x", 1, "an item is lost", (), broken)
    line = formatter.format(record)
    assert said not in line
    assert "KeyError" in line
    assert "ValueError" in line
    message = f"Task exception was never retrieved\nfuture: <Task finished exception=ValueError('{said}')>"
    line = formatter.format(logging.LogRecord("asyncio", logging.ERROR, "x", 1, message, (), None))
    assert said not in line
    assert "exception=ValueError(…)" in line
    full = OSError(28, "No space left on device", "/data/x")
    assert "No space left" in formatter.formatException((OSError, full, None))


def test_a_long_line_takes_no_time():
    for text in ("a" * 200_000, "://" * 70_000, "sk-" * 70_000, "Bearer " * 30_000, "eyJa." * 40_000, "a:" * 100_000):
        began = time.perf_counter()
        masked(text)
        assert time.perf_counter() - began < 5
