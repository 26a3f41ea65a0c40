"""`GET /api/v1/health/details`: what an admin wants to know when something is wrong."""

from __future__ import annotations

import asyncio
import os
import platform
import threading
from collections import Counter
from pathlib import Path

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from pointsman.surfaces.asgi_caller import caller_of
from pointsman.surfaces.services import Services

from .health import GatewayHealth, gateway_health


class ProcessDetails(BaseModel):
    pid: int
    python: str
    platform: str
    processors: int | None
    threads: int
    tasks: int = Field(description="Under way on the loop that serves.")
    resident_bytes: int | None = Field(description="Memory; null where the system does not tell.")


class ProviderModels(BaseModel):
    models: int = Field(description="How many are known.")
    unavailable: int = Field(description="How many of them cannot be asked now.")
    reason: str | None = Field(description="Why.")


class HealthDetails(GatewayHealth):
    """Everything that `/api/v1/health` tells, and more."""

    process: ProcessDetails
    models_by_provider: dict[str, ProviderModels]
    active_requests: int = Field(description="Answers under way in this process.")
    requests: dict[str, int] = Field(description="Ended since the start of this process, by status.")
    policy: str = Field(description="`name@version` of the policy that serves.")
    unusable_policies: dict[str, str] = Field(
        description="Versions that were promoted or are on trial and cannot be loaded, with the reason."
    )
    changed_settings: list[str] = Field(description="Settings that were changed at run time.")


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["Health"])

    @routes.get("/api/v1/health/details", operation_id="health_details", summary="Tell how everything fares, at length")
    async def health_details(request: Request) -> HealthDetails:
        """For admins. Asks every provider."""
        caller_of(request).require_admin()
        health = await gateway_health(services, admin=True)
        requests: Counter[str] = Counter()
        for (_, status), count in services.tally.requests.items():
            requests[status] += count
        return HealthDetails(
            **health.model_dump(),
            process=ProcessDetails(
                pid=os.getpid(),
                python=platform.python_version(),
                platform=platform.platform(),
                processors=os.cpu_count(),
                threads=threading.active_count(),
                tasks=len(asyncio.all_tasks()),
                resident_bytes=_resident_bytes(),
            ),
            models_by_provider=_models(services),
            active_requests=services.tally.active,
            requests=dict(requests),
            policy=services.policy().version,
            unusable_policies=dict(services.tally.unusable_policies),
            changed_settings=sorted(services.settings.changed()) if services.settings is not None else [],
        )

    return routes


def _models(services: Services) -> dict[str, ProviderModels]:
    catalog, unhealthy = services.catalog.catalog, services.unhealthy()
    known: dict[str, ProviderModels] = {
        name: ProviderModels(models=0, unavailable=0, reason=reason) for name, reason in catalog.absent.items()
    }
    for card in catalog:
        provider = known.setdefault(card.provider, ProviderModels(models=0, unavailable=0, reason=None))
        provider.models += 1
        if card.id in unhealthy:
            provider.unavailable += 1
            provider.reason = unhealthy[card.id]
    return known


def _resident_bytes() -> int | None:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
