"""`GET /api/v1/health`: how the gateway and what it stands on fare."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from pointsman.core.instances import InstanceStanding
from pointsman.surfaces.asgi_caller import caller_of
from pointsman.surfaces.services import Services


class InstanceHealth(BaseModel):
    """One of several servers of a provider."""

    url: str
    connected: bool
    reason: str = Field(description="Why it is not; else empty.")
    models: int = Field(description="How many it has.")
    loaded: list[str] = Field(description="Those that it holds in memory, where it tells.")
    in_flight: int = Field(description="Answers of this process under way there.")
    others: int = Field(description="Requests of others that it had when it was last asked, where it tells.")
    slots: int = Field(description="How many answers it gives at once.")

    @classmethod
    def of(cls, standing: InstanceStanding) -> InstanceHealth:
        return cls(
            url=standing.url,
            connected=standing.up,
            reason=standing.reason,
            models=standing.models,
            loaded=list(standing.loaded),
            in_flight=standing.in_flight,
            others=standing.others,
            slots=standing.slots,
        )


class ProviderHealth(BaseModel):
    connected: bool
    detail: str | None = Field(description="Where it is and how it fares, for admins.")
    mend: str | None = Field(description="What to do about it, for admins; empty when there is nothing to do.")
    instances: list[InstanceHealth] | None = Field(description="Of a provider of several servers, for admins.")


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


class CircuitHealth(BaseModel):
    """A model or a provider that is left alone because it failed too often."""

    scope: Literal["model", "provider"]
    name: str = Field(description="The model's id or the provider's name.")
    state: Literal["open", "half-open"] = Field(description="`half-open`: few requests may try whether it is back.")
    why: str
    seconds_left: float = Field(description="Until it may be tried.")


class GatewayHealth(BaseModel):
    status: Literal["ok", "degraded", "down"] = Field(
        description="`degraded`: a provider, a server of one, the database or the shared state does not answer, or the"
        " log is not written, or a circuit is open. `down`: no provider answers."
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
    circuits: list[CircuitHealth] | None = Field(description="Circuits that are not closed, for admins.")


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


def _circuits(services: Services) -> list[CircuitHealth]:
    return [
        CircuitHealth(
            scope=circuit.scope,
            name=circuit.name,
            state=circuit.state,
            why=circuit.why,
            seconds_left=round(circuit.seconds_left, 3),
        )
        for circuit in services.circuits()
        if circuit.state != "closed"
    ]


async def gateway_health(services: Services, *, admin: bool) -> GatewayHealth:
    """How everything fares, asked now; addresses and paths are for admins alone."""
    health = await services.providers_health()
    whole = all(instance.up for found in health.values() for instance in found.instances)
    providers = {
        name: ProviderHealth(
            connected=found.ok,
            detail=found.detail if admin else None,
            mend=found.mend if admin else None,
            instances=[InstanceHealth.of(one) for one in found.instances] if admin and found.instances else None,
        )
        for name, found in health.items()
    }
    log = services.log.status()
    state = await services.state_health()
    connected = [provider.connected for provider in providers.values()]
    database = services.database() if services.database is not None else None
    configuration = _configuration(services, admin=admin)
    fine = all(connected) and whole and log.ok and state.ok and (database is None or database.connected)
    circuits = _circuits(services)
    fine = fine and (configuration is None or configuration.ok)
    fine = fine and not any(circuit.state == "open" for circuit in circuits)
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
        circuits=circuits if admin else None,
    )
