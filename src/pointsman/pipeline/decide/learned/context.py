"""φ: the small context that a model's deviation from its prior is learned over.

`CONTEXT_WIDTH` numbers in this order: one, the complexity above the typical, the prompt's length, tools, the turn,
whether a tool's result is being answered, failures in a row, whether an agent is stuck or done, how bad the latest
failures are; the intent, one of twelve; the ask's structure above the typical; and the first `LEADING` components of
its embedding, which was rotated so that they are those that vary most. A request that was not read has zeros in the
last two parts.

Each is multiplied by how much more may hang on it than on the intent, so that one scale of the prior does for all.
What is in φ and these numbers were chosen by evidence (Bishop 2006, 3.86) and by regret on random halves of the public
tables that may train what ships: random projections of the embedding had hardly any evidence, and the structure most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from pointsman.core.features import EMBEDDED, STRUCTURE, WIDTH, decode, readable
from pointsman.core.signals import Intent, Signals
from pointsman.pipeline.decide.predict import TYPICAL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CONTEXT_VERSION = 3
"""Of the layout; what was learned over one cannot be read over another."""
INTENTS = {intent: place for place, intent in enumerate(Intent)}
SHAPE = 10
LEADING = 16
UNREAD = SHAPE + len(INTENTS)
"""Numbers that need no feature vector."""
CONTEXT_WIDTH = UNREAD + len(STRUCTURE) + LEADING
SHAPE_SCALE = STRUCTURE_SCALE = LEADING_SCALE = 2.0
TYPICAL_STRUCTURE = {
    "length": 0.5,
    "code_share": 0.03,
    "code_blocks": 0.03,
    "digits": 0.12,
    "symbols": 0.17,
    "code_marks": 0.07,
    "upper": 0.19,
    "not_ascii": 0.0,
    "word_length": 0.36,
    "lines": 0.45,
    "indented": 0.05,
    "list_items": 0.15,
    "questions": 0.23,
    "quotes": 0.04,
    "choices": 0.32,
    "mathematics": 0.34,
    "complexity": 0.34,
    "complexity_length": 0.61,
    "complexity_terms": 0.03,
    "complexity_structure": 0.5,
}
"""The means over those tables."""


def shape_of(signals: Signals) -> list[float]:
    """The part of φ that needs no feature vector: (UNREAD,)."""
    conversation = signals.conversation
    row = [
        1.0,
        SHAPE_SCALE * (_finite(signals.complexity.score) - TYPICAL),
        SHAPE_SCALE * (math.log2(1 + max(signals.needs.prompt_tokens, 0) / 500) / 8),
        SHAPE_SCALE * signals.needs.tools,
        SHAPE_SCALE * (min(conversation.turn, 20) / 20),
        SHAPE_SCALE * conversation.awaiting_tool_result,
        SHAPE_SCALE * (min(conversation.repeated_failures, 4) / 4),
        SHAPE_SCALE * (conversation.stage == "stuck"),
        SHAPE_SCALE * (conversation.stage == "done"),
        SHAPE_SCALE * _finite(conversation.severity),
        *[0.0] * len(INTENTS),
    ]
    row[SHAPE + INTENTS[signals.intent]] = 1.0
    return row


def context(signals: Signals, x: NDArray[np.float32] | None) -> Floats:
    """φ of one: (CONTEXT_WIDTH,).

    Args:
        x: (WIDTH,), its feature vector; None: it has none.
    """
    import numpy as np

    row = np.zeros(CONTEXT_WIDTH)
    row[:UNREAD] = shape_of(signals)
    if x is not None:
        row[UNREAD:-LEADING] = _structure(x)
        row[-LEADING:] = x[:LEADING]
        row[-LEADING:] *= LEADING_SCALE
    return row


def contexts(signals: Sequence[Signals]) -> Floats:
    """φ of each: (signals, CONTEXT_WIDTH)."""
    import numpy as np

    rows = np.zeros((len(signals), CONTEXT_WIDTH))
    if not signals:
        return rows
    rows[:, :UNREAD] = [shape_of(one) for one in signals]
    read = [place for place, one in enumerate(signals) if readable(one.features)]
    if read:
        x = decode([signals[place].features for place in read])
        rows[read, UNREAD:-LEADING] = _structure(x)
        rows[read, -LEADING:] = LEADING_SCALE * x[:, :LEADING].astype(np.float64)
    return rows


def _structure(x: NDArray[np.float32]) -> Floats:
    """Args:
    x: (…, WIDTH)."""
    return (x[..., EMBEDDED:WIDTH] - _typical()) * STRUCTURE_SCALE


@cache
def _typical() -> Floats:
    """(len(STRUCTURE),)"""
    import numpy as np

    return np.array([TYPICAL_STRUCTURE[name] for name in STRUCTURE])


def _finite(number: float) -> float:
    if 0.0 <= number <= 1.0:
        return number
    return min(max(number, 0.0), 1.0) if math.isfinite(number) else TYPICAL
