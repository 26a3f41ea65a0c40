"""How long a context each of an Ollama's models is asked to load.

Another `num_ctx` than the last makes Ollama load the model again: sizes go up in doubling steps and never down.
"""

from __future__ import annotations

import asyncio

from pointsman.core import tokens
from pointsman.core.catalog import ModelCard
from pointsman.core.errors import UpstreamContextTooLong
from pointsman.dialects.ollama.request import Prompt

SMALLEST_CONTEXT = 4096
"""Tokens. Ollama's own default on small machines."""
LARGEST_CONTEXT = 131_072
"""Tokens; for models that do not say how long their context may be."""
ROOM_FOR_ANSWER = 2048
"""Tokens kept free for an answer whose length the caller does not bound."""
COUNTED_BYTES = 2 * 1024 * 1024
"""Prompts up to this size are counted exactly before a larger context is loaded for them; a tenth of a second."""


class Contexts:
    """The contexts of one Ollama's models."""

    def __init__(self) -> None:
        self._largest: dict[str, int] = {}
        """Name → the largest `num_ctx` asked for so far."""

    async def size(self, card: ModelCard, prompt: Prompt, max_output: int | None) -> tuple[int, int]:
        """The fewest tokens that the prompt can have, and the context to ask for: the caller's own, if that is enough.

        Raises:
            UpstreamContextTooLong: the prompt is longer than the model's context.
        """
        size = sum(len(text.encode()) for text in prompt.texts)
        around = prompt.messages * tokens.MESSAGE_OVERHEAD
        low, high = tokens.bounds(size)
        largest = card.context_window or LARGEST_CONTEXT
        room = max_output or ROOM_FOR_ANSWER
        images = prompt.images * tokens.IMAGE_HIGH
        if high + around + images + room > max(SMALLEST_CONTEXT, self._largest.get(card.name, 0)):
            if size <= COUNTED_BYTES:
                counted = await asyncio.to_thread(tokens.count, "\n".join(prompt.texts))
                low = int(counted * tokens.OTHER_TOKENIZERS_LOW)
                high = int(counted * tokens.OTHER_TOKENIZERS_HIGH) + 1
            if low > largest:
                raise UpstreamContextTooLong(card.id, low, largest)
        need = high + around + images + room
        own = prompt.fields["options"].get("num_ctx")
        asked = isinstance(own, int) and own > 0
        num_ctx = own if asked else max(SMALLEST_CONTEXT, self._largest.get(card.name, 0))
        while num_ctx < need:
            num_ctx *= 2
        num_ctx = min(num_ctx, largest)
        if not asked:
            self._largest[card.name] = num_ctx
        return low, num_ctx
