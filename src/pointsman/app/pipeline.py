"""The stages that a request passes, built from the settings, and kept at those that are changed at run time."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple

from pointsman.core.credential import TakesKeys
from pointsman.core.lifecycle import Lifecycle
from pointsman.core.ports import Clock, DecisionLog, Queues, Throttle, Timeouts
from pointsman.pipeline.admit.budgets import Budgets
from pointsman.pipeline.decide import Decide, is_auto
from pointsman.pipeline.decide.pace import Paces
from pointsman.pipeline.decide.threads import Threads
from pointsman.pipeline.execute import Execute
from pointsman.pipeline.execute.breaker import CircuitBreakers
from pointsman.pipeline.record import Record
from pointsman.pipeline.record.implicit import ImplicitSignals
from pointsman.pipeline.record.judge import Judge
from pointsman.pipeline.run import Pipeline
from pointsman.pipeline.shape import Defaults
from pointsman.pipeline.understand import AllowPatterns, ComplexityRules, FeatureReader, PrivacyRules, Understand
from pointsman.providers.discovery import CatalogKeeper
from pointsman.providers.static_embedding.model import embed_one
from pointsman.settings import Settings
from pointsman.stores.database import Database
from pointsman.stores.policies import PolicyStore
from pointsman.stores.runtime_settings import RuntimeSettingsStore
from pointsman.stores.secret_key import SecretKey
from pointsman.stores.trials import TrialStore
from pointsman.stores.watch import Watcher

from .breakers import Unhealthy
from .built_in import BuiltIn, build_explorer
from .entities import build_people
from .execution import confidence_model, execution_rules
from .intents import build_intents
from .live_settings import LiveSettings, decide_rules
from .policies import follow_promotions
from .providers import uninvited
from .trials import Trials

if TYPE_CHECKING:
    from pointsman.providers.llamacpp.fleet import Fleet


class BuiltPipeline(NamedTuple):
    """The pipeline, and the parts of it that others ask too."""

    pipeline: Pipeline
    understand: Understand
    decide: Decide
    record: Record
    live: LiveSettings
    trials: Trials


def build_pipeline(
    settings: Settings,
    *,
    keeper: CatalogKeeper,
    fleet: Fleet | None,
    throttle: Throttle,
    breakers: CircuitBreakers,
    queues: Queues,
    budgets: Budgets,
    caller_keys: TakesKeys,
    log: DecisionLog,
    database: Database,
    watcher: Watcher,
    clock: Clock,
    secret_key: SecretKey,
    implicit: ImplicitSignals | None,
    judge: Judge | None,
    lifecycle: Lifecycle,
    stack: AsyncExitStack,
) -> BuiltPipeline:
    """Build the stages and join them. `watcher` loads what was changed at run time when it starts.

    Args:
        implicit: notices what callers do next; None: nobody does.
        judge: judges some of the answers; None: nobody does.
    """
    privacy, routing = settings.privacy, settings.routing
    understand = build_understand(settings, keeper, secret_key)
    built_in = BuiltIn(lambda model: keeper.catalog.get(model), clock)
    paces = Paces()
    decide = Decide(
        rules=decide_rules(settings),
        policy=built_in(settings),
        explorer=build_explorer(settings, random.SystemRandom().random),
        paces=paces,
        waits=queues.waits,
    )
    shape = Defaults(temperature=routing.default_temperature, max_tokens=routing.default_max_tokens)
    threads = Threads()
    intents = build_intents(
        settings,
        lambda: live.current,
        understand=understand,
        models=keeper,
        pipeline=lambda: pipeline,
        count=lambda result: record.tally.asked_intent(result),
        clock=clock,
    )
    stack.callback(intents.close)
    record = Record(
        log=log,
        clock=clock,
        store_prompts=privacy.store_prompts,
        asked=[implicit.asked] if implicit is not None else [],
        told=[
            lambda decision, outcome: threads.answered(decision, outcome, clock.monotonic()),
            lambda decision, outcome: paces.told(decision, outcome, keeper.catalog),
            intents.told,
            *([implicit.answered] if implicit is not None else []),
        ],
        judge=judge,
        lifecycle=lifecycle,
    )
    live = LiveSettings(
        settings,
        RuntimeSettingsStore(database, clock),
        watcher,
        providers=lambda: {
            *({provider.name for provider in keeper.providers} - uninvited(settings)),
            *(card.provider for card in keeper.catalog),
        },
    )
    trials = Trials(
        PolicyStore(database, clock),
        TrialStore(database),
        catalog=lambda: keeper.catalog,
        tally=record.tally,
        clock=clock,
    )
    load_policy = follow_promotions(
        lambda: live.current, decide, database, watcher, built_in, trials, unusable=record.tally.told_unusable
    )
    execute = Execute(
        provider_for=keeper.provider_for,
        timeouts=build_timeouts(settings),
        clock=clock,
        is_local=keeper.is_local,
        unreachable=keeper.suspect,
        throttle=throttle,
        breakers=breakers,
        queues=queues,
        rules=execution_rules(settings, confidence_model(settings)),
    )
    live.follow(
        understand=understand,
        decide=decide,
        shape=shape,
        execute=execute,
        keeper=keeper,
        breakers=breakers,
        load_policy=load_policy,
    )

    def coming(requested_model: str) -> str | None:
        """Why an embedded model that the name may mean is not there yet."""
        if fleet is None:
            return None
        name = live.current.routing.aliases.get(requested_model, requested_model)
        return fleet.coming(None if name in ("", "auto") else name)

    pipeline = Pipeline(
        understand=understand,
        takes_long=understand.takes_long,
        decide=decide,
        shape=shape,
        execute=execute,
        record=record,
        models=keeper,
        unhealthy=Unhealthy(keeper.unhealthy, breakers),
        clock=clock,
        holds_private=understand.holds_private,
        redact=understand.redact if privacy.redaction else None,
        people=build_people(settings, understand, secret_key, stack),
        intents=intents,
        budgets=budgets,
        caller_keys=caller_keys,
        threads=threads,
        coming=coming,
    )
    return BuiltPipeline(pipeline, understand, decide, record, live, trials)


def build_understand(settings: Settings, keeper: CatalogKeeper, secret_key: SecretKey) -> Understand:
    length, terms, structure = settings.routing.complexity_weights
    return Understand(
        privacy=PrivacyRules(level=settings.privacy.level, sensitive_tokens=tuple(settings.privacy.sensitive_tokens)),
        complexity=ComplexityRules(weights=(length, terms, structure)),
        hash_key=secret_key.derive("prompts"),
        windows=lambda: keeper.catalog.windows,
        priority=settings.routing.priority,
        allow=AllowPatterns(settings.routing.development.allow),
        features=FeatureReader(embed_one),
        embeddings=settings.privacy.store_embeddings,
        chooses=lambda name: settings.routing.model_names == "hint" or is_auto(name, keeper.catalog),
    )


def build_timeouts(settings: Settings) -> Timeouts:
    limits = settings.limits
    return Timeouts(
        connect=limits.connect_timeout,
        first_byte=limits.first_byte_timeout,
        between_bytes=limits.between_bytes_timeout,
        total=limits.request_timeout,
    )
