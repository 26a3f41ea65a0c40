"""The tables of users and applications, opened for one command."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import click

from pointsman.core.errors import PointsmanError

from .invocation import Invocation, run

if TYPE_CHECKING:
    from pointsman.surfaces.sign_in import People

T = TypeVar("T")


async def with_people(invocation: Invocation, work: Callable[[People], Awaitable[T]]) -> T:
    """Do something with users and applications, whether or not a gateway runs."""
    from .opened import opened_database

    app = importlib.import_module("pointsman.app.sign_in")  # it stands above this layer
    settings = invocation.settings()
    async with opened_database(settings) as database:
        people: People = app.build_people(settings, database)
        try:
            done = await work(people)
            await app.remember_people(settings, people)
            return done
        finally:
            people.passwords.close()


def completed(ctx: click.Context, names: Callable[[People], Awaitable[list[str]]], incomplete: str) -> list[str]:
    """Names for a shell's completion; none where they cannot be had."""
    invocation = ctx.find_object(Invocation) or Invocation()
    try:
        settings = invocation.settings()
        if settings.database.url is None and not settings.database_path.exists():
            return []  # completing a word makes no file
        return [name for name in run(with_people(invocation, names)) if name.startswith(incomplete)]
    except (PointsmanError, OSError):
        return []


def when(seconds: float | None) -> str:
    """A time as people read it, UTC."""
    return "never" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
