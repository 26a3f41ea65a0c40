"""What `pointsman doctor` finds of the gateway's port and of the providers."""

from __future__ import annotations

import asyncio
import errno
import importlib
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

from pointsman.core.errors import PointsmanError
from pointsman.core.instances import InstanceStanding
from pointsman.core.ports import Health, Provider
from pointsman.settings import ProviderSettings, Settings, is_loopback
from pointsman.transport.http import Outbound

from .checks import Finding, broken, fine, warning
from .client import connect
from .invocation import Invocation

PATIENCE = 15.0
"""Seconds that a provider gets to say that it is well."""


async def gateway(invocation: Invocation, settings: Settings) -> Finding:
    """Whether a gateway answers, or else the port is free for one."""
    url, key = invocation.gateway_url(settings), invocation.key(settings)
    async with connect(url, key, invocation.trusted(settings)) as client:
        if await client.alive():
            try:
                health = await client.get("/api/v1/health")
            except PointsmanError as error:
                return broken("Gateway", f"{url} answers: {error.message}", "Pass its key with --api-key.")
            return _told(url, health)
    if invocation.url is not None:
        return broken("Gateway", f"nothing answers at {url}", "Start it there, or correct --url.")
    host, port = settings.server.host, settings.server.port
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            mend = "Set PORT (or server.port) to another, or stop that program."
            return broken("Gateway", f"not running, and port {port} is taken by another program", mend)
        return broken(
            "Gateway", f"cannot listen on {host}:{port}: {error.strerror or error}", "Set server.host and server.port."
        )
    reach = "" if is_loopback(host) else ", reachable from other machines"
    return fine("Gateway", f"not running; port {port} is free{reach}")


def _told(url: str, health: Mapping[str, Any]) -> Finding:
    """What a running gateway says of itself."""
    detail = f"version {health['version']} answers at {url}, {health['models']} models, status {health['status']}"
    log = health["decision_log"]
    if not log["ok"]:
        return broken(
            "Gateway",
            f"{detail}; its decision log is not written: {log['last_error']}",
            "See the line of the database."
            if health.get("database", {}).get("backend") == "postgres"
            else "Free or mend the data folder.",
        )
    lost = f"; {log['dropped']} log entries were lost since its start" if log["dropped"] else ""
    if health["status"] == "down":
        return broken("Gateway", detail + lost, "No provider answers it; each is looked at below.")
    failing = [f"{circuit['name']} ({circuit['why']})" for circuit in health.get("circuits") or ()]
    if failing:
        mend = "They are tried again by themselves; `execution.breaker` says when."
        return warning("Gateway", f"{detail}{lost}; left alone as they failed: {', '.join(failing)}", mend)
    return fine("Gateway", detail + lost)


async def shared_state(settings: Settings) -> Finding:
    """Where limits and budgets are counted, asked now."""
    part = "Limits and budgets"
    logging.getLogger("pointsman.stores").addHandler(logging.NullHandler())  # the finding says it all
    try:
        state = importlib.import_module("pointsman.app.state").build_state(settings)
    except PointsmanError as error:
        return broken(part, error.message, "Correct REDIS_URL.")
    try:
        health: Health = await state.health()
    finally:
        await state.close()
    if not health.ok:
        return broken(part, health.detail, health.mend)
    detail = f"counted {health.detail}" if health.detail.startswith("in ") else f"counted at {health.detail}"
    return warning(part, detail, health.mend) if health.mend else fine(part, detail)


async def providers(settings: Settings, outbound: Outbound) -> AsyncIterator[Finding]:
    """Every upstream that the settings name, asked now; and the Ollama on its usual port, when one answers."""
    try:
        # The composition stands above this layer; it is looked up by name, as the commands are.
        built: list[Provider] = importlib.import_module("pointsman.app").build_providers(settings, outbound)
    except PointsmanError as error:
        yield broken("Providers", error.message, "Correct the settings of this provider.")
        return
    asked = await asyncio.gather(*(_ask(provider, wanted=provider.name in settings.providers) for provider in built))
    for provider, found in zip(built, asked, strict=True):
        for finding in found:
            yield finding
        own = settings.providers.get(provider.name)
        if own is not None and own.of_unknown_slots:
            yield _slots(provider.name, own)
    left_out = [name for name in settings.providers if name not in {provider.name for provider in built}]
    for name in left_out:
        if settings.providers[name].enabled:
            yield broken(f"Provider {name}", "has no API key", f"Set providers.{name}.api_key or its environment name.")
        else:
            yield fine(f"Provider {name}", "disabled")
    if not any(asked) and not left_out:
        yield fine("Providers", "none beside the embedded models; OPENAI_API_KEY and the like add some")


async def _ask(provider: Provider, *, wanted: bool) -> list[Finding]:
    part = f"Provider {provider.name}"
    try:
        async with asyncio.timeout(PATIENCE):
            health = await provider.health()
    except (PointsmanError, TimeoutError) as error:
        said = error.message if isinstance(error, PointsmanError) else f"no answer within {PATIENCE:.0f} s"
        return [broken(part, said, f"Check providers.{provider.name}.")] if wanted else []
    finally:
        await provider.close()
    if health.ok:
        return [fine(part, health.detail), *(_instance(part, one, health.mend) for one in health.instances)]
    if not wanted:
        return []
    return [(warning if "no model" in health.detail else broken)(part, health.detail, health.mend)]


def _slots(name: str, own: ProviderSettings) -> Finding:
    """That nobody has said how many answers some servers of a pool give at once."""
    several, unsaid = len(own.addresses), len(own.of_unknown_slots)
    whose = "of its servers" if unsaid == several else f"{unsaid} of its {several} servers"
    return warning(
        f"Provider {name}, slots",
        f"how many answers {whose} give at once is not said, and Ollamas do not tell: each of them counts as one that"
        " gives one, and requests do not wait in the gateway",
        f"Set providers.{name}.slots, or `slots` beside each address, to what they were started with"
        " (OLLAMA_NUM_PARALLEL, --max-num-seqs).",
    )


def _instance(part: str, standing: InstanceStanding, mend: str) -> Finding:
    """One of several servers of a provider; the others answer while it does not."""
    part = f"{part}, {standing.url}"
    if not standing.up:
        return warning(part, standing.reason, mend)
    models = f"{standing.models} {'model' if standing.models == 1 else 'models'}"
    return fine(part, f"{models}, in memory {', '.join(standing.loaded)}" if standing.loaded else models)
