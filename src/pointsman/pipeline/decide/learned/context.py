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

from pointsman.core.features import EMBEDDED, STRUCTURE, decode, readable
from pointsman.core.signals import Intent, Signals
from pointsman.pipeline.decide.predict import TYPICAL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CONTEXT_VERSION = 3
"""Of the layout; what was learned over one cannot be read over another."""
INTENTS = {intent: tuple(float(one is intent) for one in Intent) for intent in Intent}
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
    needs, conversation = signals.needs, signals.conversation
    turn, stage = conversation.turn, conversation.stage
    return [
        1.0,
        SHAPE_SCALE * (_finite(signals.complexity.score) - TYPICAL),
        SHAPE_SCALE * (math.log2(1 + max(needs.prompt_tokens, 0) / 500) / 8),
        SHAPE_SCALE if needs.tools else 0.0,
        SHAPE_SCALE * ((turn if turn < 20 else 20) / 20),
        SHAPE_SCALE if conversation.awaiting_tool_result else 0.0,
        SHAPE_SCALE * (min(conversation.repeated_failures, 4) / 4) if conversation.repeated_failures else 0.0,
        SHAPE_SCALE if stage == "stuck" else 0.0,
        SHAPE_SCALE if stage == "done" else 0.0,
        SHAPE_SCALE * _finite(conversation.severity) if conversation.severity else 0.0,
        *INTENTS[signals.intent],
    ]


def context(signals: Signals, x: NDArray[np.float32] | None) -> Floats:
    """φ of one: (CONTEXT_WIDTH,).

    Args:
        x: (WIDTH,), its feature vector; None: it has none.
    """
    import numpy as np

    row = np.zeros(CONTEXT_WIDTH)
    row[:UNREAD] = shape_of(signals)
    if x is not None:
        read = row[UNREAD:]
        np.concatenate((x[EMBEDDED:], x[:LEADING]), out=read)
        typical, scale = _typical()
        read -= typical
        read *= scale
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
        typical, scale = _typical()
        rows[read, UNREAD:] = (np.concatenate((x[:, EMBEDDED:], x[:, :LEADING]), axis=1) - typical) * scale
    return rows


@cache
def _typical() -> tuple[Floats, Floats]:
    """What is taken from what was read, and what it is multiplied with: each (CONTEXT_WIDTH - UNREAD,)."""
    import numpy as np

    typical = [TYPICAL_STRUCTURE[name] for name in STRUCTURE]
    return (
        np.array([*typical, *[0.0] * LEADING]),
        np.array([*[STRUCTURE_SCALE] * len(STRUCTURE), *[LEADING_SCALE] * LEADING]),
    )


def _finite(number: float) -> float:
    if 0.0 <= number <= 1.0:
        return number
    return min(max(number, 0.0), 1.0) if math.isfinite(number) else TYPICAL
