"""What the pipeline asks of its stages, where a stage has more than one form."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from pointsman.core.budget import AMPLE, Means, Purse, Refused
from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog
from pointsman.core.decision import Decision
from pointsman.core.mask import Mask
from pointsman.core.request import ChatRequest, Priority, PrivacyLevel
from pointsman.core.signals import Signals
from pointsman.core.trail import Trail

from .decide.threads import NOWHERE, Place


class Understands(Protocol):
    def __call__(
        self,
        request: ChatRequest,
        *,
        privacy_level: PrivacyLevel | None = None,
        priority: Priority | None = None,
        usual: Priority | None = None,
    ) -> Signals: ...


class Notices(Protocol):
    """Looks for what takes a model to find."""

    async def __call__(self, request: ChatRequest, signals: Signals) -> Signals:
        """The signals with what was found; what could not be looked for counts as found."""

    def judge(self, request: ChatRequest, signals: Signals) -> Signals:
        """The same, blocking."""


class TellsIntent(Protocol):
    """Asks a model for the intent of a request where nothing else is sure of it."""

    async def __call__(
        self, request: ChatRequest, signals: Signals, caller: Caller, *, provider: str | None = None
    ) -> Signals:
        """The signals with what the model said; as they came where it says nothing in time."""

    def recall(self, request: ChatRequest, signals: Signals) -> Signals:
        """The same by what was said before; nobody is asked."""


class Redacts(Protocol):
    def __call__(self, request: ChatRequest, signals: Signals) -> tuple[Signals, Mask | None]:
        """The signals as they hold once private values are replaced for remote models, and the copy."""


class Grant(Purse, Protocol):
    """What was reserved for a request."""

    def settle(self, trail: Trail | None) -> None:
        """Charge what the attempts cost, once; None: no attempt was made."""


class Spends(Protocol):
    """Budgets, as a request meets them."""

    def concerns(self, caller: Caller) -> bool: ...

    def means(self, caller: Caller) -> Means | None:
        """What a caller can spend; None when that must be asked for."""

    async def learn(self, caller: Caller) -> Means:
        """The same, asked for now. Raises StateUnavailable."""

    def destitute(self, caller: Caller) -> Means:
        """The means of somebody for whom only free models are left."""

    async def reserve(self, decision: Decision, catalog: Catalog, caller: Caller) -> Grant | Refused | None:
        """Reserve the worst case; None when nothing can be charged. Raises StateUnavailable."""


class Health(Protocol):
    """Which models are not asked now."""

    def __call__(self) -> Mapping[str, str]:
        """Model id → why, which may name addresses: for admins."""

    def plain(self) -> Mapping[str, str]:
        """The same in words for everybody."""

    def back_in(self, models: Iterable[str]) -> float | None:
        """Seconds until one of these models, all of which are among them, may be asked; None: nobody knows."""


class Decides(Protocol):
    def __call__(
        self,
        requested_model: str,
        signals: Signals,
        *,
        catalog: Catalog,
        unhealthy: Mapping[str, str],
        key_id: str | None,
        now: float,
        stream: bool,
        caller: Caller | None = None,
        means: Means = AMPLE,
        force_provider: str | None = None,
        local_first: bool = False,
        credentials: Collection[str] = (),
        quality_floor: float | None = None,
        explore: bool = True,
        place: Place = NOWHERE,
    ) -> Decision: ...
