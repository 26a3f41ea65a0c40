"""φ: the small context that a model's deviation from its prior is learned over.

`CONTEXT_WIDTH` numbers, none much larger than 1, in this order: one, the complexity above the typical, the prompt's
length, tools, the turn, whether a tool's result is being answered, failures in a row, whether an agent is stuck or
done, how bad the latest failures are; the intent, one of twelve; and
the embedding through a fixed random projection onto `PROJECTED` axes, which keeps distances about as they were
(Achlioptas 2003: signs do), of length about 1. A request that was not read has zeros there.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from pointsman.core.features import EMBEDDED, decode, readable
from pointsman.core.signals import Intent, Signals
from pointsman.pipeline.decide.predict import TYPICAL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CONTEXT_VERSION = 2
"""Of the layout; what was learned over one cannot be read over another."""
INTENTS = {intent: place for place, intent in enumerate(Intent)}
SHAPE = 10
PROJECTED = 10
CONTEXT_WIDTH = SHAPE + len(INTENTS) + PROJECTED


def shape_of(signals: Signals) -> list[float]:
    """The part of φ that needs no embedding: (SHAPE + intents,), then zeros up to `CONTEXT_WIDTH`."""
    conversation = signals.conversation
    row = [0.0] * CONTEXT_WIDTH
    row[:SHAPE] = (
        1.0,
        _finite(signals.complexity.score) - TYPICAL,
        math.log2(1 + max(signals.needs.prompt_tokens, 0) / 500) / 8,
        float(signals.needs.tools),
        min(conversation.turn, 20) / 20,
        float(conversation.awaiting_tool_result),
        min(conversation.repeated_failures, 4) / 4,
        float(conversation.stage == "stuck"),
        float(conversation.stage == "done"),
        _finite(conversation.severity),
    )
    row[SHAPE + INTENTS[signals.intent]] = 1.0
    return row


def context(signals: Signals, x: NDArray[np.float32] | None) -> Floats:
    """φ of one: (CONTEXT_WIDTH,).

    Args:
        x: (WIDTH,), its feature vector; None: it has none.
    """
    import numpy as np

    row = np.array(shape_of(signals))
    if x is not None:
        row[SHAPE + len(INTENTS) :] = x[:EMBEDDED] @ projection()
    return row


def contexts(signals: Sequence[Signals]) -> Floats:
    """φ of each: (signals, CONTEXT_WIDTH)."""
    import numpy as np

    rows = np.array([shape_of(one) for one in signals]).reshape(len(signals), CONTEXT_WIDTH)
    read = [place for place, one in enumerate(signals) if readable(one.features)]
    if read:
        vectors = decode([signals[place].features for place in read])[:, :EMBEDDED]
        rows[read, SHAPE + len(INTENTS) :] = vectors @ projection()
    return rows


@cache
def projection() -> Floats:
    """(EMBEDDED, PROJECTED): signs, scaled so that a unit vector has a length of about 1. The same everywhere."""
    import numpy as np

    seed = hashlib.shake_256(f"context {CONTEXT_VERSION}".encode()).digest(EMBEDDED * PROJECTED // 8)
    bits = np.unpackbits(np.frombuffer(seed, dtype=np.uint8)).reshape(EMBEDDED, PROJECTED)
    return (bits.astype(np.float64) * 2.0 - 1.0) / math.sqrt(PROJECTED)


def _finite(number: float) -> float:
    return min(max(number, 0.0), 1.0) if math.isfinite(number) else TYPICAL
