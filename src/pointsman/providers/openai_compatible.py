"""Any upstream that speaks OpenAI's chat API: requests go out nearly as they came, answers come back as bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import UpstreamConnectError, UpstreamError, UpstreamProtocolError, UpstreamStatus
from pointsman.core.events import Event
from pointsman.core.ports import ChatCall, Health
from pointsman.core.request import ChatRequest
from pointsman.dialects.openai_chat import ChatStream, frames_of, read_body
from pointsman.transport.http import Outbound

from .cards import card_for
from .endpoint import MAX_ANSWER, MAX_MODELS, MAX_NAME, Endpoint, settled, unreadable


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
    ) -> None:
        self.name = name
        self.local = local
        self._cards = cards
        self._models = tuple(models)
        self._default_model = default_model
        own = {}
        if api_key:
            own = {"authorization": f"Bearer {api_key}"} if auth == "bearer" else {"api-key": api_key}
        if organization:
            own["openai-organization"] = organization
        given = {key.lower(): value for key, value in (headers or {}).items()}
        self._endpoint = Endpoint(
            name,
            base_url=base_url,
            outbound=outbound,
            headers={**own, **given},
            secrets=(api_key or "", *given.values()),
        )

    async def chat(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """Answer one request; see `core.ports.Provider`."""
        streamed = call.request.stream
        response = await self._endpoint.send(
            "POST",
            "/chat/completions",
            destination=call.card.destination,
            local_only=call.local_only,
            timeouts=call.timeouts,
            body=render(call.request, call.card),
            accept=b"text/event-stream" if streamed else b"application/json",
            clears=call.clears,
        )
        try:
            media = await self._endpoint.accepted(response)
            if not streamed:
                if media == "text/event-stream":
                    raise UpstreamProtocolError(f"{self.name} streamed its answer to a request that was not streamed.")
                yield read_body(await response.read(MAX_ANSWER))
            elif media.endswith("json"):
                body = read_body(await response.read(MAX_ANSWER))
                yield frames_of(body, wants_usage=call.request.wants_usage)
            else:
                stream = ChatStream(wants_usage=call.request.wants_usage)
                async for block in response:
                    event = stream.feed(block)
                    if event is not None:
                        yield event
                    if stream.failure is not None:
                        raise stream.failure
                    if stream.done:
                        break
                stream.end()
                await settled(response)
        except UpstreamStatus as error:  # stated inside a body whose status was 200
            self._endpoint.cleaned(error)
            raise
        finally:
            response.close()

    async def discover(self) -> Sequence[ModelCard]:
        """The models that it lists now, or those of the settings.

        Raises:
            UpstreamError: the list cannot be had.
        """
        windows: dict[str, int | None] = dict.fromkeys(self._models)
        if not windows:
            windows = _names(self.name, await self._endpoint.ask("/models", local=self.local))
        if self._default_model is not None:
            windows.setdefault(self._default_model, None)
        return [self._card(name, window) for name, window in windows.items()]

    def _card(self, name: str, window: int | None) -> ModelCard:
        card = self._cards(self.name, name, local=self.local)
        return card if window is None else msgspec.structs.replace(card, context_window=window)

    async def health(self) -> Health:
        """Whether it answers, asked for its list of models."""
        where = self._endpoint.shown_url
        try:
            count = len(_names(self.name, await self._endpoint.ask("/models", local=self.local)))
        except UpstreamStatus as error:
            if error.upstream_status in (401, 403):
                mend = f"Check the key in providers.{self.name}.api_key."
                return Health(ok=False, detail=f"{where} refuses the API key ({error.upstream_status}).", mend=mend)
            if error.upstream_status in (404, 405) and self._models:
                return Health(ok=True, detail=f"{where} answers; it lists no models, the settings do.")
            mend = f"Check providers.{self.name}.base_url, or name its models in providers.{self.name}.models."
            return Health(ok=False, detail=f"{where} answered {error.upstream_status}.", mend=mend)
        except UpstreamConnectError as error:
            mend = f"Start it, or correct providers.{self.name}.base_url."
            return Health(ok=False, detail=f"{where}: {error.message}", mend=mend)
        except UpstreamError as error:
            return Health(ok=False, detail=f"{where}: {error.message}", mend=f"Check providers.{self.name}.base_url.")
        return Health(ok=True, detail=f"{where} lists {count} {'model' if count == 1 else 'models'}.")

    async def close(self) -> None:
        """Nothing: the connections belong to the outbound."""


def render(request: ChatRequest, card: ModelCard) -> bytes:
    """The body for the upstream: the caller's, with the model's own name, and with usage asked for in streams."""
    if not request.stream:
        return request.render({"model": card.name})
    if not card.stream_usage:
        return request.render({"model": card.name}, drop=("stream_options",))
    options = _options_decoder.decode(request.fields.get("stream_options", b"null")) or {}
    return request.render({"model": card.name, "stream_options": {**options, "include_usage": True}})


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
