"""The policy that serves: the promoted one, or the built-in one under the settings; and those on trial beside it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from pointsman.core.errors import PointsmanError
from pointsman.pipeline.decide import Decide, Policy, RulePolicy, load_policy
from pointsman.pipeline.decide.staged import Staged
from pointsman.settings import Settings
from pointsman.stores.database import Database
from pointsman.stores.policies import BUILT_IN, REVISION, PolicyStore, Standing, StoredPolicy
from pointsman.stores.watch import Watcher

from .built_in import BuiltIn, rules_of, same
from .trials import Trials

log = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """A policy as it was loaded under some settings."""

    base: RulePolicy
    policy: Policy


class LivePolicies:
    """Loads policies of the database; what is loaded stays as long as it is wanted and the settings are the same, for a
    policy may have learned since."""

    def __init__(self, built_in: BuiltIn) -> None:
        self._built_in = built_in
        self._loaded: dict[str, Loaded] = {}
        self.unusable: dict[str, str] = {}
        """Why versions that were asked for cannot serve."""

    def load(self, stored: StoredPolicy, base: RulePolicy) -> Policy | None:
        """The policy; None where it cannot serve, which is said in the log."""
        found = self._loaded.get(stored.version)
        if found is not None and same(found.base, base):
            return found.policy
        try:
            policy = load_policy(
                stored.kind,
                stored.artefact,
                version=stored.version,
                base=base,
                card_of=self._built_in.card_of,
                clock=self._built_in.clock.now,
            )
        except PointsmanError as error:
            if self.unusable.get(stored.version) != error.message:
                log.error("The policy %s cannot be used. %s", stored.version, error.message)
            self.unusable[stored.version] = error.message
            return None
        self.unusable.pop(stored.version, None)
        self._loaded[stored.version] = Loaded(base, policy)
        return policy

    def serving(self, standing: Standing, base: RulePolicy) -> Policy | None:
        """The promoted policy or, where it cannot serve, the latest before it that can; None: the built-in one."""
        if standing.promoted == BUILT_IN:
            return None
        if standing.serving is None:
            self.unusable[standing.promoted] = "It is not in the database any longer."
        for stored in (standing.serving, *standing.earlier):
            if stored is not None and (policy := self.load(stored, base)) is not None:
                return policy
        return None

    def keep_only(self, versions: set[str]) -> None:
        """Forget all others."""
        self._loaded = {version: loaded for version, loaded in self._loaded.items() if version in versions}
        self.unusable = {version: why for version, why in self.unusable.items() if version in versions}


def follow_promotions(
    settings: Callable[[], Settings],
    decide: Decide,
    database: Database,
    watcher: Watcher,
    built_in: BuiltIn,
    trials: Trials | None = None,
    *,
    unusable: Callable[[Mapping[str, str]], None] = lambda policies: None,
) -> Callable[[], Awaitable[None]]:
    """Let `decide` take up what is promoted and staged, at the start and whenever it changes; returns what does so now.

    Where a promoted policy cannot be loaded, the latest promotion before it that can serves, in every process and after
    every restart the same; a candidate that cannot be loaded gets no share.

    Args:
        settings: those that hold now.
        trials: told who is on trial.
        unusable: told which versions should serve and cannot, and why.
    """
    store = PolicyStore(database, built_in.clock)
    live = LivePolicies(built_in)

    async def reload() -> None:
        base, unpromoted = rules_of(settings()), built_in(settings())
        standing = await store.standing()
        before = decide.policy.serving if isinstance(decide.policy, Staged) else decide.policy
        serving = live.serving(standing, base) or unpromoted
        if standing.promoted not in (BUILT_IN, serving.version):
            log.error("The promoted policy %s cannot serve; %s does.", standing.promoted, serving.version)
        elif serving.version != before.version:
            log.info("The policy %s serves now.", serving.version)
        decide.policy = _with_candidate(standing, serving, live, base, before=decide.policy)
        shadows = {stored.version: live.load(stored, base) for _, stored in standing.shadows}
        live.keep_only({*_wanted(standing), serving.version})
        unusable(live.unusable)
        if trials is not None:
            trials.follow(
                standing,
                {version: policy for version, policy in shadows.items() if policy is not None},
                built_in=unpromoted.version,
            )

    watcher.watch(REVISION, reload)
    return reload


def _with_candidate(
    standing: Standing, serving: Policy, live: LivePolicies, base: RulePolicy, *, before: Policy
) -> Policy:
    """The policy that serves, with the staged one beside it where there is one that can be loaded."""
    if standing.staged is None:
        return serving
    trial, stored = standing.staged
    candidate = live.load(stored, base)
    if candidate is None:
        return serving
    known = before.candidate.version if isinstance(before, Staged) else ""
    if known != candidate.version:
        log.info("The policy %s takes %.0f %% of the decisions now.", candidate.version, 100 * trial.share)
    return Staged(serving, candidate, share=trial.share)


def _wanted(standing: Standing) -> set[str]:
    found = {standing.promoted, *(stored.version for _, stored in standing.shadows)}
    if standing.staged is not None:
        found.add(standing.staged[1].version)
    return found
