"""What `serve --welcome` shows once the gateway is ready: one real answer, and what to do next."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pointsman.core.catalog import Catalog
from pointsman.core.errors import PointsmanError
from pointsman.core.events import Text as TextDelta
from pointsman.core.ports import Health

from .client import Facts, GatewayClient, connect
from .output import console, styled
from .own_key import own_key

if TYPE_CHECKING:
    from pointsman.settings import Settings

QUESTION = "Write a one-line Python function that reverses a string. Code only."
PATIENCE = 120.0
"""Seconds that the first answer may take; a machine that needs longer is told of, not waited for."""


class RunningGateway(Protocol):
    """What `app.Gateway` shows of itself."""

    @property
    def url(self) -> str: ...
    @property
    def catalog(self) -> Catalog: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def asks_for_key(self) -> bool: ...
    async def providers_health(self) -> dict[str, Health]: ...


async def show_welcome(gateway: RunningGateway) -> None:
    """Ask one question through the public endpoint and print the panel. Never raises for a model's failure."""
    keys = gateway.settings.server.api_keys
    own = gateway.settings.server.tls_certificate
    key = keys[0].reveal() if keys else own_key(gateway.settings)
    async with connect(gateway.url, key, str(own) if own else None) as client:
        answer = await _ask(client)
    out = console()
    parts: list[RenderableType] = [*answer, Text(), _next_steps(gateway, await gateway.providers_health())]
    title = "Pointsman is ready" if len(gateway.catalog) else "Pointsman runs, and knows no model yet"
    out.print(Panel(Group(*parts), title=title, title_align="left", width=_width()))
    out.print(_curl(gateway), soft_wrap=True)  # outside the frame, so that it can be copied
    sys.stdout.flush()


async def _ask(client: GatewayClient) -> list[RenderableType]:
    fields = {"model": "auto", "max_tokens": 120, "temperature": 0, "messages": [{"role": "user", "content": QUESTION}]}
    text = ""
    try:
        async with asyncio.timeout(PATIENCE):
            answer = await client.chat(fields)
            async for delta in answer.deltas():
                if isinstance(delta, TextDelta):
                    text += delta.text
    except PointsmanError as error:
        return [styled("No answer to the first question:", "bold yellow"), styled(error.message)]
    except TimeoutError:
        return [styled(f"The first question had no answer within {PATIENCE:.0f} s; `pointsman doctor` says more.")]
    return [styled(QUESTION, "italic"), Text(), _drawn(text), Text(), _who(answer.facts)]


def _width() -> int:
    """Columns of the panel, its frame and margins (4) counted."""
    return min(console().width, 110)


def _drawn(text: str) -> Text:
    """The answer as markdown, at most as long as a first look wants."""
    from .markdown import render

    lines = render(Console(width=_width() - 4, force_terminal=console().is_terminal, no_color=console().no_color), text)
    return Text.from_ansi("\n".join([*lines[:14], *(["…"] if len(lines) > 14 else [])]))


def _who(facts: Facts) -> Text:
    reason = (facts.reason or "no reason given").removeprefix(f"{facts.model}: ")
    return Text.assemble((str(styled(facts.model or "?")), "bold green"), f" answered: {styled(reason)}")


def _curl(gateway: RunningGateway) -> Text:
    key = ' -H "Authorization: Bearer $POINTSMAN_API_KEY"' if gateway.asks_for_key else ""
    body = '{"model":"auto","messages":[{"role":"user","content":"Hello"}]}'
    return Text(f"\ncurl {gateway.url}/v1/chat/completions{key} -H 'Content-Type: application/json' -d '{body}'\n")


def _next_steps(gateway: RunningGateway, health: dict[str, Health]) -> Table:
    settings, url = gateway.settings, gateway.url
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim")
    rows.add_column(overflow="fold")
    local = sum(card.local for card in gateway.catalog)
    rows.add_row("Endpoint", styled(f"{url}/v1", "bold"))
    keyed = "that of POINTSMAN_API_KEY or server.api_keys" if settings.server.api_keys else "one of `pointsman keys`"
    rows.add_row("API key", keyed if gateway.asks_for_key else "none is needed; clients that ask for one take any")
    rows.add_row("Models", f"{len(gateway.catalog)} known, {local} on this machine")
    rows.add_row("Providers", _providers(settings, health))
    command = _command(url)
    for what, name in (("Talk", "chat"), ("Explain", "why"), ("List", "models")):
        rows.add_row(what, f"{command} {name}")
    rows.add_row("API docs", f"{url}/docs")
    rows.add_row("Stop", "Ctrl-C")
    return rows


def _command(url: str) -> str:
    """The command as it can be typed in another terminal in this folder: found there, and sent to this gateway."""
    as_module = os.path.basename(sys.argv[0]) == "__main__.py"
    own = sys.executable if as_module else os.path.abspath(sys.argv[0])
    found = shutil.which("pointsman")
    if found is not None and os.path.realpath(found) == os.path.realpath(own):
        command = "pointsman"
    else:
        command = min(own, os.path.relpath(own), key=len) + (" -m pointsman" if as_module else "")
    return command if url == "http://127.0.0.1:8000" else f"{command} --url {url}"


def _providers(settings: Settings, health: dict[str, Health]) -> Text:
    """Those that joined, and of those that were asked for and did not, why."""
    lines = [styled(f"{name}: {state.detail}") for name, state in health.items() if state.ok]
    for name, state in health.items():
        if not state.ok and (name in settings.providers or name == "embedded"):
            lines.append(styled(f"{name}: {state.detail.rstrip('.')}. {state.mend}", "yellow"))
    if set(health) <= {"embedded", "ollama"}:
        lines.append(styled("Set OPENAI_API_KEY, ANTHROPIC_API_KEY or GEMINI_API_KEY to add cloud models.", "dim"))
    return Text("\n").join(lines)
