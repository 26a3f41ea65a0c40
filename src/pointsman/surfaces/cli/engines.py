"""`--engine` and `--jobs`: where long work runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from pointsman.learn.engine import Engine

F = TypeVar("F", bound=Callable[..., Any])


def engine_options(command: F) -> F:
    """Adds `engine` and `jobs` to a command."""
    jobs = click.option(
        "--jobs", type=click.IntRange(1, 1_000), default=1, show_default=True, help="Processes at once."
    )
    return engine_option(jobs(command))


def engine_option(command: F) -> F:
    """Adds `engine` to a command that has jobs of its own."""
    option = click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        callback=_prepared,
        help="Where the work is spread: over processes here, or over Ray (the extra `ray`; RAY_ADDRESS names a cluster,"
        " else one is started here). The figures are the same.",
    )
    return option(command)


def _prepared(ctx: click.Context, param: click.Parameter, engine: str) -> Engine:
    if engine == "ray":
        from pointsman.environ import set_for_libraries
        from pointsman.learn.engine import ENVIRONMENT

        set_for_libraries(ENVIRONMENT)
    return cast("Engine", engine)
