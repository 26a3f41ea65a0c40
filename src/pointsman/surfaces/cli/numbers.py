"""Numbers that options take."""

from __future__ import annotations

import math
from typing import Any

import click

MOST = 2**63 - 1


class Finite(click.FloatRange):
    """A number in a range; neither infinite nor NaN, which no comparison with a bound refuses."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number.", param, ctx)
        return number


class Seed(click.ParamType[int]):
    """What random numbers begin from: 0 to 2^63 − 1, as every generator takes."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number = click.INT.convert(value, param, ctx)
        if not 0 <= number <= MOST:
            self.fail(f"{value!r} is no seed: a whole number from 0 to {MOST}.", param, ctx)
        return int(number)
