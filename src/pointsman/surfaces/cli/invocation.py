"""What the global options said, and what follows from them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from pointsman.settings import Settings, Source

    from .own_key import KeyFor

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """The global options of one run of the command."""

    config: Path | None = None
    url: str | None = None
    api_key: str | None = None
    ca_file: Path | None = None

    def source(self, overrides: Mapping[str, Any] | None = None) -> Source:
        """Where the settings come from, for whoever reads them again."""
        from pointsman.settings import Source

        return Source(overrides, config=self.config)

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
        scheme = "http" if settings.server.tls_certificate is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.server.port}"

    def trusted(self, settings: Settings) -> str | None:
        """PEM certificates that the gateway's own may stand on beside public ones: `--ca-file`, else the listener's."""
        if self.ca_file is not None:
            return str(self.ca_file)
        own = settings.server.tls_certificate
        return str(own) if own is not None and self.url is None else None

    def key(self, settings: Settings) -> str | KeyFor:
        """The API key to send: `--api-key`, else the first that the settings hold, else one of the owner's own."""
        if self.api_key is not None:
            return self.api_key
        if settings.server.api_keys:
            return settings.server.api_keys[0].reveal()
        from .own_key import own_key

        return own_key(settings)


def with_invocation(function: Callable[Concatenate[Invocation, P], T]) -> Callable[P, T]:
    """Give a command the global options as its first argument."""

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        invocation = click.get_current_context().find_object(Invocation) or Invocation()
        return function(invocation, *args, **kwargs)

    return update_wrapper(call, function)


TURN = 0.0005
"""Seconds that another thread may keep the interpreter to itself while the event loop waits for it, in a process that
serves. Python's own 5 ms are what a request waits when the decision log's thread has just begun on a batch: they were
the slowest hundredth of all answers. The processor time of a request is the same with either."""


def run(main: Coroutine[Any, Any, T], *, serving: bool = False) -> T:
    """Run a command's asynchronous part to its end; one that serves, on uvloop where it is installed, and with short
    turns for other threads."""
    import asyncio

    factory = None
    if serving:
        with suppress(ImportError):
            import uvloop

            factory = uvloop.new_event_loop
        sys.setswitchinterval(TURN)
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)
