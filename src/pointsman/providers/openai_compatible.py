"""Any upstream that speaks OpenAI's chat API: requests go out nearly as they came, answers come back as bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from functools import cache, partial
from time import monotonic
from types import MappingProxyType
from typing import Any, Literal, Protocol
from urllib.parse import quote

import msgspec
from msgspec import Raw

from pointsman.core.aside import LARGE, aside
from pointsman.core.catalog import ModelCard
from pointsman.core.errors import (
    UpstreamLacks,
    UpstreamProtocolError,
    UpstreamStatus,
)
from pointsman.core.events import Event
from pointsman.core.ports import ChatCall, Health
from pointsman.core.request import ChatRequest
from pointsman.dialects.openai.chat import ChatStream
from pointsman.dialects.openai.loose_calls import LooseCalls, signed
from pointsman.dialects.openai.plain import plain_chat
from pointsman.dialects.openai.whole import frames_of, read_body
from pointsman.transport.http import Outbound

from .azure import per_deployment, under
from .cards import Preset, card_for, takes_effort
from .custom_tools import with_functions
from .endpoint import MAX_ANSWER, MAX_MODELS, MAX_NAME, Endpoint, settled, unreadable
from .list_health import list_health
from .openai_other import complete, embed
from .openai_responses import CAPABILITIES, only_responses, respond, responses_asked, speaks_responses
from .patience import NO_OWN, Patience
from .silence import Silence
from .unsupported import Unsupported

ANYBODY_TAKES = frozenset({"top_k", "min_p", "repeat_penalty"})
"""Fields of other dialects that servers of which nothing is known take more often than not."""
NO_OWN_HEADERS: Mapping[str, str] = MappingProxyType({})


class Cards(Protocol):
    """Where a model's facts come from."""

    def __call__(self, provider: str, name: str, *, local: bool) -> ModelCard: ...


class _Listed(msgspec.Struct):
    """A model in an upstream's list, in the words of any of them."""

    id: Any = None
    name: Any = None
    max_model_len: Any = None
    context_length: Any = None
    context_window: Any = None

    @property
    def window(self) -> int | None:
        told = (self.max_model_len, self.context_length, self.context_window)
        return next((size for size in told if isinstance(size, int) and size > 0), None)


class _List(msgspec.Struct):
    data: list[_Listed] | None = None
    models: list[_Listed] | None = None


_list_decoder = msgspec.json.Decoder(_List | list[_Listed])
_options_decoder = msgspec.json.Decoder(dict[str, Any] | None)


