"""`GET /api/v1/health`: how the gateway and what it stands on fare."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from pointsman.surfaces.asgi_caller import caller_of
from pointsman.surfaces.services import Services


class ProviderHealth(BaseModel):
    connected: bool
    detail: str | None = Field(description="Where it is and how it fares, for admins.")
    mend: str | None = Field(description="What to do about it, for admins; empty when there is nothing to do.")


class LogHealth(BaseModel):
    """How the decision log fares."""

    ok: bool
    pending: int = Field(description="Items that wait in memory to be written.")
    spooled: int = Field(description="Items that lie on disk until the database takes them.")
    dropped: int = Field(description="Items lost since the start.")
    last_error: str | None = Field(description="What went wrong last, for admins; kept after a recovery.")


class DatabaseHealth(BaseModel):
    """How the database fares that keys, users and the decision log are kept in."""

    backend: str = Field(description="`sqlite` or `postgres`.")
    connected: bool = Field(description="Whether it answered when it was last asked, less than a second ago.")
    schema_version: int
    detail: str | None = Field(description="Where it is, for admins.")


class StateHealth(BaseModel):
    """How the counters fare that limits and budgets stand on."""

    connected: bool
    detail: str | None = Field(description="Where they are, and the server's version, for admins.")
    mend: str | None = Field(description="What to do about it, for admins; empty when there is nothing to do.")


class ConfigurationHealth(BaseModel):
    """How the settings fare that are read again while the gateway runs: those of providers."""

    ok: bool = Field(description="Whether what the files say now is in force.")
    loaded_at: float = Field(description="When what is in force was read: seconds since the epoch, UTC.")
    file: str | None = Field(description="Where `providers.yaml` is, or is looked for; for admins.")
    found: bool = Field(description="Whether there is one.")
    error: str | None = Field(description="Why what the files say now is not in force; for admins.")


class GatewayHealth(BaseModel):
    status: Literal["ok", "degraded", "down"] = Field(
        description="`degraded`: a provider, the database or the shared state does not answer, or the log is not"
        " written. `down`: no provider answers."
    )
    version: str
    started_at: float = Field(description="Seconds since the epoch, UTC.")
    uptime: float = Field(description="Seconds.")
    models: int = Field(description="How many models are known.")
    providers: dict[str, ProviderHealth]
    decision_log: LogHealth
    database: DatabaseHealth | None
    shared_state: StateHealth
    configuration: ConfigurationHealth | None


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["Health"])

    @routes.get("/api/v1/health", operation_id="health", summary="Tell how everything fares")
    async def health(request: Request) -> GatewayHealth:
        """Asks every provider. The status is 200 as long as the gateway itself answers; read `status`."""
        return await gateway_health(services, admin=caller_of(request).admin)

    return routes


def _configuration(services: Services, *, admin: bool) -> ConfigurationHealth | None:
    if services.configuration is None:
        return None
    found = services.configuration()
    return ConfigurationHealth(
        ok=found.error is None,
        loaded_at=found.loaded_at,
        file=found.file if admin else None,
        found=found.found,
        error=found.error if admin else None,
    )


async def gateway_health(services: Services, *, admin: bool) -> GatewayHealth:
    """How everything fares, asked now; addresses and paths are for admins alone."""
    providers = {
        name: ProviderHealth(
            connected=found.ok, detail=found.detail if admin else None, mend=found.mend if admin else None
        )
        for name, found in (await services.providers_health()).items()
    }
    log = services.log.status()
    state = await services.state_health()
    connected = [provider.connected for provider in providers.values()]
    database = services.database() if services.database is not None else None
    configuration = _configuration(services, admin=admin)
    fine = all(connected) and log.ok and state.ok and (database is None or database.connected)
    fine = fine and (configuration is None or configuration.ok)
    status: Literal["ok", "degraded", "down"] = "ok" if fine else "degraded"
    return GatewayHealth(
        status=status if any(connected) else "down",
        version=services.version,
        started_at=services.started_at,
        uptime=services.uptime,
        models=len(services.catalog.catalog),
        providers=providers,
        decision_log=LogHealth(
            ok=log.ok,
            pending=log.pending,
            spooled=log.spooled,
            dropped=log.dropped,
            last_error=log.last_error if admin else None,
        ),
        database=DatabaseHealth(
            backend=database.backend,
            connected=database.connected,
            schema_version=database.schema_version,
            detail=database.where if admin else None,
        )
        if database is not None
        else None,
        shared_state=StateHealth(
            connected=state.ok,
            detail=state.detail if admin else None,
            mend=state.mend if admin else None,
        ),
        configuration=configuration,
    )
