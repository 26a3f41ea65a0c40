"""What a model must satisfy to be considered at all: a table of small pure functions.

Each constraint says when it applies and, for one model, why that model is out. A constraint that does not apply to a
request costs nothing. The order is the order in which a model's exclusion is told: what nobody can mend first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from operator import attrgetter
from typing import NamedTuple

import msgspec

from pointsman.core.budget import AMPLE, Means, dollars, worst_case_micro_usd
from pointsman.core.caller import Caller
from pointsman.core.catalog import ModelCard
from pointsman.core.signals import Needs, Privacy

MIN_OUTPUT = 64
"""Tokens that must be left for the answer; a window that a prompt fills whole is of no use."""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What one request demands of a model."""

    needs: Needs
    privacy: Privacy
    unhealthy: Mapping[str, str]
    """Model id or provider name → why it is thought to be down."""
    force_provider: str | None = None
    credentials: Collection[str] = ()
    """Providers for which the caller brought a key."""
    named: frozenset[str] = frozenset()
    """Ids of models that the caller or the operator named: they need not be routable."""
    caller: Caller | None = None
    """Who asks, where a key is confined to some models."""
    means: Means = AMPLE
    """What may be spent."""
    development: bool = False
    """Whether development mode keeps this request with local models."""
    now: float = 0.0
    """Seconds since the epoch, UTC: a refusal says when a budget starts anew."""

    @property
    def min_output(self) -> int:
        return MIN_OUTPUT if self.needs.max_output is None else min(MIN_OUTPUT, self.needs.max_output)


class Constraint(NamedTuple):
    name: str
    """The stable word in `Dropped.constraint`."""
    need: str
    """What it asks for, to follow "can take" or "has" in a message to people."""
    applies: Callable[[Demand], bool] | None
    """Whether it may exclude a model; None: of every request."""
    violation: Callable[[ModelCard, Demand], str | None]
    """Why the model is out, or None."""


def _kind(card: ModelCard, demand: Demand) -> str | None:
    kind = demand.needs.kind
    return None if kind in card.capabilities else _NOT_OF_KIND[kind]


_NOT_OF_KIND = {
    "chat": "is not a chat model",
    "completion": "does not complete plain text",
    "embeddings": "is not an embedding model",
}


def _infill(card: ModelCard, demand: Demand) -> str | None:
    if card.takes_suffix or card.fim is not None:
        return None
    return "is not known to fill in the middle (suffix)"


def _credential(card: ModelCard, demand: Demand) -> str | None:
    if not card.needs_credential or card.provider in demand.credentials:
        return None
    return f"{card.provider} has no API key here, and the request brings none"


def _key(card: ModelCard, demand: Demand) -> str | None:
    if demand.caller is None or demand.caller.may_use(card.id, card.name):
        return None
    return "this key may not use it"


def _privacy(card: ModelCard, demand: Demand) -> str | None:
    return None if card.local else "is not declared local, and this request must stay on the machine"


def _provider(card: ModelCard, demand: Demand) -> str | None:
    return None if card.provider == demand.force_provider else f"only {demand.force_provider} may be used"


def _development(card: ModelCard, demand: Demand) -> str | None:
    return None if card.local else "is in the cloud, and development mode keeps this request with local models"


def _routable(card: ModelCard, demand: Demand) -> str | None:
    if card.routable or card.id in demand.named:
        return None
    return "is used only when it is named, because too little is known of it"


def _tools(card: ModelCard, demand: Demand) -> str | None:
    return None if "tools" in card.capabilities else "is not known to call tools"


def _vision(card: ModelCard, demand: Demand) -> str | None:
    return None if "vision" in card.capabilities else "is not known to read images"


def _json_object(card: ModelCard, demand: Demand) -> str | None:
    if "json_object" in card.capabilities or "json_schema" in card.capabilities:
        return None
    return "is not known to keep to JSON (response_format json_object)"


def _json_schema(card: ModelCard, demand: Demand) -> str | None:
    if "json_schema" in card.capabilities:
        return None
    return "is not known to keep to a schema (response_format json_schema)"


def _logprobs(card: ModelCard, demand: Demand) -> str | None:
    return None if "logprobs" in card.capabilities else "is not known to give logprobs"


def excess_tokens(card: ModelCard, demand: Demand) -> int:
    """By how many tokens the prompt, at its lower bound, and the least answer exceed the window; ≤ 0 when they fit."""
    if card.context_window is None:
        return 0
    return demand.needs.prompt_tokens_low + demand.min_output - card.context_window


