"""Which shape an error takes, by the path that was asked, and how much of it a caller is told."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from pointsman.core.caller import Caller
from pointsman.core.errors import (
    BodyTooLarge,
    EngineError,
    OutOfFiles,
    Overloaded,
    PointsmanError,
    RequestError,
    StoreError,
    UpstreamBroken,
    UpstreamClosed,
    UpstreamConnectError,
    UpstreamProtocolError,
    UpstreamStatus,
    UpstreamTimeout,
    WeightsError,
)
from pointsman.transport.http import Headers

from .openai.errors import to_openai

Shape = Callable[[PointsmanError], tuple[int, list[tuple[bytes, bytes]], bytes]]


NAMING_PLACES = (
    EngineError,
    WeightsError,
    OutOfFiles,
    UpstreamConnectError,
    UpstreamProtocolError,
    UpstreamClosed,
    UpstreamBroken,
)
"""Errors of upstreams whose messages may name addresses and files; what is a kind of another stands before it."""


def for_caller(error: PointsmanError, caller: Caller | None) -> PointsmanError:
    """The error as this caller may read it: paths and addresses are for admins, and for the log."""
    if caller is not None and caller.admin:
        return error
    kind: type[PointsmanError] | None = type(error) if isinstance(error, StoreError) else None
    kind = kind or next((kind for kind in NAMING_PLACES if isinstance(error, kind)), None)
    if kind is None and error.plain is None:
        return error
    if isinstance(error, UpstreamStatus):
        plain: PointsmanError = UpstreamStatus(error.upstream_status, error.body)
    elif isinstance(error, UpstreamTimeout):
        plain = UpstreamTimeout(error.phase, error.seconds)
    else:
        plain = kind() if kind is not None else type(error)(error.plain)
    plain.code, plain.param, plain.alternatives = error.code, error.param, error.alternatives
    plain.retry_after, plain.decision_id = error.retry_after, error.decision_id
    return plain


SHAPES: tuple[tuple[str, str, str], ...] = (
    ("/api/v1", "pointsman.surfaces.native.errors", "to_native"),
    ("/v1/messages", "pointsman.surfaces.anthropic.errors", "to_anthropic"),
    ("/api/health", "pointsman.surfaces.openai.errors", "to_openai"),
    ("/api/", "pointsman.surfaces.ollama.errors", "to_ollama"),
)
"""Prefix of a path, and the module and function of its shape, loaded when an error is told; the first that fits."""


def shape_for(path: str) -> Shape:
    """Everything that has no shape of its own speaks OpenAI's."""
    for prefix, module, name in SHAPES:
        if path.startswith(prefix):
            shape: Shape = getattr(importlib.import_module(module), name)
            return shape
    return to_openai


def tell(path: str, status: int, code: str, message: str) -> tuple[Headers, bytes]:
    """What the server itself refuses, in the shape of the path: a `transport.http.Tells`."""
    kind: type[PointsmanError] = BodyTooLarge if status == 413 else RequestError
    if status >= 500:
        kind = Overloaded if status == 503 else PointsmanError
    error = kind(message, code=code, retry_after=1.0 if status == 503 else None)
    _, headers, body = shape_for(path)(error)
    return headers, body
