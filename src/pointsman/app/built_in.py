"""The policy that serves where none is promoted, under the settings."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import InvalidRequest
from pointsman.core.ports import Clock
from pointsman.pipeline.decide import Explorer, LearnedPolicy, Policy, RulePolicy
from pointsman.pipeline.decide.learned.shipped import shipped
from pointsman.pipeline.decide.utility import weights_with
from pointsman.settings import Settings

log = logging.getLogger(__name__)


def rules_of(settings: Settings) -> RulePolicy:
    """The rules, under the settings."""
    routing = settings.routing
    return RulePolicy(
        complexity_threshold=routing.complexity_threshold,
        default_provider=routing.default_provider,
        weights=weights_with(routing.weights),  # type: ignore[arg-type]  # checked with the settings
    )


def same(one: RulePolicy, other: RulePolicy) -> bool:
    """Whether two sets of rules say the same."""
    return (one.complexity_threshold, one.default_provider, one.weights) == (
        other.complexity_threshold,
        other.default_provider,
        other.weights,
    )


class BuiltIn:
    """Makes the built-in policy: one that learns, or the rules alone where the settings say so or what it was trained
    with cannot be read. One that learns is made anew only when the settings change: it has observed since.

    Args:
        card_of: the card of a model now.
    """

    def __init__(self, card_of: Callable[[str], ModelCard | None], clock: Clock) -> None:
        self.card_of = card_of
        self.clock = clock
        self._learned: LearnedPolicy | None = None

    def __call__(self, settings: Settings) -> Policy:
        rules = rules_of(settings)
        if settings.routing.policy == "rules":
            return rules
        if self._learned is None or not same(self._learned.rules, rules):
            try:
                artefact = shipped()
            except InvalidRequest as error:
                log.error("The policy that ships cannot be read, so %s serves. %s", rules.version, error.message)
                return rules
            self._learned = LearnedPolicy(artefact, rules=rules, card_of=self.card_of, clock=self.clock.now)
        return self._learned


def build_explorer(settings: Settings, random: Callable[[], float]) -> Explorer:
    exploration = settings.routing.exploration
    return Explorer(share=exploration.share, micro_usd_per_day=round(exploration.daily * 1_000_000), random=random)