def _context(card: ModelCard, demand: Demand) -> str | None:
    excess = excess_tokens(card, demand)
    if excess <= 0:
        return None
    return (
        f"its window of {card.context_window:,} tokens is {excess:,} too small for a prompt of at least"
        f" {demand.needs.prompt_tokens_low:,} and {demand.min_output} of answer"
    )


def _budget(card: ModelCard, demand: Demand) -> str | None:
    if card.provider in demand.credentials:  # whoever brings the key pays
        return None
    worst = worst_case_micro_usd(card, demand.needs, demand.means.default_output)
    if demand.means.affords(card, worst):
        return None
    if card.price_input is None or card.price_output is None:
        return f"has no known price, and a budget caps what may be spent; set providers.{card.provider}.prices"
    if demand.needs.dear_service:
        return "has no known price for this service_tier, and a budget caps what may be spent; leave it out"
    if worst is None:
        return "may answer without end as far as is known, and a budget caps what may be spent; send max_tokens"
    budget = demand.means.binding(card)
    left = f"{budget.title} has {dollars(budget.left_micro_usd)} left" if budget is not None else "no budget is left"
    return f"may cost up to {dollars(worst)}, and {left}"


def _healthy(card: ModelCard, demand: Demand) -> str | None:
    return demand.unhealthy.get(card.id) or demand.unhealthy.get(card.provider)


CONSTRAINTS: tuple[Constraint, ...] = (
    Constraint("key", "leave for this key", lambda demand: demand.caller is not None, _key),
    Constraint("chat", "the kind of request", None, _kind),
    Constraint("infill", "fill-in-the-middle", lambda demand: demand.needs.infill, _infill),
    Constraint("credential", "a key of its provider", None, _credential),
    Constraint("privacy", "a place on this machine", lambda demand: demand.privacy.local_only, _privacy),
    Constraint("provider", "the forced provider", lambda demand: demand.force_provider is not None, _provider),
    Constraint("development", "a place in development mode", lambda demand: demand.development, _development),
    Constraint("disabled", "enough known of it", None, _routable),
    Constraint("tools", "tool calls", lambda demand: demand.needs.tools, _tools),
    Constraint("vision", "images", lambda demand: demand.needs.vision, _vision),
    Constraint("json", "JSON answers", lambda demand: demand.needs.json_object, _json_object),
    Constraint("json_schema", "a JSON schema", lambda demand: demand.needs.json_schema, _json_schema),
    Constraint("logprobs", "logprobs", lambda demand: demand.needs.logprobs, _logprobs),
    # each text to embed stands alone; what is too long for a model its provider says
    Constraint("context", "the window", lambda demand: demand.needs.kind != "embeddings", _context),
    Constraint("budget", "the budget", lambda demand: demand.means.capped, _budget),
    Constraint("unhealthy", "health", lambda demand: bool(demand.unhealthy), _healthy),
)

SCOPE = frozenset(
    {"chat", "key", "credential", "privacy", "provider", "development", "disabled", "budget", "unhealthy"}
)
"""Constraints on which models may be asked at all; the others are about what the request needs."""

SOFT_WHEN_NAMED = frozenset({"disabled", "tools", "vision", "json", "json_schema", "logprobs", "unhealthy"})
"""What a model that the caller named outright is forgiven: its card may be wrong, and the choice is the caller's."""


KIND_OF_NEEDS = attrgetter("kind", "infill", "tools", "vision", "json_object", "json_schema", "logprobs")
"""All that `Constraint.applies` looks at of the needs."""


def kind_of(demand: Demand) -> tuple[object, ...]:
    """All that `Constraint.applies` looks at, so that it is asked once for requests of a kind."""
    return (
        demand.caller is None,
        demand.privacy.local_only,
        demand.force_provider is None,
        demand.development,
        demand.means.capped,
        not demand.unhealthy,
        KIND_OF_NEEDS(demand.needs),
    )


def active(demand: Demand) -> tuple[Constraint, ...]:
    """The constraints that may exclude a model."""
    kind = kind_of(demand)
    found = _ACTIVE.get(kind)
    if found is None:
        found = tuple([one for one in CONSTRAINTS if one.applies is None or one.applies(demand)])
        _ACTIVE[kind] = found
    return found


_ACTIVE: dict[tuple[object, ...], tuple[Constraint, ...]] = {}


def violations(card: ModelCard, demand: Demand, constraints: Iterable[Constraint] | None = None) -> dict[str, str]:
    """Every constraint that excludes the model, by name, with the detail."""
    found = {}
    for constraint in active(demand) if constraints is None else constraints:
        detail = constraint.violation(card, demand)
        if detail is not None:
            found[constraint.name] = detail
    return found
