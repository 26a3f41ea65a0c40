"""Circuit breakers of all models and their providers: who fails too often is left alone for a while.

A caller is never kept waiting for it, and nothing is asked of another process: what replicas tell one another comes and
goes by `breaker_sharing`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from pointsman.core.catalog import ModelCard
from pointsman.core.circuits import CircuitStanding
from pointsman.core.errors import PointsmanError
from pointsman.core.ports import CatalogSource, Clock

from .blame import Blame, blame
from .circuit import BreakerRules, Circuit, ModelCircuit, ProviderCircuit, Scope

log = logging.getLogger(__name__)

MOST = 4096
"""Circuits of models that are kept; beyond it those go that are closed."""

NONE: Mapping[str, str] = MappingProxyType({})


class CircuitBreakers:
    """Implements `core.ports.Breakers`.

    Args:
        models: the catalog, which says which models a provider's circuit keeps back.
        chance: a number in [0, 1).
    """

    def __init__(
        self, rules: BreakerRules, *, models: CatalogSource, clock: Clock, chance: Callable[[], float] = random.random
    ) -> None:
        self._rules = rules
        self._catalog = models
        self._monotonic = clock.monotonic
        self._chance = chance
        self._models: dict[str, ModelCircuit] = {}
        self._providers: dict[str, ProviderCircuit] = {}
        self._tripped: set[Circuit] = set()
        """Those that are not closed."""
        self._opened: Mapping[str, str] = NONE
        self._told_of: object = None
        """The catalog that `_opened` was told of; None: it must be told anew."""
        self._holds_until = 0.0
        self.on_change: Callable[[Circuit], None] = lambda circuit: None
        """Called when one has opened or closed here, not with what is adopted from elsewhere."""

    @property
    def rules(self) -> BreakerRules:
        return self._rules

    @rules.setter
    def rules(self, rules: BreakerRules) -> None:
        """Take up other rules: what was counted and learned stays, and an opening ends when it was to end."""
        if not rules.enabled:
            for circuit in list(self._tripped):
                self._close(circuit, self._monotonic())
        self._rules = rules
        self._told_of = None

    def admit(self, card: ModelCard) -> float:
        if not self._tripped:
            return 0.0
        model = self._models.get(card.id)
        provider = model.provider if model is not None else self._providers.get(card.provider)
        now, rules = self._monotonic(), self._rules
        left = max(
            model.left(now, rules) if model is not None else 0.0,
            provider.left(now, rules) if provider is not None else 0.0,
        )
        if left <= 0:
            for circuit in (model, provider):
                if circuit is not None and circuit.until:
                    circuit.probe(now, rules)
                    self._told_of = None
        return left

    def told(self, card: ModelCard, error: PointsmanError | None, seconds: float | None) -> None:
        rules = self._rules
        if not rules.enabled:
            return
        model = self._models.get(card.id) or self._add(card.id, card.provider)
        provider = model.provider
        if error is None:
            if seconds is None:
                self._probed(model, provider, Blame.NOTHING)
                return
            provider.streak = 0
            if not model.answered(self._monotonic(), seconds, rules):
                if self._tripped:
                    self._probed(model, provider, None)
                return
            kind = Blame.SLOW
        else:
            kind = blame(error)
            if kind is Blame.NOTHING:
                self._probed(model, provider, kind)
                return
            if kind is Blame.SLOW:
                model.refused(self._monotonic(), rules)
            else:
                model.failed(self._monotonic(), rules)
        self._failed(model, provider, kind)

    def opened(self) -> Mapping[str, str]:
        if not self._tripped:
            return NONE
        now, catalog = self._monotonic(), self._catalog.catalog
        if self._told_of is not catalog or now >= self._holds_until:
            self._opened = self._tell(now, [(card.id, card.provider) for card in catalog])
            self._told_of = catalog
        return self._opened

    def back_in(self, models: Iterable[str]) -> float | None:
        """Seconds until one of these models may be asked, as far as circuits keep it back; None: none does."""
        now, rules = self._monotonic(), self._rules
        waits = []
        for name in models:
            circuits = (self._models.get(name), self._providers.get(name.partition(":")[0]))
            waits.append(max((one.left(now, rules) for one in circuits if one is not None), default=0.0))
        return min((wait for wait in waits if wait > 0), default=None)

    def standings(self) -> list[CircuitStanding]:
        """Every circuit that anything is known of, those of providers first."""
        now = self._monotonic()
        circuits: Iterable[Circuit] = (*self._providers.values(), *self._models.values())
        return [
            CircuitStanding(
                scope=circuit.scope,
                name=circuit.name,
                state=circuit.state(now),
                why=circuit.why,
                seconds_left=max(0.0, circuit.until - now),
                openings=circuit.openings,
            )
            for circuit in circuits
        ]

    def seconds_open(self, circuit: Circuit) -> float:
        """Until it is ready for a probe."""
        return max(0.0, circuit.until - self._monotonic())

    def forget(self, provider: str) -> None:
        """A provider has become another one: nothing that was counted of it holds any more."""
        own = self._providers.pop(provider, None)
        if own is None:
            return
        for circuit in (own, *own.models.values()):
            if circuit.until:
                self._close(circuit, self._monotonic())
            self._models.pop(circuit.name, None)

    def back(self, provider: str) -> None:
        """A provider that had not answered does so: what opened because nobody could reach it may be tried now."""
        own = self._providers.get(provider)
        if own is None or not self._tripped:
            return
        now = self._monotonic()
        for circuit in (own, *own.models.values()):
            if circuit.unreached and circuit.until > now:
                circuit.until = now
                self._told_of = None

    def adopt(self, scope: Scope, name: str, *, seconds: float, why: str, level: int, unreached: bool) -> None:
        """Another replica's circuit has opened, for so many seconds from now."""
        if not self._rules.enabled:
            return
        circuit = (
            self._provider(name)
            if scope == "provider"
            else self._models.get(name) or self._add(name, name.partition(":")[0])
        )
        now = self._monotonic()
        if not circuit.until:
            log.warning("%s is left alone for %.0f s, as a replica says: %s", name, seconds, why)
        circuit.adopt(now + seconds, why, level, unreached=unreached)
        self._tripped.add(circuit)
        self._told_of = None

    def adopt_closed(self, scope: Scope, name: str) -> None:
        """Another replica's circuit has closed."""
        circuit = self._providers.get(name) if scope == "provider" else self._models.get(name)
        if circuit is not None and circuit.until:
            self._close(circuit, self._monotonic(), adopted=True)

    def _add(self, name: str, provider: str) -> ModelCircuit:
        if len(self._models) >= MOST:
            kept = [model for model in self._models.values() if model.until]
            self._models = {model.name: model for model in kept[: MOST // 2]}
            self._tripped = {one for one in self._tripped if one.scope == "provider" or one.name in self._models}
            for one in self._providers.values():
                one.models = {model.name: model for model in self._models.values() if model.provider is one}
            self._providers = {name: one for name, one in self._providers.items() if one.models or one.until}
        own = self._provider(provider)
        model = self._models[name] = own.models[name] = ModelCircuit(name, own)
        return model

    def _provider(self, name: str) -> ProviderCircuit:
        found = self._providers.get(name)
        if found is None:
            found = self._providers[name] = ProviderCircuit(name)
        return found

    def _failed(self, model: ModelCircuit, provider: ProviderCircuit, kind: Blame) -> None:
        now, rules = self._monotonic(), self._rules
        if kind is Blame.UNREACHABLE:
            why = provider.missed(now, rules)
            if why is not None and not provider.until:
                provider.unreached = True
                self._open(provider, now, why)
        else:
            provider.streak = 0
        if model.until or provider.until:
            self._probed(model, provider, kind)
        if not model.until and (why := model.failing(now, rules)) is not None:
            model.unreached = kind is Blame.UNREACHABLE
            self._open(model, now, why)
            why = provider.failing(now, rules)
            if why is not None and not provider.until:
                provider.unreached = False
                self._open(provider, now, why)

    def _probed(self, model: ModelCircuit, provider: ProviderCircuit, kind: Blame | None) -> None:
        """A call has ended while one of the two may be half open. `kind`: None when it went well."""
        if not self._tripped:
            return
        now, rules = self._monotonic(), self._rules
        good = None if kind is Blame.NOTHING else kind is None
        for circuit in (model, provider):
            if not circuit.until:
                continue
            if circuit is provider and good is False and provider.unreached:
                good = kind is not Blame.UNREACHABLE
            do = circuit.probed(now, good, rules)
            self._told_of = None
            if do == "open":
                self._open(circuit, now, circuit.why)
            elif do == "closed":
                self._close(circuit, now)

    def _open(self, circuit: Circuit, now: float, why: str) -> None:
        circuit.open(now, why, self._rules, 0.75 + 0.25 * self._chance())
        self._tripped.add(circuit)
        self._told_of = None
        log.warning("%s is left alone for %.0f s: %s", circuit.name, circuit.spell, why)
        self.on_change(circuit)

    def _close(self, circuit: Circuit, now: float, *, adopted: bool = False) -> None:
        circuit.close(now)
        if isinstance(circuit, ProviderCircuit):
            circuit.streak = 0
        self._tripped.discard(circuit)
        self._told_of = None
        log.info("%s may be asked again", circuit.name)
        if not adopted:
            self.on_change(circuit)

    def _tell(self, now: float, models: Iterable[tuple[str, str]]) -> Mapping[str, str]:
        """Why models are not asked; sets until when that holds."""
        rules, ends = self._rules, []
        closed: dict[str, str] = {}
        for circuit in self._tripped:
            left = circuit.left(now, rules)
            if left <= 0:
                continue
            ends.append(now + left)
            if circuit.scope == "model":
                closed.setdefault(circuit.name, f"its circuit is open: {circuit.why}")
            else:
                why = f"its provider's circuit is open: {circuit.why}"
                closed.update({model: why for model, provider in models if provider == circuit.name})
        self._holds_until = min(ends, default=now + 3600.0)
        return MappingProxyType(closed)
