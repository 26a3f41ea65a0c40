"""Anthropic's own Messages API: translated for callers who speak anything else, relayed for those who speak it."""

from __future__ import annotations

import logging
import re
import time
import tomllib
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from functools import cache, partial
from typing import Protocol

import msgspec

from pointsman.core.aside import aside
from pointsman.core.catalog import ModelCard, Prefill
from pointsman.core.errors import (
    InvalidRequest,
    UpstreamError,
    UpstreamLacks,
    UpstreamProtocolError,
    UpstreamStatus,
)
from pointsman.core.events import Body, Event, Frames
from pointsman.core.ports import ChatCall, Health
from pointsman.core.request import ChatRequest
from pointsman.dialects.messages.models import Listed, read_models
from pointsman.dialects.messages.relay import MessagesRelay, relay_message
from pointsman.dialects.messages.stream import MessagesStream, read_message
from pointsman.dialects.messages.tools import custom_names
from pointsman.dialects.messages.upstream import Abilities, to_messages
from pointsman.dialects.openai.whole import frames_of
from pointsman.transport.http import Outbound

from .cards import DATA, card_for
from .endpoint import MAX_ANSWER, MAX_MODELS, MAX_NAME, Endpoint, settled
from .list_health import list_health
from .openai_compatible import Cards
from .patience import Patience
from .silence import Silence
from .unsupported import Unsupported

VERSION = "2023-06-01"
"""Of the API; the only one there is."""
CACHE_WRITE_PERCENT = (125, 200)
"""Of Anthropic's price list, for models that are in no table of ours."""
MOST_PAGES = 20
_VERSION = re.compile(rb"20\d\d-\d\d-\d\d")
_BETA = re.compile(rb"[a-z]{1,20}(?:-(?:[a-z]{1,20}[0-9]{0,2}|[0-9]{1,3}[a-z]?)){0,12}-(?:20\d\d-\d\d-\d\d|20\d{6})")
_TOO_LONG = b"prompt is too long"

log = logging.getLogger(__name__)


class Reader(Protocol):
    """What turns blocks of a stream into events."""

    done: bool
    failure: UpstreamError | None

    @property
    def untold(self) -> Frames | None: ...

    def says_nothing(self, block: bytes) -> bool: ...

    def feed(self, block: bytes) -> Frames | None: ...

    def end(self) -> None: ...


