"""What the richer, slower endpoints need of the gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pointsman.core.caller import Caller
from pointsman.core.catalog import ModelCard
from pointsman.core.circuits import CircuitStanding
from pointsman.core.credential import NoKeysTaken, TakesKeys
from pointsman.core.decision import Decision
from pointsman.core.instances import InstanceStanding
from pointsman.core.ports import CatalogSource, Clock, DecisionLog, Health
from pointsman.core.queueing import QueueStanding
from pointsman.core.request import ChatRequest
from pointsman.core.usage import LimitReport
from pointsman.pipeline.admit.budget_report import Accounts
from pointsman.pipeline.decide import Policy
from pointsman.pipeline.record import FeedbackStage, Tally
from pointsman.pipeline.run import Wishes
from pointsman.stores.keys import KeyStore
from pointsman.stores.responses import ResponseStore

from .sign_in import SignIn


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseStanding:
    """How the database fares that keys, users and the decision log are kept in."""

    backend: str
    where: str
    connected: bool
    schema_version: int


class ChangesSettings(Protocol):
    """Shows the settings that hold, and changes those that may be changed while the gateway runs."""

    def shown(self) -> dict[str, Any]:
        """Dotted name → value of every setting; secrets masked."""

    def changed(self) -> dict[str, dict[str, Any]]:
        """Dotted name → `value`, `changed_at` and `changed_by` of what was changed at run time."""

    def changeable(self) -> dict[str, list[str] | None]:
        """Dotted name → the words it may be, or None, of what may be changed."""

    async def change(self, tree: Mapping[str, Any], *, by: str | None) -> list[str]:
        """Change all that is given or nothing; returns the names. It holds when this returns.

        Raises:
            InvalidRequest: naming the setting and what it may be.
            StoreError: it could not be kept.
        """

    async def undo(self, names: Collection[str] = ()) -> list[str]:
        """Let the settings file hold again for these, or for all; returns what was undone. Raises as `change`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationStanding:
    """The settings that are read again while the gateway runs."""

    file: str
    """Where the providers' file is, or is looked for."""
    found: bool
    """Whether there is one."""
    loaded_at: float
    """When what is in force was read, in seconds since the epoch, UTC."""
    error: str | None = None
    """Why what the files say now is not in force; None: it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Handed to `build_asgi_app`."""

    catalog: CatalogSource
    log: DecisionLog
    feedback: FeedbackStage
    decide: Callable[[ChatRequest, Caller, Wishes], Decision]
    """Decides without calling a model and without logging. May raise PointsmanError."""
    providers_health: Callable[[], Awaitable[dict[str, Health]]]
    """Asks every provider now; bounded in time by whoever gives it."""
    limits: Callable[[Caller, str | None], Awaitable[LimitReport]]
    """How the limits of a caller at an address stand. Raises StateUnavailable."""
    state_health: Callable[[], Awaitable[Health]]
    """How the counters fare that limits and budgets stand on."""
    database: Callable[[], DatabaseStanding] | None = None
    """How the database fares, as last seen; None: there is none."""
    keys: KeyStore
    """The stored API keys."""
    budgets: Accounts | None = None
    """What may be spent; None: nothing is capped, and there is no report."""
    tally: Tally
    """What this process has done."""
    policy: Callable[[], Policy]
    """The policy that serves now."""
    instances: Callable[[], Mapping[str, Sequence[InstanceStanding]]] = dict
    """Provider of several servers → how each of them fares, as last seen."""
    unhealthy: Callable[[], Mapping[str, str]]
    """Model id → why it cannot be asked now."""
    circuits: Callable[[], Sequence[CircuitStanding]] = tuple
    """How the circuit breakers stand of models and providers that were asked."""
    queues: Callable[[], Sequence[QueueStanding]] = tuple
    """How the queues before engines stand."""
    equivalents: Callable[[ModelCard], Sequence[str]]
    """Names of models that stand in for one in an outage."""
    settings: ChangesSettings | None = None
    """Settings that may be changed at run time; None: none may."""
    responses: ResponseStore | None = None
    """What is kept of answers in the Responses API."""
    sign_in: SignIn | None = None
    """Users and their sessions; None: nobody can sign in."""
    caller_keys: TakesKeys = field(default_factory=NoKeysTaken)
    """For which providers callers may bring keys of their own."""
    configuration: Callable[[], ConfigurationStanding] | None = None
    """How the settings fare that are read again while the gateway runs; None: none are."""
    version: str
    started_at: float
    """When the gateway started, in seconds since the epoch."""
    clock: Clock
    _started: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_started", self.clock.monotonic())

    @property
    def uptime(self) -> float:
        """Seconds since the gateway started; a clock that is set does not change it."""
        return self.clock.monotonic() - self._started
