"""Reasoning effort as part of an arm: a model that thinks may be asked to think less, or more.

The shifts are judgement: no public table has the same prompts at several efforts of one model. They have the order
that makers state (more effort, more success, more tokens), and what is learned of a model corrects its level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from pointsman.core.signals import Needs

from .predict import Arm
from .speed import latency


class Shift(NamedTuple):
    """What an effort does to a model beside its default one."""

    logit: float
    """Added to the log odds of success."""
    output: float
    """What the expected tokens of the answer are multiplied with; thoughts are paid as output."""


SHIFTS: Mapping[str, Shift] = MappingProxyType({"low": Shift(-0.35, 0.6), "high": Shift(0.2, 2.0)})


def with_efforts(arms: Sequence[Arm], needs: Needs) -> list[Arm]:
    """The arms, each followed by itself at the other efforts that its model knows; as they are where the request says
    itself how much shall be thought."""
    if needs.effort_named or needs.kind != "chat":
        return list(arms)
    return [each for arm in arms for each in (arm, *_at_efforts(arm, needs))]


def _at_efforts(arm: Arm, needs: Needs) -> list[Arm]:
    made = []
    for effort in arm.card.efforts:
        shift = SHIFTS.get(effort)
        if shift is None:
            continue
        output = round(arm.output_tokens * shift.output)
        cost = arm.card.cost_micro_usd(needs.prompt_tokens, output * needs.choices)
        before = latency(arm.card, needs.prompt_tokens, arm.output_tokens)
        after = latency(arm.card, needs.prompt_tokens, output)
        made.append(
            msgspec.structs.replace(
                arm,
                effort=effort,
                quality=_shifted(arm.quality, shift.logit),
                prior=_shifted(arm.prior, shift.logit),
                cost_micro_usd=cost,
                weighed_micro_usd=arm.weighed_micro_usd if cost is None else cost,
                output_tokens=output,
                latency_seconds=arm.latency_seconds * after / before,
            )
        )
    return made


def _shifted(probability: float, logit: float) -> float:
    if not 0.0 < probability < 1.0:
        return probability
    odds = probability / (1.0 - probability) * math.exp(logit)
    return odds / (1.0 + odds)