class OpenAICompatible:
    """One upstream.

    Args:
        name: the part before the colon of its models' ids.
        base_url: up to and with `/v1`; a query (`?api-version=…`) is sent with every call.
        auth: how the key goes out: `Authorization: Bearer KEY` or `api-key: KEY`.
        headers: sent with every call.
        cards: where a model's facts come from; what the upstream's list tells of a context window replaces theirs.
        local: whether the owner declared its models local.
        models: names to offer without asking the upstream for its list.
        default_model: offered too when the list lacks it.
        deployments: model name → what the upstream calls it. Where the address ends in `/openai` or names a deployment
            (Azure), it is a part of the path.
        preset: what is known of upstreams of its kind.
        responses: whether it speaks OpenAI's Responses too, and is asked in them when the caller is.
        unsupported: parameters that it does not take, beside the preset's; `drop_unsupported` leaves them out.
        patience: its own time-outs.

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
        auth: Literal["bearer", "api-key"] = "bearer",
        headers: Mapping[str, str] | None = None,
        organization: str | None = None,
        cards: Cards = card_for,
        local: bool = False,
        models: Sequence[str] = (),
        default_model: str | None = None,
        deployments: Mapping[str, str] | None = None,
        preset: Preset | None = None,
        responses: bool = False,
        unsupported: Collection[str] = (),
        drop_unsupported: bool = False,
        patience: Patience | None = None,
    ) -> None:
        self.name = name
        self.local = local
        self._auth = auth
        self._cards = cards
        self._models = tuple(models)
        self._default_model = default_model
        own = {}
        if api_key:
            own = {"authorization": f"Bearer {api_key}"} if auth == "bearer" else {"api-key": api_key}
        if organization:
            own["openai-organization"] = organization
        given = {key.lower(): value for key, value in (headers or {}).items()}
        self._deployments = dict(deployments or {})
        self._known = preset is not None
        self._preset = preset or Preset(type="openai")
        self._in_chat: Callable[[ChatCall], AsyncGenerator[Event, None]] = (
            self._chat if self._preset.custom_tools else partial(with_functions, self._chat)
        )
        self._unsupported = Unsupported(name, {*self._preset.unsupported, *unsupported}, drop=drop_unsupported)
        self._patience = patience or Patience()
        self._places = bool(self._deployments) or self._patience != NO_OWN
        base_url, self._per_deployment = per_deployment(base_url, named=bool(self._deployments))
        self._responses = responses and not self._per_deployment

        def endpoint(path: str = "") -> Endpoint:
            return Endpoint(
                name,
                base_url=under(base_url, path),
                outbound=outbound,
                headers={**own, **given},
                secrets=(api_key or "", *given.values()),
            )

        self.endpoint = self._endpoint = endpoint()
        self._endpoint_at = cache(endpoint)

    def chat(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """Answer one request; see `core.ports.Provider`."""
        name = call.card.name
        if self._places:
            call = self._placed(call)
        if self._responses:
            only = only_responses(name)
            if only or (call.request.dialect == "responses" and speaks_responses(name)):
                return self._respond(call, only=only, reasons=only or takes_effort(name))
        return self._in_chat(call)

    async def _respond(self, call: ChatCall, *, only: bool, reasons: bool) -> AsyncGenerator[Event, None]:
        """The answer in Responses; in chat where these lack a word for it and the model is served in both."""
        left_out = self._unsupported.left_out(call.request)
        ask = partial(responses_asked, call, reasons=reasons, left_out=left_out)
        try:
            asked = await aside(ask, call.request.size)
        except UpstreamLacks as error:
            if only:
                raise error.at(self.name) from None
            answer = self._in_chat(call)
        else:
            answer = respond(self._endpoint, call, asked, headers=self._own(call))
        async with aclosing(answer) as events:
            async for event in events:
                yield event

    async def _chat(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        request, credential = call.request, call.credential
        streamed = request.stream
        endpoint = self._at(call.card) if self._per_deployment else self._endpoint
        rendered = (
            self._render(call) if request.size < LARGE else await aside(partial(self._render, call), request.size)
        )
        response = await endpoint.send(
            "POST",
            "/chat/completions",
            destination=call.card.destination,
            local_only=call.local_only,
            timeouts=call.timeouts,
            body=rendered,
            accept=b"text/event-stream" if streamed else b"application/json",
            clears=call.clears,
            on_resend=call.on_resend,
            headers=NO_OWN_HEADERS if credential is None else self._own(call),
        )
        secrets = () if credential is None else (credential.api_key,)
        try:
            media = await endpoint.accepted(response, *secrets)
            if not streamed:
                if media == "text/event-stream":
                    raise UpstreamProtocolError(f"{self.name} streamed its answer to a request that was not streamed.")
                yield read_body(await response.read(MAX_ANSWER))
            elif media.endswith("json"):
                body = read_body(await response.read(MAX_ANSWER))
                yield frames_of(body, wants_usage=request.wants_usage)
            else:
                several, translated = (request.params.n or 1) > 1, request.translated
                stream = ChatStream(wants_usage=request.wants_usage, several=several, translated=translated)
                calls = LooseCalls() if self._preset.gemini else None
                silence = Silence(call.timeouts, stream.says_nothing)
                async for block in response:
                    now = monotonic()
                    if now < silence.looks_at:
                        silence.since = now
                    else:
                        silence.heard(block)
                    event = stream.feed(block)
                    if event is not None:
                        yield event if calls is None else calls.mend(event)
                    if stream.failure is not None:
                        raise stream.failure
                    if stream.done:
                        break
                ending = stream.end()
                if ending is not None:
                    yield ending
                await settled(response)
        except UpstreamStatus as error:  # stated inside a body whose status was 200
            endpoint.cleaned(error, *secrets)
            raise
        finally:
            response.close()

    def _render(self, call: ChatCall) -> bytes:
        """
        Raises:
            UpstreamLacks: the request asks for what this upstream does not take.
        """
        request, card = call.request, call.card
        left_out = self._unsupported.left_out(request)
        if request.origin == "chat" and not left_out and not self._preset.gemini:
            return render(request, card)
        replace: dict[str, Any] = {}
        drop = set(left_out)
        if request.origin != "chat":
            takes = self._preset.takes if self._known else self._preset.takes | ANYBODY_TAKES
            try:
                replace, foreign = plain_chat(request, takes, reasons=takes_effort(card.name))
            except UpstreamLacks as error:
                raise error.at(self.name) from None
            drop |= foreign
            if self._preset.max_completion_tokens and "max_tokens" in request.fields:
                replace["max_completion_tokens"] = request.fields["max_tokens"]
                drop.add("max_tokens")
        if self._preset.gemini:
            replace["messages"] = [
                signed(_raw(message)) for message in replace.get("messages", request.params.messages)
            ]
        return render(request, card, replace=replace, drop=drop)

    def _placed(self, call: ChatCall) -> ChatCall:
        """The call with the upstream's own name of the model, and this upstream's time-outs."""
        if not self._places:
            return call
        timeouts = self._patience.with_(call.timeouts)
        deployment = self._deployments.get(call.card.name)
        if deployment is None:
            return call if timeouts is call.timeouts else msgspec.structs.replace(call, timeouts=timeouts)
        card = msgspec.structs.replace(call.card, name=deployment)
        return msgspec.structs.replace(call, card=card, timeouts=timeouts)

    def _at(self, card: ModelCard) -> Endpoint:
        return (
            self._endpoint_at(f"/deployments/{quote(card.name, safe='')}") if self._per_deployment else self._endpoint
        )

    def complete(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """Go on with a text; see `core.ports.Completes`."""
        call = self._placed(call)
        left_out = self._unsupported.left_out(call.request)
        return complete(self._at(call.card), call, headers=self._own(call), left_out=left_out)

    def embed(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """Vectors of texts; see `core.ports.Embeds`."""
        call = self._placed(call)
        return embed(self._at(call.card), call, headers=self._own(call))

    def _own(self, call: ChatCall) -> dict[str, str]:
        """Headers that put the caller's key in the place of ours."""
        credential = call.credential
        if credential is None:
            return {}
        own = {"api-key": credential.api_key}
        if self._auth == "bearer":
            own = {"authorization": f"Bearer {credential.api_key}"}
        return {**own, "openai-organization": credential.organization or ""}

    async def discover(self) -> Sequence[ModelCard]:
        """The models that it lists now, or those of the settings.

        Raises:
            UpstreamError: the list cannot be had.
        """
        windows: dict[str, int | None] = dict.fromkeys(self._models)
        if not windows:
            windows = dict(await self.listed())
        if self._default_model is not None:
            windows.setdefault(self._default_model, None)
        return [self._card(name, window) for name, window in windows.items()]

    async def listed(self) -> Mapping[str, int | None]:
        """The models in its list now, and the context window in tokens where that is told.

        Raises:
            UpstreamError: the list cannot be had.
        """
        return _names(self.name, await self._endpoint.ask("/models", local=self.local))

    def _card(self, name: str, window: int | None) -> ModelCard:
        card = self._cards(self.name, name, local=self.local)
        if self._responses and speaks_responses(name):
            card = msgspec.structs.replace(card, responses=True)
        if self._responses and only_responses(name):
            card = msgspec.structs.replace(card, capabilities=CAPABILITIES)
        return card if window is None else msgspec.structs.replace(card, context_window=window)

    async def health(self) -> Health:
        """Whether it answers, asked for its list of models."""

        async def count() -> int:
            return len(await self.listed())

        return await list_health(
            self.name,
            self._endpoint.shown_url,
            count,
            named=bool(self._models),
            unreachable=f"Start it, or correct providers.{self.name}.base_url.",
        )

    async def close(self) -> None:
        """Nothing: the connections belong to the outbound."""


