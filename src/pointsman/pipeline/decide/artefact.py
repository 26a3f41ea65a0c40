"""Policies as JSON: how one crosses from where it is made to where it serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import Priority

from .network import load_network
from .policy import Policy, RulePolicy
from .utility import weights_with


class RulesArtefact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rule policy with other numbers. What is left out is as built in."""

    weights: Mapping[Priority, Mapping[str, float]] = {}
    complexity_threshold: float | None = None


KINDS = ("rules", "network")


def load_policy(kind: str, artefact: str | bytes, *, version: str, base: RulePolicy) -> Policy:
    """The policy that an artefact describes.

    Args:
        base: the built-in rules under the installation's settings.

    Raises:
        InvalidRequest: it is not one, or holds a number that makes no sense.
    """
    if kind == "network":
        return load_network(artefact, version=version, base=base)
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
