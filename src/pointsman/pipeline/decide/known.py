"""What follows from the catalog and the settings alone, whatever is asked: worked out once, until either changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import TypeVar

from pointsman.core.budget import UNMEASURED
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.decision import Candidate

from .candidates import Pool, part
from .constraints import KIND_OF_NEEDS, MIN_OUTPUT, Demand, violations
from .named import Named, part_named
from .names import Requested, interpret
from .plan import chain, quality_of
from .rules import DecideRules

K = TypeVar("K")
V = TypeVar("V")

MOST = 2_000
"""Kinds of demands, and orders of candidates, whose answer is kept."""


class Known:
    """Look-ups over one catalog under one set of rules. Of names only those are kept that a model answers to."""

    def __init__(self, catalog: Catalog, rules: DecideRules) -> None:
        self.catalog = catalog
        self.rules = rules
        self._requested: dict[str, Requested] = {}
        self._chains: dict[str, Sequence[ModelCard] | None] = {}
        self._equivalents: dict[str, tuple[ModelCard, ...]] = {}
        self._most_tokens = min(catalog.windows, default=UNMEASURED) - MIN_OUTPUT
        """Of a prompt that fits every window."""
        self._pools: dict[tuple[object, ...], Pool] = {}
        self._named: dict[tuple[object, ...], Named] = {}
        self._violations: dict[tuple[str, tuple[object, ...]], Mapping[str, str]] = {}
        self._plans: dict[tuple[str, ...], tuple[str, ...]] = {}

    def requested(self, name: str) -> Requested:
        """What the model field asks for. Raises ModelNotFound."""
        found = self._requested.get(name)
        if found is None:
            rules = self.rules
            found = self._requested[name] = interpret(
                name, catalog=self.catalog, model_names=rules.model_names, default_provider=rules.default_provider
            )
        return found

    def chain(self, card: ModelCard) -> Sequence[ModelCard] | None:
        """The known models of the chain that the operator set for this one; None without a chain."""
        model = card.id
        if model not in self._chains:
            names = self.rules.fallbacks.get(model, self.rules.fallbacks.get(card.name))
            self._chains[model] = None if names is None else self._found(names)
        return self._chains[model]

    def equivalents(self, card: ModelCard) -> Sequence[ModelCard]:
        """The known models that stand in for this one in an outage, best first."""
        found = self._equivalents.get(card.id)
        if found is None:
            found = self._equivalents[card.id] = self._found(equivalents(card, self.rules))
        return found

    def plan(self, ranked: Sequence[Candidate]) -> tuple[str, ...]:
        """The plan that follows from the order of the candidates alone: `plan.chain`."""
        order = *map(_model_of, ranked), max(ranked, key=quality_of).model
        plan = self._plans.get(order)
        if plan is None:
            primary = self.catalog[order[0]]
            plan = chain(
                primary,
                ranked,
                catalog=self.catalog,
                max_attempts=self.rules.max_attempts,
                equivalents=self.equivalents(primary),
            )
            _keep(self._plans, order, plan)
        return plan

    def part(self, demand: Demand) -> Pool:
        """The models that may be chosen, and those that may not: `candidates.part` of the catalog."""
        kind = self._plain(demand)
        if kind is None:
            return part(self.catalog, demand)
        pool = self._pools.get(kind)
        return _keep(self._pools, kind, part(self.catalog, demand)) if pool is None else pool

    def named(self, requested: Requested, demand: Demand) -> Named:
        """What becomes of the models that a request names: `named.part_named` of those of `demand.named`."""
        kind = self._plain(demand)
        named = None if kind is None else self._named.get(kind)
        if named is None:
            named = part_named(requested.cards, demand, followers=self._followers, max_attempts=self.rules.max_attempts)
            if kind is not None:
                _keep(self._named, kind, named)
        return named

    def violations(self, card: ModelCard, demand: Demand) -> Mapping[str, str]:
        """`constraints.violations` of a card of the catalog."""
        kind = self._plain(demand)
        if kind is None:
            return violations(card, demand)
        of = card.id, kind
        found = self._violations.get(of)
        return _keep(self._violations, of, violations(card, demand)) if found is None else found

    def _followers(self, card: ModelCard) -> Sequence[ModelCard]:
        """Of a model that is named: its chain, or those that stand in for it, as the settings have it."""
        chained = self.chain(card)
        if chained is None and self.rules.named_stand_ins:
            return self.equivalents(card)
        return chained or ()

    def _plain(self, demand: Demand) -> tuple[object, ...] | None:
        """All that constraints look at beside the card, where nothing is down, no budget is capped, the prompt fits
        every window, and the caller is neither confined nor brings keys; None where it is otherwise."""
        needs, means = demand.needs, demand.means
        if (
            demand.unhealthy
            or demand.caller is not None
            or demand.credentials
            or means.remaining_micro_usd is not None
            or means.models
            or needs.prompt_tokens_low > self._most_tokens
        ):
            return None
        return (
            demand.named,
            demand.force_provider,
            demand.privacy.local_only,
            demand.development,
            KIND_OF_NEEDS(needs),
        )

    def _found(self, names: Sequence[str]) -> tuple[ModelCard, ...]:
        return tuple([card for name in names if (card := self.catalog.find(name)) is not None])


_model_of = attrgetter("model")


def _keep(known: dict[K, V], key: K, value: V) -> V:
    """Remember an answer; when there are too many, of all others none."""
    if len(known) >= MOST:
        known.clear()
    known[key] = value
    return value


def equivalents(card: ModelCard, rules: DecideRules) -> Sequence[str]:
    """Names of models that stand in for one in an outage: as the settings say, else its card."""
    names = rules.equivalents.get(card.id)
    return rules.equivalents.get(card.name, card.equivalents) if names is None else names