class Anthropic:
    """One upstream that speaks Messages.

    Args:
        name: the part before the colon of its models' ids.
        base_url: with or without `/v1`.
        cards: where a model's facts come from; what the upstream's list tells of its bounds replaces theirs.
        local: whether the owner declared its models local.
        models: names to offer without asking the upstream for its list.
        default_model: offered too when the list lacks it.
        deployments: model name → what the upstream calls it.
        unsupported: parameters that it does not take; `drop_unsupported` leaves them out.
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
        headers: Mapping[str, str] | None = None,
        cards: Cards = card_for,
        local: bool = False,
        models: Sequence[str] = (),
        default_model: str | None = None,
        deployments: Mapping[str, str] | None = None,
        unsupported: Collection[str] = (),
        drop_unsupported: bool = False,
        patience: Patience | None = None,
    ) -> None:
        self.name = name
        self.local = local
        self._cards = cards
        self._models = tuple(models)
        self._default_model = default_model
        self._deployments = dict(deployments or {})
        self._unsupported = Unsupported(name, unsupported, drop=drop_unsupported)
        self._patience = patience or Patience()
        self._told: dict[str, Abilities] = {}
        """Name → what the upstream's list tells of it."""
        own = {"x-api-key": api_key} if api_key else {}
        given = {key.lower(): value for key, value in (headers or {}).items()}
        self._endpoint = Endpoint(
            name,
            base_url=_root(base_url),
            outbound=outbound,
            headers={"anthropic-version": VERSION, **own, **given},
            secrets=(api_key or "", *given.values()),
        )

    async def chat(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """Answer one request; see `core.ports.Provider`.

        Raises, beside what the protocol says:
            InvalidRequest: the request is not of the shape that the inner form has.
            UpstreamLacks: it asks for what Messages has no word for.
        """
        request, streamed = call.request, call.request.stream
        relayed = request.dialect == "messages"
        headers = _passed(request)
        if call.credential is not None:
            headers["x-api-key"] = call.credential.api_key
        secrets = (call.credential.api_key,) if call.credential is not None else ()
        timeouts = self._patience.with_(call.timeouts)
        rendered = await aside(partial(self._render, call), request.size)
        response = await self._endpoint.send(
            "POST",
            "/v1/messages",
            destination=call.card.destination,
            local_only=call.local_only,
            timeouts=timeouts,
            body=rendered,
            accept=b"text/event-stream" if streamed else b"application/json",
            clears=call.clears,
            on_resend=call.on_resend,
            headers=headers,
        )
        created = int(time.time())
        customs = await aside(partial(custom_names, request.params.tools or ()), request.size)
        try:
            media = await self._endpoint.accepted(response, *secrets)
            if not streamed:
                if media == "text/event-stream":
                    raise UpstreamProtocolError(f"{self.name} streamed its answer to a request that was not streamed.")
                raw = await response.read(MAX_ANSWER)
                yield relay_message(raw) if relayed else read_message(raw, created=created, customs=customs)
            elif media.endswith("json"):
                body: Body = read_message(await response.read(MAX_ANSWER), created=created, customs=customs)
                yield frames_of(body, wants_usage=request.wants_usage)
            else:
                reader: Reader = (
                    MessagesRelay()
                    if relayed
                    else MessagesStream(
                        model=call.card.name, created=created, wants_usage=request.wants_usage, customs=customs
                    )
                )
                silence = Silence(timeouts, reader.says_nothing)
                try:
                    async for block in response:
                        silence.heard(block)
                        event = reader.feed(block)
                        if event is not None:
                            yield event
                        if reader.failure is not None:
                            raise reader.failure
                        if reader.done:
                            break
                    reader.end()
                except UpstreamError:
                    if (untold := reader.untold) is not None:
                        yield untold
                    raise
                await settled(response)
        except UpstreamStatus as error:
            self._endpoint.cleaned(error, *secrets)  # one that a body states whose status was 200
            if error.upstream_status == 413 or (error.upstream_status == 400 and _TOO_LONG in error.body):
                error.retryable = True  # too much for this model: the next of the plan may take more
            raise
        finally:
            response.close()

    def _render(self, call: ChatCall) -> bytes:
        self._unsupported.left_out(call.request)
        card = call.card
        try:
            return to_messages(
                call.request,
                model=self._deployments.get(card.name, card.name),
                max_output=card.max_output,
                abilities=self._told.get(card.name) or abilities_of(card.name),
                dropped=self._unsupported.names,
            )
        except UpstreamLacks as error:
            raise error.at(self.name) from None

    async def discover(self) -> Sequence[ModelCard]:
        """The models that it lists now, or those of the settings.

        Raises:
            UpstreamError: the list cannot be had.
        """
        found = [Listed(id=name) for name in self._models] or await self._list()
        if self._default_model is not None and all(model.id != self._default_model for model in found):
            found = [*found, Listed(id=self._default_model)]
        return [self._card(model) for model in found]

    async def _list(self) -> list[Listed]:
        found: list[Listed] = []
        after = ""
        for _ in range(MOST_PAGES):
            raw = await self._endpoint.ask(f"/v1/models?limit=1000{after}", local=self.local)
            page = read_models(raw, self.name)
            found += [model for model in page.data if 0 < len(model.id) <= MAX_NAME and model.id.isprintable()]
            if not page.has_more or not page.last_id or len(found) >= MAX_MODELS:
                break
            after = f"&after_id={page.last_id}" if re.fullmatch(r"[\w.:-]{1,200}", page.last_id) else ""
            if not after:
                break
        return found[:MAX_MODELS]

    def _card(self, listed: Listed) -> ModelCard:
        card = self._cards(self.name, listed.id, local=self.local)
        told: dict[str, object] = {}
        if listed.max_input_tokens:
            told["context_window"] = listed.max_input_tokens
        if listed.max_tokens:
            told["max_output"] = listed.max_tokens
        if listed.capabilities is not None:
            self._told[listed.id] = listed.capabilities.abilities(abilities_of(listed.id))
            told["capabilities"] = listed.capabilities.of(card.capabilities)
        if (self._told.get(listed.id) or abilities_of(listed.id)).prefill:
            told["prefill"] = Prefill()
        if max(card.cache_write_percent) <= 100:
            told["cache_write_percent"] = CACHE_WRITE_PERCENT
        return msgspec.structs.replace(card, **told)

    async def health(self) -> Health:
        """Whether it answers, asked for its list of models."""

        async def count() -> int:
            return len(await self._list())

        return await list_health(
            self.name,
            self._endpoint.shown_url,
            count,
            named=bool(self._models),
            unreachable=f"Check the network, or providers.{self.name}.base_url.",
        )

    async def close(self) -> None:
        """Nothing: the connections belong to the outbound."""


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    match: str
    thinking: str
    efforts: frozenset[str] = frozenset()
    system_turns: bool = False
    prefill: bool = False


class _Rows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    models: tuple[_Row, ...]


@cache
def _table() -> tuple[tuple[re.Pattern[str], Abilities], ...]:
    rows = msgspec.convert(tomllib.loads((DATA / "anthropic.toml").read_text(encoding="utf-8")), _Rows).models
    return tuple(
        (
            re.compile(row.match),
            msgspec.convert(
                {
                    "thinking": row.thinking,
                    "efforts": list(row.efforts),
                    "system_turns": row.system_turns,
                    "prefill": row.prefill,
                },
                Abilities,
            ),
        )
        for row in rows
    )


@cache
def abilities_of(name: str) -> Abilities:
    """What a model takes by its name; one that is no Claude is taken for the plainest of models."""
    plain = Abilities(thinking="none", efforts=frozenset(), system_turns=False)
    return next((abilities for pattern, abilities in _table() if pattern.search(name.lower())), plain)


def _root(base_url: str) -> str:
    head, mark, query = base_url.partition("?")
    return head.rstrip("/").removesuffix("/v1") + mark + query


def _passed(request: ChatRequest) -> dict[str, str]:
    """The caller's own headers for the API. They are not searched for what is private, so their form leaves no room.

    Raises:
        InvalidRequest: a header is of another form.
    """
    headers: dict[str, str] = {}
    for name, value in request.passed:
        if name == b"anthropic-version":
            if _VERSION.fullmatch(value) is None:
                raise _bad_header(name, "a date")
            headers[name.decode()] = value.decode()
        elif name == b"anthropic-beta":
            betas = [beta.strip() for beta in value.split(b",") if beta.strip()]
            if len(betas) > 32 or any(_BETA.fullmatch(beta) is None for beta in betas):
                raise _bad_header(name, "names of betas, each with its date")
            headers[name.decode()] = b",".join([headers.get(name.decode(), "").encode(), *betas]).decode().strip(",")
    return headers


def _bad_header(name: bytes, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid header `{name.decode()}`: {wanted} expected.", param=name.decode())
