"""What the global options said, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from pointsman.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """The global options of one run of the command."""

    config: Path | None = None
    url: str | None = None
    api_key: str | None = None

    def settings(self, overrides: Mapping[str, Any] | None = None) -> Settings:
        """The settings, read now.

        Raises:
            SettingsError: naming key, value and mend.
        """
        from pointsman.settings import load

        return load(overrides, config=self.config)

    def gateway_url(self, settings: Settings) -> str:
        """Where the gateway is: `--url`, else the address of the settings."""
        if self.url is not None:
            return self.url
        host = settings.server.host
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, never bound
        return f"http://[{host}]:{settings.server.port}" if ":" in host else f"http://{host}:{settings.server.port}"

    def key(self, settings: Settings) -> str | None:
        """The API key to send: `--api-key`, else the first that the settings hold."""
        if self.api_key is not None:
            return self.api_key
        return settings.server.api_keys[0].reveal() if settings.server.api_keys else None


def with_invocation(function: Callable[Concatenate[Invocation, P], T]) -> Callable[P, T]:
    """Give a command the global options as its first argument."""

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        invocation = click.get_current_context().find_object(Invocation) or Invocation()
        return function(invocation, *args, **kwargs)

    return update_wrapper(call, function)


def run(main: Coroutine[Any, Any, T], *, serving: bool = False) -> T:
    """Run a command's asynchronous part to its end; one that serves, on uvloop where it is installed."""
    import asyncio

    factory = None
    if serving:
        with suppress(ImportError):
            import uvloop

            factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)
