"""The model that judges a sample of the answers, as the settings have it, and its way into the pipeline."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from functools import partial

from pointsman.core.caller import Caller
from pointsman.core.observation import Implicit
from pointsman.core.ports import Clock
from pointsman.core.program import ProgramError
from pointsman.core.request import ChatRequest, PrivacyLevel
from pointsman.pipeline.answer import Answer
from pointsman.pipeline.record.judge import BUILT_IN, Judge
from pointsman.pipeline.run import Pipeline, Wishes
from pointsman.settings import Settings

from .programs import load_program

log = logging.getLogger(__name__)


def build_judge(settings: Settings, keep: Callable[[Implicit], None], clock: Clock) -> Judge | None:
    """Who judges; None: nobody does. A program in the data folder that cannot be read is passed over, and said so."""
    chosen = settings.learning.judge
    if not chosen.share or chosen.model is None:
        return None
    try:
        program = load_program(settings.data_dir, "judge", BUILT_IN)
    except ProgramError as error:
        log.error("%s What is built in judges.", error.message)
        program = BUILT_IN
    return Judge(
        program=program,
        model=chosen.model,
        share=chosen.share,
        micro_usd_per_day=chosen.micro_usd_per_day,
        keep=keep,
        clock=clock,
        draw=random.SystemRandom().random,
    )


async def run_judge(judge: Judge, pipeline: Pipeline) -> None:
    """Judge until cancelled."""
    await judge.run(partial(_ask, pipeline))


async def _ask(pipeline: Pipeline, request: ChatRequest, caller: Caller, level: PrivacyLevel) -> Answer | None:
    wishes = Wishes(privacy_level=level)
    signals, _ = await pipeline.understand(request, caller, wishes)
    if signals.privacy.classes or signals.privacy.local_only:
        return None
    return await pipeline.run(request, caller, wishes)
