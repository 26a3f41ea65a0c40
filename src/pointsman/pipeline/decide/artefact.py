"""Policies as JSON: how one crosses from where it is made to where it serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import InvalidRequest
from pointsman.core.request import Priority

from .learned.artefact import read_artefact
from .learned.policy import LearnedPolicy
from .network import load_network
from .policy import Policy, RulePolicy
from .utility import weights_with


class RulesArtefact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rule policy with other numbers. What is left out is as built in."""

    weights: Mapping[Priority, Mapping[str, float]] = {}
    complexity_threshold: float | None = None


KINDS = ("rules", "learned", "network")


def kind_of(artefact: str | bytes) -> str:
    """The kind of policy that an artefact describes, by the fields that only that kind has.

    Raises:
        InvalidRequest: it is no JSON object.
    """
    try:
        names = msgspec.json.decode(artefact, type=dict[str, msgspec.Raw]).keys()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"This is not a policy: {error}.") from None
    if "features" not in names:
        return "rules"
    return "network" if "hidden" in names else "learned"


def load_policy(
    kind: str,
    artefact: str | bytes,
    *,
    version: str,
    base: RulePolicy,
    card_of: Callable[[str], ModelCard | None] = lambda model: None,
    clock: Callable[[], float] = time.time,
) -> Policy:
    """The policy that an artefact describes.

    Args:
        base: the built-in rules under the installation's settings.
        card_of: the card of a model now, for policies that learn while they serve; None: it is not in the catalog.
        clock: seconds since the epoch, UTC.

    Raises:
        InvalidRequest: it is not one, or holds a number that makes no sense.
    """
    if kind == "network":
        return load_network(artefact, version=version, base=base)
    if kind == "learned":
        return LearnedPolicy(read_artefact(artefact), rules=base, version=version, card_of=card_of, clock=clock)
    if kind != "rules":
        raise InvalidRequest(f"There is no policy of the kind {kind!r}; there are {', '.join(KINDS)}.")
    try:
        read = msgspec.json.decode(artefact, type=RulesArtefact)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"This is not a policy: {error}.") from None
    weights = weights_with(read.weights, base.weights)
    threshold = base.complexity_threshold if read.complexity_threshold is None else read.complexity_threshold
    if not 0 <= threshold <= 1:
        raise InvalidRequest(f"complexity_threshold is {threshold}: it must be between 0 and 1.")
    return RulePolicy(
        complexity_threshold=threshold, default_provider=base.default_provider, weights=weights, version=version
    )


def dump_policy(policy: RulePolicy) -> str:
    """The artefact of a rule policy, every number in it."""
    weights: dict[str, Any] = {priority: asdict(weights) for priority, weights in policy.weights.items()}
    tree = {"weights": weights, "complexity_threshold": policy.complexity_threshold}
    return msgspec.json.format(msgspec.json.encode(tree), indent=2).decode()
