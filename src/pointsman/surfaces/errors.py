"""Which shape an error takes, by the path that was asked."""

from __future__ import annotations

from collections.abc import Callable

from pointsman.core.errors import PointsmanError

from .openai.errors import to_openai

Shape = Callable[[PointsmanError], tuple[int, list[tuple[bytes, bytes]], bytes]]


def shape_for(path: str) -> Shape:
    """`/api/v1` has a shape of its own; everything else speaks OpenAI's."""
    if path.startswith("/api/v1"):
        from .native.errors import to_native

        return to_native
    return to_openai
