"""Chat with the embedded models: one engine each, OpenAI's answers behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType

import msgspec

from pointsman.core.catalog import ModelCard, Prefill
from pointsman.core.errors import EngineError, UpstreamTimeout
from pointsman.core.events import Event
from pointsman.core.ports import ChatCall, Health
from pointsman.providers.cards import card_for
from pointsman.providers.custom_tools import with_functions
from pointsman.providers.static_embedding.provider import StaticEmbedding
from pointsman.transport.http import Outbound

from .answer import Answer, Delta, PlainChoice, ToolChoice
from .completion import Job, complete, prepare
from .continuation import continue_texts
from .engine import Engine, EngineState

NAME = "embedded"


class LlamaCppProvider:
    """The embedded models of this process.

    It takes what comes: who waits for one of an engine's slots is settled before it is asked. Several answers to one
    request (`n`) are written one after another, so that it needs one slot and the prompt is read once. Upstream every
    answer is streamed, so that a caller who leaves frees the slot at once and a long answer does not pass for a silent
    one.

    Args:
        static: embeds texts beside the engines' work.
    """

    name = NAME

    def __init__(self, *, outbound: Outbound, static: StaticEmbedding | None = None) -> None:
        self._outbound = outbound
        self._static = static
        self._engines: dict[str, Engine] = {}
        self.missing: dict[str, str] = {}
        """Models that were to be served and are not, with the reason."""

    @property
    def engines(self) -> Mapping[str, Engine]:
        """By the name of their model, such as `smollm2:135m`."""
        return MappingProxyType(self._engines)

    def add(self, engine: Engine) -> None:
        """Serve a model. Its weights must be present; it may be stopped, and is started by the first request."""
        self._engines[engine.spec.name] = engine

    async def discover(self) -> Sequence[ModelCard]:
        """The cards of the models whose engines run, are loading, or start when they are asked."""
        cards = [card_of(engine) for engine in self._engines.values() if engine.state is not EngineState.FAILED]
        return cards if self._static is None else [*cards, self._static.card()]

    def chat(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """Answer one request.

        Raises:
            InvalidRequest: something of the request that these models cannot take; names the field.
            UpstreamContextTooLong: the prompt is longer than a slot's context.
            UpstreamTimeout: no loaded model within the call's `first_byte`.
            UpstreamError: the engine failed.
        """
        return with_functions(self._chat, call)

    async def _chat(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        name = call.card.name
        engine = self._engine(name)
        job = prepare(call.request)
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        await engine.ready(timeout=call.timeouts.first_byte)
        answer = Answer(name, build=engine.build, wants_usage=call.request.wants_usage)
        for index in range(call.request.params.n or 1):
            remaining = call.timeouts.total - (loop.time() - arrived)
            if remaining <= 0:
                raise UpstreamTimeout("total", call.timeouts.total)
            async with aclosing(self._choice(call, engine, job, answer, index, remaining)) as events:
                async for event in events:
                    yield event
        yield answer.usage_frame() if call.request.stream else answer.body()

    async def complete(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """Go on with a text, or fill a gap in it.

        Raises:
            UpstreamContextTooLong, UpstreamTimeout, UpstreamError: as `chat`.
        """
        engine = self._engine(call.card.name)
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        await engine.ready(timeout=call.timeouts.first_byte)
        async with aclosing(continue_texts(self._outbound, engine, call, arrived=arrived)) as events:
            async for event in events:
                yield event

    def embed(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """Vectors of texts, by the table.

        Raises:
            EngineError: there is none.
        """
        if self._static is None:
            raise EngineError(f"{call.card.name} is not served any more.")
        return self._static.embed(call)

    def _engine(self, name: str) -> Engine:
        engine = self._engines.get(name)
        if engine is None:
            raise EngineError(f"There is no engine of {name} any more.")
        return engine

    async def _choice(
        self, call: ChatCall, engine: Engine, job: Job, answer: Answer, index: int, remaining: float
    ) -> AsyncGenerator[Event, None]:
        """One choice: its frames, or none while it is added to an answer that is not streamed."""
        choice = PlainChoice(job) if job.plan is None else ToolChoice(job)
        streamed = call.request.stream
        whole: list[Delta] = []
        begun = False
        chunks = complete(
            self._outbound,
            engine,
            job.body(index),
            card=call.card,
            local_only=call.local_only,
            timeouts=msgspec.structs.replace(call.timeouts, total=remaining),
        )
        async with aclosing(chunks):
            async for chunk in chunks:
                answer.open(chunk)
                deltas = [delta for part in chunk.choices for delta in choice.feed(part)]
                stopped = isinstance(choice, ToolChoice) and choice.stopped
                if streamed:
                    for delta in deltas:
                        yield answer.frame(index, delta, first=not begun)
                        begun = True
                else:
                    whole += deltas
                if chunk.usage is not None:
                    answer.count(chunk.usage)
                elif stopped:
                    if chunk.timings is not None:
                        answer.count(chunk.timings.usage)
                    break
        rest = choice.end()
        reason = choice.finish_reason or "stop"
        if streamed:
            for delta in rest or ([] if begun else [Delta()]):
                yield answer.frame(index, delta, first=not begun)
                begun = True
            yield answer.finish_frame(index, reason)
        else:
            half = isinstance(choice, ToolChoice) and choice.half_call
            answer.add_choice(whole + rest, reason, half_call=half)

    async def health(self) -> Health:
        """Whether every engine that should run does."""
        failed = [engine for engine in self._engines.values() if engine.state is EngineState.FAILED]
        if failed:
            detail = "; ".join(f"{engine.spec.name}: {engine.reason}" for engine in failed)
            return Health(ok=False, detail=detail, mend="`pointsman doctor` tells more; the engine's log is in the data"
                          " directory.")  # fmt: skip
        if self.missing:
            detail = "; ".join(f"{name}: {reason}" for name, reason in self.missing.items())
            return Health(ok=False, detail=detail, mend="`pointsman doctor` tells more.")
        if not self._engines:
            return Health(ok=False, detail="no model is loaded", mend="Its weights may still be on their way.")
        states = ", ".join(f"{engine.spec.name} {engine.state}" for engine in self._engines.values())
        return Health(ok=True, detail=states.replace("_", " "))

    async def close(self) -> None:
        """End every engine."""
        await asyncio.gather(*(engine.stop() for engine in self._engines.values()))


def card_of(engine: Engine) -> ModelCard:
    """A model's card: the facts of its name, with the context that the engine really has."""
    card = card_for(NAME, engine.spec.name, local=True)
    return msgspec.structs.replace(
        card,
        context_window=engine.spec.context_per_slot,
        capabilities=card.capabilities | {"logprobs"},
        prefill=Prefill(with_tools=False),
    )
