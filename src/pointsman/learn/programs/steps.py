"""Every step there is, by name."""

from __future__ import annotations

from collections.abc import Mapping

from . import correct, decompose, extract_memory, intent, judge, summarise, synthesise, verify
from .step import Step

STEPS: Mapping[str, Step] = {
    module.STEP.name: module.STEP
    for module in (intent, judge, verify, correct, decompose, synthesise, summarise, extract_memory)
}
