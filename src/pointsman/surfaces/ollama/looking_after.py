"""Ollama's models looked after from here: listed with their sizes, and pulled, with the progress relayed as it comes.

`GET /api/v1/models/ollama` and `POST /api/v1/models/ollama/pull` of the native API, and `/api/pull` for Ollama's own
clients. Only admins pull: it fills the disk of the machine that Ollama runs on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from pointsman.core.caller import Caller
from pointsman.core.errors import InvalidRequest, NotFound, PointsmanError, UpstreamError
from pointsman.core.instances import Ensured
from pointsman.core.ports import CatalogSource
from pointsman.dialects.ollama.in_answer import error_line
from pointsman.dialects.ollama.in_options import read_body
from pointsman.dialects.ollama.manage import Loaded, Progress, Stored
from pointsman.surfaces.converse import EVENT_STREAM, JSON, Refusal
from pointsman.surfaces.errors import for_caller
from pointsman.surfaces.native.errors import to_native
from pointsman.transport.http import HttpRequest, Responder

from .asking import NDJSON
from .errors import to_ollama, told
from .servers import Servers

MAX_NAME = 200

_encoder = msgspec.json.Encoder()


class _Pull(msgspec.Struct):
    model: str = ""
    name: str = ""
    """What the field was called before."""
    stream: bool | None = None


_pull_decoder = msgspec.json.Decoder(_Pull)


class _Ensure(msgspec.Struct):
    model: str = ""
    provider: str | None = None
    stream: bool | None = None


_ensure_decoder = msgspec.json.Decoder(_Ensure)


class Refuse:
    """What the gateway does not do for anybody, said plainly."""

    def __init__(self, why: str) -> None:
        self._why = why

    async def __call__(self, http: HttpRequest, respond: Responder, caller: Caller) -> None:
        error = InvalidRequest(f"{http.path} is not served here: {self._why}", code="not_served")
        respond.send(*to_ollama(error))


class LookingAfter:
    """The handlers of the native API."""

    def __init__(self, models: CatalogSource, servers: Servers) -> None:
        self._models = models
        self._servers = servers

    async def listed(self, http: HttpRequest, respond: Responder, caller: Caller) -> None:
        """Every Ollama's models that the caller may use, and why an Ollama could not be asked."""
        names = self._servers.names()
        answers = await asyncio.gather(*(self._of(name) for name in names))
        data: list[dict[str, Any]] = []
        away: dict[str, str] = {}
        for provider, answer in zip(names, answers, strict=True):
            if isinstance(answer, UpstreamError):
                away[provider] = for_caller(answer, caller).message
            else:
                stored, loaded = answer
                running = {model.name: model for model in loaded}
                data += [
                    self._entry(provider, model, running.get(model.name))
                    for model in stored
                    if caller.may_use(f"{provider}:{model.name}", model.name)
                ]
        respond.send(200, [JSON], _encoder.encode({"object": "list", "data": data, "away": away}))

    async def _of(self, provider: str) -> tuple[list[Stored], list[Loaded]] | UpstreamError:
        try:
            return await self._servers.stored(provider), await self._servers.loaded(provider)
        except UpstreamError as error:
            return error

    def _entry(self, provider: str, model: Stored, running: Loaded | None) -> dict[str, Any]:
        card = self._models.catalog.get(f"{provider}:{model.name}")
        details = model.details
        return {
            "id": f"{provider}:{model.name}",
            "provider": provider,
            "size_bytes": model.size,
            "digest": model.digest,
            "modified_at": model.modified_at or None,
            "family": details.family if details is not None else None,
            "parameters": details.parameter_size if details is not None else None,
            "quantization": details.quantization_level if details is not None else None,
            "elsewhere": bool(model.remote_host),
            "known": card is not None,
            "capabilities": sorted(card.capabilities) if card is not None else [],
            "context_window": card.context_window if card is not None else None,
            "loaded": None
            if running is None
            else {
                "size_bytes": running.size,
                "vram_bytes": running.size_vram,
                "context": running.context_length or None,
                "expires_at": running.expires_at or None,
            },
        }


class Pull:
    """A pull.

    Args:
        native: events as the native API sends them (server-sent, or a JSON object a line for whoever accepts
            `application/x-ndjson`), and its errors; else Ollama's own lines.
    """

    def __init__(self, servers: Servers, *, native: bool) -> None:
        self._servers = servers
        self._native = native

    async def __call__(self, http: HttpRequest, respond: Responder, caller: Caller) -> None:
        refuse: Callable[[PointsmanError], Refusal] = to_native if self._native else to_ollama
        try:
            caller.require_admin()
            lines, stream = self._begin(http.body)
        except PointsmanError as error:
            respond.send(*refuse(for_caller(error, caller)))
            return
        events = self._native and b"x-ndjson" not in (http.header(b"accept") or b"")
        async with aclosing(lines):
            try:
                first = last = await anext(lines, None)
                if not stream:
                    async for last in lines:  # noqa: B007 - the last line is the answer
                        pass
                    respond.send(200, [JSON], _encoder.encode(last))
                    return
            except PointsmanError as error:
                respond.send(*refuse(for_caller(error, caller)))
                return
            respond.start(200, EVENT_STREAM if events else NDJSON)
            await self._relay(first, lines, respond, caller, events=events)
        respond.finish()

    async def _relay(
        self,
        first: Progress | Ensured | None,
        lines: AsyncGenerator[Progress | Ensured, None],
        respond: Responder,
        caller: Caller,
        *,
        events: bool,
    ) -> None:
        def write(line: bytes) -> None:
            respond.write(b"data: " + line + b"\n\n" if events else line + b"\n")

        try:
            if first is not None:
                write(_encoder.encode(first))
            async for progress in lines:
                write(_encoder.encode(progress))
                await respond.drain()
        except PointsmanError as error:
            shown = for_caller(error, caller)
            write(to_native(shown)[2] if self._native else error_line(told(shown)).rstrip(b"\n"))

    def _begin(self, body: bytes) -> tuple[AsyncGenerator[Progress | Ensured, None], bool]:
        """What is told of the work, and whether as it comes. Raises PointsmanError."""
        asked, _ = read_body(body, _pull_decoder)
        return self._servers.pull(*self._which(asked.model or asked.name)), asked.stream is not False

    def _which(self, model: str) -> tuple[str, str]:
        """The Ollama that a name means, and the name that it knows.

        Raises:
            InvalidRequest: no name.
            NotFound: no Ollama is set up.
        """
        checked_name(model)
        names = self._servers.names()
        provider, _, rest = model.partition(":")
        if rest and provider in names:
            return provider, rest
        if not names:
            raise NotFound("No Ollama is set up that could pull a model; set providers.ollama.base_url.")
        return ("ollama" if "ollama" in names else names[0]), model


class Ensure(Pull):
    """Has a model be there: fetched, when no server of its provider has it. What is told last says where it is."""

    def __init__(self, servers: Servers) -> None:
        super().__init__(servers, native=True)

    def _begin(self, body: bytes) -> tuple[AsyncGenerator[Progress | Ensured, None], bool]:
        asked, _ = read_body(body, _ensure_decoder)
        return self._servers.ensure(checked_name(asked.model), asked.provider), asked.stream is not False


def checked_name(model: str) -> str:
    """Raises InvalidRequest: it is no name of a model."""
    if not model or len(model) > MAX_NAME or not model.isprintable():
        raise InvalidRequest("Invalid `model`: the name of a model to pull is expected.", param="model")
    return model
