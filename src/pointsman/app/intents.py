"""The language model that tells intents, as the settings have it, and its way into the pipeline."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pointsman.core.caller import Caller
from pointsman.core.errors import ModelNotFound
from pointsman.core.ports import CatalogSource, Clock
from pointsman.core.program import ProgramError
from pointsman.core.request import ChatRequest, PrivacyLevel
from pointsman.pipeline.answer import Answer
from pointsman.pipeline.decide.names import interpret
from pointsman.pipeline.run import Pipeline, Wishes
from pointsman.pipeline.understand import Understand
from pointsman.pipeline.understand.intent_by_model import IntentByModel, Wanted
from pointsman.pipeline.understand.intent_program import BUILT_IN
from pointsman.settings import Settings

from .programs import load_program

log = logging.getLogger(__name__)


def build_intents(
    settings: Settings,
    current: Callable[[], Settings],
    *,
    understand: Understand,
    models: CatalogSource,
    pipeline: Callable[[], Pipeline],
    count: Callable[[str], None],
    clock: Clock,
) -> IntentByModel:
    """Who tells intents; nobody does while the settings name no model.

    A program in the data folder that cannot be read is passed over, and said so.

    Args:
        current: the settings that hold now; `routing.intent_model` may be changed at run time.
        pipeline: through which models are asked.
    """
    try:
        program = load_program(settings.data_dir, "intent", BUILT_IN)
    except ProgramError as error:
        log.error("%s What is built in tells intents.", error.message)
        program = BUILT_IN

    def wanted() -> Wanted:
        routing = current().routing
        return Wanted(
            routing.intent_model,
            routing.intent_timeout,
            routing.intent_micro_usd_per_day,
            routing.development.enabled,
        )

    def chooses(name: str) -> bool:
        try:
            mode = interpret(name, catalog=models.catalog, model_names=current().routing.model_names).mode
        except ModelNotFound:
            return False
        return mode != "forced"

    async def ask(request: ChatRequest, caller: Caller, level: PrivacyLevel) -> Answer | None:
        wishes = Wishes(privacy_level=level)
        signals, _ = await pipeline().understand(request, caller, wishes)
        if level != "max" and (signals.privacy.classes or signals.privacy.local_only):
            return None
        return await pipeline().run(request, caller, wishes)

    return IntentByModel(
        program=program,
        wanted=wanted,
        card=lambda name: models.catalog.find(name),
        asked=understand.asked,
        chooses=chooses,
        ask=ask,
        count=count,
        clock=clock,
    )
