"""The embedded embedding model as a provider's part: no process, no port, no weights to fetch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import InvalidRequest, NoCapableModel, UpstreamConnectError
from pointsman.core.events import Body, Event
from pointsman.core.ports import ChatCall, Health
from pointsman.core.request import ChatRequest
from pointsman.dialects.openai.completions import texts_of
from pointsman.dialects.openai.embeddings import made_body, to_base64
from pointsman.providers.cards import card_for

from .model import HEAD, NAME, TAIL, embedded_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROVIDER = "embedded"
LARGE = 32 * 1024
"""Letters to read from which on a request is embedded in a thread: some 20 ms of work."""


class StaticEmbedding:
    """Implements `core.ports.Embeds`, and `Provider` where no other embedded model is served."""

    name = PROVIDER

    def __init__(self) -> None:
        self._loaded = False
        self._turn = asyncio.Lock()
        """The memory of words is shared; and more at once would only take the processor from one another."""

    @staticmethod
    def card() -> ModelCard:
        return msgspec.structs.replace(card_for(PROVIDER, NAME, local=True), licence="Apache-2.0")

    async def discover(self) -> Sequence[ModelCard]:
        return [self.card()]

    def chat(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """
        Raises:
            NoCapableModel: always; this model embeds.
        """
        raise NoCapableModel(f"{call.card.id} is not a chat model.", param="model")

    async def embed(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """One vector for each text.

        Raises:
            InvalidRequest: more dimensions than there are.
            UpstreamConnectError: the table cannot be read.
        """
        texts = texts_of(call.request)
        read = sum(min(len(text), HEAD + TAIL) for text in texts)
        if self._loaded and read < LARGE and not self._turn.locked():
            yield _answer(call.request, texts)
            return
        async with self._turn:
            body = await asyncio.to_thread(_answer, call.request, texts)
            self._loaded = True
        yield body

    async def health(self) -> Health:
        return Health(ok=True, detail=f"{NAME} embeds; no other model is embedded")

    async def close(self) -> None:
        """Nothing."""


def _answer(request: ChatRequest, texts: Sequence[str]) -> Body:
    try:
        model = embedded_model()
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UpstreamConnectError(f"The table of {NAME} cannot be read: {error}.") from None
    wanted = request.fields.get("dimensions")
    width: int | None = None if wanted is None else msgspec.json.decode(wanted, type=int | None)
    if width is not None and width > model.dimensions:
        raise InvalidRequest(
            f"Invalid `dimensions`: {NAME} has {model.dimensions}, and may be cut to fewer.", param="dimensions"
        )
    pieces = [model.pieces(text) for text in texts]
    vectors = model.vectors(pieces, width)
    in_base64 = bytes(request.fields.get("encoding_format", b"")) == b'"base64"'
    return made_body(
        [to_base64(vector.tolist()) for vector in vectors] if in_base64 else _numbers(vectors),
        model=f"{PROVIDER}:{NAME}",
        prompt_tokens=sum(map(len, pieces)),
    )


def _numbers(vectors: NDArray[np.float32]) -> list[Any]:
    """As float64 of seven places, which is what float32 holds: shorter to write."""
    numbers: list[Any] = vectors.astype(float).round(7).tolist()
    return numbers
