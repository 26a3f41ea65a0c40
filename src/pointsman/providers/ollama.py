"""Ollama over its native API, which takes the context's size with each request; its OpenAI-compatible one does not.

Two traps are seen to. Ollama loads a model with a small context unless told otherwise and then drops the middle of a
longer prompt unsaid: `num_ctx` is set from the prompt's real need, and `truncate: false` asks for an error instead.
Another `num_ctx` than the last makes Ollama load the model again: sizes go up in doubling steps and never down.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

import msgspec

from pointsman.core.aside import aside
from pointsman.core.catalog import ModelCard
from pointsman.core.errors import (
    UpstreamClosed,
    UpstreamConnectError,
    UpstreamError,
    UpstreamStatus,
)
from pointsman.core.events import Body, Event, Frames
from pointsman.core.ports import ChatCall, Health
from pointsman.dialects.ollama.answer import OllamaStream, read_whole
from pointsman.dialects.ollama.request import Prompt, to_ollama
from pointsman.transport.http import Outbound, UpstreamResponse

from .cards import card_for
from .custom_tools import with_functions
from .endpoint import MAX_ANSWER, Endpoint, settled
from .ollama_contexts import Contexts
from .ollama_descriptions import Descriptions
from .ollama_library import Library
from .openai_compatible import Cards
from .silence import Silence
from .simulated import simulating

T = TypeVar("T", Body, Frames)

log = logging.getLogger(__name__)


class Ollama:
    """One Ollama server.

    Args:
        name: the part before the colon of its models' ids.
        base_url: without `/api`.
        api_key: sent as a bearer token, for servers behind a proxy that wants one.
        local: whether the owner declared this server's models local; cloud models are remote all the same.
        models: names to offer without asking for the list.
        default_model: offered too when the list lacks it.
        amend: what the owner says of a model in place of what the table and the server tell.
        keep_alive: how long a model stays in memory after a request that does not say: seconds, `30m`, -1 for ever;
            None leaves it to the server.
        simulate_tools: offer tool calls by prompt for models that Ollama says have none.

    Raises:
        SettingsError: the address or a header cannot be used.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        outbound: Outbound,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        cards: Cards = card_for,
        local: bool = False,
        models: Sequence[str] = (),
        default_model: str | None = None,
        amend: Callable[[ModelCard], ModelCard] = lambda card: card,
        keep_alive: str | float | None = None,
        simulate_tools: bool = True,
    ) -> None:
        self.name = name
        self.local = local
        self._keep_alive = keep_alive
        own = {"authorization": f"Bearer {api_key}"} if api_key else {}
        given = {key.lower(): value for key, value in (headers or {}).items()}
        self._endpoint = Endpoint(
            name,
            base_url=base_url.rstrip("/").removesuffix("/v1").removesuffix("/api"),
            outbound=outbound,
            headers={**own, **given},
            secrets=(api_key or "", *given.values()),
        )
        self.library = Library(self._endpoint, local=local)
        """The models that it keeps."""
        self._descriptions = Descriptions(
            self._endpoint,
            local=local,
            cards=cards,
            amend=amend,
            models=models,
            default_model=default_model,
            simulate_tools=simulate_tools,
        )
        self._contexts = Contexts()

    def chat(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """Answer one request; see `core.ports.Provider`. Tools are put into the prompt of models that know none.

        Raises, beside what the protocol says:
            InvalidRequest: the request holds what no Ollama model takes.
            UpstreamContextTooLong: the prompt is longer than the model's context.
        """
        return with_functions(partial(simulating, self._chat), call)

    async def _chat(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        thinks = self._descriptions.thinks(call.card.name)
        prompt = await aside(partial(to_ollama, call.request, can_think=thinks), call.request.size)
        async with aclosing(self._answer(call, "/api/chat", prompt)) as events:
            async for event in events:
                yield event

    async def complete(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """Go on with a text, or fill a gap in one; see `core.ports.Completes`.

        Raises, beside what `chat` raises:
            InvalidRequest: several prompts or answers.
        """
        from pointsman.dialects.ollama.other import to_generate
        from pointsman.dialects.openai.completions_answer import TextAnswer

        text = TextAnswer()
        async with aclosing(self._answer(call, "/api/generate", to_generate(call.request, call.card))) as events:
            async for event in events:
                raw = text.body(event) if isinstance(event, Body) else text.frames(event)
                yield msgspec.structs.replace(event, raw=raw)

    async def embed(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """Vectors of texts; see `core.ports.Embeds`."""
        from pointsman.dialects.ollama.other import read_embedded, to_embed

        response = await self._send(call, "/api/embed", to_embed(call.request, call.card.name, self._keep_alive))
        try:
            await self._accepted(response)
            raw = await response.read(MAX_ANSWER)
            yield read_embedded(raw, model=call.card.name, count=len(call.request.params.messages))
        except UpstreamStatus as error:
            self._endpoint.cleaned(error)
            raise
        finally:
            response.close()

    async def _send(
        self, call: ChatCall, path: str, body: bytes, accept: bytes = b"application/json"
    ) -> UpstreamResponse:
        """
        Raises:
            PrivacyWall: the request is local-only, and Ollama passes this model's on to servers elsewhere.
            UpstreamError: it could not be sent.
        """
        if call.local_only and call.clears is None:
            await self._descriptions.prove_local(call.card)
        return await self._endpoint.send(
            "POST",
            path,
            destination=call.card.destination,
            local_only=call.local_only,
            timeouts=call.timeouts,
            body=body,
            accept=accept,
            clears=call.clears,
            on_resend=call.on_resend,
            headers=_own(call),
        )

    async def _answer(self, call: ChatCall, path: str, prompt: Prompt) -> AsyncGenerator[Event, None]:
        """The answer of `/api/chat` or `/api/generate` as events of a chat."""
        card, request = call.card, call.request
        if self._keep_alive is not None:
            prompt.fields.setdefault("keep_alive", self._keep_alive)
        low, num_ctx = await self._contexts.size(card, prompt, request.max_output)
        response = await self._send(
            call,
            path,
            prompt.render(name=card.name, num_ctx=num_ctx, stream=request.stream),
            b"application/x-ndjson" if request.stream else b"application/json",
        )
        identity: dict[str, Any] = {
            "model": card.name,
            "answer_id": f"{'chatcmpl' if path == '/api/chat' else 'cmpl'}-{os.urandom(12).hex()}",
            "created": int(time.time()),
        }
        try:
            await self._accepted(response)
            if not request.stream:
                body = read_whole(await response.read(MAX_ANSWER), **identity)
                yield self._checked(card, body, low, num_ctx)
                return
            stream = OllamaStream(**identity, wants_usage=request.wants_usage)
            silence = Silence(call.timeouts, stream.says_nothing)
            async for block in response:
                silence.heard(block)
                event = stream.feed(block)
                if event is not None:
                    yield self._checked(card, event, low, num_ctx)
                if stream.failure is not None:
                    raise stream.failure
                if stream.done:
                    break
            last = stream.end()
            if last is not None:
                yield self._checked(card, last, low, num_ctx)
            await settled(response)
        except UpstreamStatus as error:  # stated inside a body whose status was 200
            self._endpoint.cleaned(error)
            raise
        finally:
            response.close()

    async def _accepted(self, response: UpstreamResponse) -> None:
        try:
            await self._endpoint.accepted(response)
        except UpstreamStatus as error:
            if error.upstream_status == 400 and b"context" in error.body:
                error.retryable = True  # too long for this model: the next of the plan may hold more
            raise

    def _checked(self, card: ModelCard, event: T, low: int, num_ctx: int) -> T:
        """The event, with a note where Ollama read far less than the prompt: it answered what nobody asked."""
        usage = event.usage
        if usage is None or low < 1000 or not 0 < usage.prompt_tokens < 0.6 * low:
            return event
        note = (
            f"prompt_truncated: {card.id} read {usage.prompt_tokens} tokens of a prompt of at least {low}"
            f" (num_ctx {num_ctx})"
        )
        log.warning(
            "%s: the server cut it, or counts only what its cache did not hold. Set OLLAMA_CONTEXT_LENGTH there, or"
            " update Ollama, which then refuses instead.",
            note,
        )
        return msgspec.structs.replace(event, note=note)

    async def discover(self) -> Sequence[ModelCard]:
        """The models that it has now, or those of the settings, each as Ollama describes it.

        Raises:
            UpstreamError: the list cannot be had.
        """
        return await self._descriptions.cards()

    async def health(self) -> Health:
        """Whether it answers, asked for its version."""
        where = self._endpoint.shown_url
        try:
            version = await self._descriptions.version()
        except (UpstreamConnectError, UpstreamClosed) as error:
            mend = f"Start it with `ollama serve`, or set OLLAMA_HOST (providers.{self.name}.base_url)."
            return Health(ok=False, detail=f"{where}: {error.message}", mend=mend)
        except UpstreamError as error:
            return Health(ok=False, detail=f"{where}: {error.message}", mend=f"Check providers.{self.name}.base_url.")
        if version is None:
            mend = f"Check providers.{self.name}.base_url."
            return Health(ok=False, detail=f"{where} answers, but not as Ollama does.", mend=mend)
        undeclared = f" Its models count as remote until providers.{self.name}.local is true."
        return Health(ok=True, detail=f"Ollama {version.version[:50]} at {where}.{'' if self.local else undeclared}")

    async def close(self) -> None:
        """Nothing: the connections belong to the outbound."""


def _own(call: ChatCall) -> dict[str, str]:
    """Headers that put the caller's key in the place of ours."""
    return {"authorization": f"Bearer {call.credential.api_key}"} if call.credential is not None else {}