def render(
    request: ChatRequest,
    card: ModelCard,
    *,
    replace: Mapping[str, Any] = MappingProxyType({}),
    drop: Collection[str] = (),
) -> bytes:
    """The body for the upstream: the caller's, with the model's own name, and with usage asked for in streams.

    Args:
        replace, drop: further fields to put in place of the caller's, or to leave out.
    """
    own = {**replace, "model": card.name}
    if not request.stream:
        return request.render(own, drop=drop)
    if not card.stream_usage:
        return request.render(own, drop=("stream_options", *drop))
    options = _options_decoder.decode(request.fields.get("stream_options", b"null")) or {}
    return request.render({**own, "stream_options": {**options, "include_usage": True}}, drop=drop)


def _raw(message: Any) -> Raw:
    return message if isinstance(message, Raw) else Raw(msgspec.json.encode(message))


def _names(provider: str, raw: bytes) -> dict[str, int | None]:
    """Model names in a list, and the context window where it is told.

    Raises:
        UpstreamProtocolError: it is not a list of models in any shape that is known.
    """
    try:
        answer = _list_decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise unreadable(provider, "a list of models", error) from None
    listed = answer if isinstance(answer, list) else answer.data if answer.data is not None else answer.models
    if listed is None:
        raise UpstreamProtocolError(f"{provider} answered with JSON that is no list of models.")
    names: dict[str, int | None] = {}
    for model in listed[:MAX_MODELS]:
        name = model.id or model.name
        if isinstance(name, str) and len(name) <= MAX_NAME and name.isprintable():
            names[name.removeprefix("models/")] = model.window
    return names
