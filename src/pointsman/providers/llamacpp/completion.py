"""One completion of the engine: the body that is sent, and the chunks that come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import (
    InvalidRequest,
    OutOfFiles,
    UpstreamBroken,
    UpstreamConnectError,
    UpstreamContextTooLong,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamStatus,
    UpstreamTimeout,
)
from pointsman.core.events import payloads
from pointsman.core.ports import Timeouts
from pointsman.core.request import ChatRequest
from pointsman.dialects.openai.errors import stated_error
from pointsman.dialects.prompted.plain_turns import plain_turns
from pointsman.dialects.prompted.tool_prompt import ToolPlan, action_schema, plan_tools
from pointsman.dialects.prompted.tool_schema import Schema, SchemaBook
from pointsman.dialects.sse import FrameBuffer
from pointsman.providers.endpoint import settled
from pointsman.transport.http import Origin, Outbound, UpstreamRequest, UpstreamResponse, header

from .engine import Engine

PASSED = (
    "temperature", "top_p", "frequency_penalty", "presence_penalty", "logit_bias", "stop", "logprobs", "top_logprobs",
    "top_k", "min_p", "typical_p", "top_n_sigma", "repeat_penalty", "repeat_last_n", "mirostat", "mirostat_tau",
    "mirostat_eta", "dry_multiplier", "dry_base", "dry_allowed_length", "xtc_probability", "xtc_threshold",
    "samplers", "grammar",
)  # fmt: skip
"""Fields that mean the same to the engine. Others stay here: it would read some in its own way (`id_slot`,
`n_predict`), and refuse a request for a field that was meant for another provider."""

RANDOM_SEED = 2**32 - 1
"""The engine takes this seed for none."""

SPACING = {
    "lenient": True,
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}
"""Options of the grammar compiler. With free white space small models write spaces until the answer is cut."""

_REFUSAL_LIMIT = 1024 * 1024


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine is asked, without what differs between several answers to one request."""

    fields: dict[str, Any]
    plan: ToolPlan | None
    stops: tuple[str, ...]
    """Texts that end a reply and are looked for here, because the engine would look for them in the JSON around it."""
    raw_reply: bool
    """Whether a reply beside tools is JSON of the caller's own schema."""
    whole_object: bool
    """Whether the answer must begin as a JSON object does."""
    top_logprobs: int
    seed: int | None

    def body(self, choice: int) -> bytes:
        """The body of the request for the answer of this number."""
        fields = self.fields
        if self.seed is not None:
            fields = {**fields, "seed": (self.seed + choice) % RANDOM_SEED}
        return msgspec.json.encode(fields)


def prepare(request: ChatRequest) -> Job:
    """What to ask the engine for.

    Raises:
        InvalidRequest: tools, their choice, a schema or a message that this model cannot take.
    """
    params = request.params
    plan = plan_tools(params)
    fields: dict[str, Any] = {
        name: raw for name in PASSED if (raw := request.fields.get(name)) is not None and bytes(raw) != b"null"
    }
    fields["messages"] = plain_turns(request.messages(), plan)
    fields["stream"] = True
    fields["stream_options"] = {"include_usage": True}
    # A seed asks for the same answer again, and a prompt from the cache is rounded otherwise than one read anew.
    fields["cache_prompt"] = params.seed is None
    if request.max_output is not None:
        fields["max_tokens"] = request.max_output
    stops: tuple[str, ...] = ()
    schema = _response_schema(request)
    if plan is not None:
        for name in ("logprobs", "top_logprobs"):  # of the JSON around a call, which the caller never sees
            fields.pop(name, None)
        if fields.pop("stop", None) is not None:
            given = params.stop
            stops = tuple(filter(None, [given] if isinstance(given, str) else given or ()))
            fields["timings_per_token"] = True  # the counts of an answer that is ended early
        fields.setdefault("temperature", 0)
        schema, reply = action_schema(plan, schema), schema
        fields["grammar"] = grammar(schema)
        return Job(fields=fields, plan=plan, stops=stops, raw_reply=reply is not None, whole_object=True,
                   top_logprobs=0, seed=params.seed)  # fmt: skip
    whole_object = False
    if schema is not None:
        book = SchemaBook()
        built = book.add(schema, param="response_format.json_schema.schema")
        whole_object = built.get("type") == "object"
        fields["grammar"] = grammar({**built, "$defs": book.definitions} if book.definitions else built)
    return Job(fields=fields, plan=None, stops=stops, raw_reply=False, whole_object=whole_object,
               top_logprobs=params.top_logprobs or 0, seed=params.seed)  # fmt: skip


def grammar(schema: Schema) -> str:
    """A schema as the engine's `grammar`.

    Not as its `response_format`: that one drops patterns and formats, takes seconds for a long enum, and ends in an
    HTTP 500 after the whole answer when a length limit cut it.
    """
    text = json.dumps({**schema, "x-guidance": SPACING}, ensure_ascii=False)
    return f"%llguidance {{}}\nstart: %json {text}\n"


class _JsonSchema(msgspec.Struct):
    schema: Any = None


def _response_schema(request: ChatRequest) -> object | None:
    """The schema that the caller wants the answer to have, or None."""
    wanted = request.params.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {"type": "object"}
    try:
        given = msgspec.convert(_json(wanted.json_schema), _JsonSchema)
    except (msgspec.MsgspecError, RecursionError, TypeError) as error:
        raise InvalidRequest(
            f"Invalid `response_format.json_schema`: {error}.", param="response_format.json_schema"
        ) from None
    return {"type": "object"} if given.schema is None else given.schema


def _json(value: Any) -> Any:
    """Any JSON value in Python's types."""
    return msgspec.json.decode(msgspec.json.encode(value))


class EngineDelta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None


class Logprob(msgspec.Struct, omit_defaults=True):
    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[Logprob] = msgspec.field(default_factory=list)


class Logprobs(msgspec.Struct):
    content: list[TokenLogprob] | None = None


class EngineChoice(msgspec.Struct):
    delta: EngineDelta = msgspec.field(default_factory=EngineDelta)
    text: str | None = None
    """Of a completion of plain text."""
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int = 0


class EngineUsage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details = msgspec.field(default_factory=_Details)


class Timings(msgspec.Struct):
    """Counts of an answer that is still being written."""

    cache_n: int = 0
    prompt_n: int = 0
    predicted_n: int = 0

    @property
    def usage(self) -> EngineUsage:
        return EngineUsage(
            prompt_tokens=self.cache_n + self.prompt_n,
            completion_tokens=self.predicted_n,
            prompt_tokens_details=_Details(cached_tokens=self.cache_n),
        )


class EngineChunk(msgspec.Struct):
    """A chunk of the engine's stream, as far as answers are made of it."""

    choices: list[EngineChoice] = msgspec.field(default_factory=list)
    id: str | None = None
    created: int = 0
    usage: EngineUsage | None = None
    timings: Timings | None = None
    error: Any = None


class _Refusal(msgspec.Struct):
    type: str | None = None
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class _RefusalBody(msgspec.Struct):
    error: _Refusal = msgspec.field(default_factory=_Refusal)


_chunk_decoder = msgspec.json.Decoder(EngineChunk)


async def complete(
    outbound: Outbound,
    engine: Engine,
    body: bytes,
    *,
    card: ModelCard,
    local_only: bool,
    timeouts: Timeouts,
    target: str = "/v1/chat/completions",
) -> AsyncGenerator[EngineChunk, None]:
    """The chunks of one streamed completion. Closing the generator ends the engine's work.

    Raises:
        UpstreamContextTooLong: the prompt is longer than the engine's context.
        EngineDied: it died over this.
        UpstreamError: the engine refused, failed or broke off.
    """
    origin, response = await _ask(
        outbound, engine, body, card=card, local_only=local_only, timeouts=timeouts, target=target
    )
    try:
        if response.status != 200:
            raise _refusal(response.status, await response.read(_REFUSAL_LIMIT), card)
        media = header(response.headers, b"content-type") or b""
        if not media.startswith(b"text/event-stream"):
            raise UpstreamProtocolError(f"The engine of {card.name} answered with {media[:60]!r}, not with a stream.")
        frames = FrameBuffer()
        finished = False
        async for block in response:
            for payload in payloads(frames.feed(block)):
                chunk = _decode(payload, card)
                finished = finished or any(choice.finish_reason for choice in chunk.choices)
                yield chunk
            if frames.done:
                await settled(response)
                break
        if not finished:
            raise UpstreamBroken(f"The engine of {card.name} broke off in the middle of its answer.")
    except UpstreamBroken as error:
        if await engine.died(origin):
            raise engine.death(origin) from error
        raise
    finally:
        response.close()


async def _ask(
    outbound: Outbound,
    engine: Engine,
    body: bytes,
    *,
    card: ModelCard,
    local_only: bool,
    timeouts: Timeouts,
    target: str,
) -> tuple[Origin, UpstreamResponse]:
    """The head of the engine's answer, and where it was asked.

    Who is refused by an engine that has died waits for the next one, but once only: a connection that was kept open is
    renewed without a word when it is found closed, so that the request may be what the engine died of.
    """
    clock = asyncio.get_running_loop().time
    begun, anew = clock(), False
    while True:
        left = timeouts.total - (clock() - begun)
        if left <= 0:
            raise UpstreamTimeout("total", timeouts.total)
        await engine.ready(timeout=min(timeouts.first_byte, left))
        origin = engine.origin
        request = UpstreamRequest(
            destination=card.destination,
            local_only=local_only,
            origin=origin,
            method="POST",
            target=target,
            headers=(
                (b"content-type", b"application/json"),
                (b"accept", b"text/event-stream"),
                (b"authorization", b"Bearer " + engine.api_key.encode()),
            ),
            body=body,
            timeouts=msgspec.structs.replace(timeouts, total=left) if anew else timeouts,
        )
        try:
            return origin, await outbound.send(request)
        except OutOfFiles:
            raise
        except (UpstreamConnectError, UpstreamBroken) as error:
            if not await engine.died(origin):
                raise
            if anew or isinstance(error, UpstreamBroken):
                raise engine.death(origin) from error
            anew = True


def _decode(payload: bytes, card: ModelCard) -> EngineChunk:
    try:
        chunk = _chunk_decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UpstreamProtocolError(f"The engine of {card.name} sent a chunk that cannot be read: {error}.") from None
    if chunk.error:
        raise stated_error(chunk.error)
    return chunk


def _refusal(status: int, body: bytes, card: ModelCard) -> UpstreamError:
    try:
        told = msgspec.json.decode(body, type=_RefusalBody).error
    except (msgspec.MsgspecError, RecursionError):
        told = _Refusal()
    if told.type == "exceed_context_size_error":
        return UpstreamContextTooLong(card.id, told.n_prompt_tokens, told.n_ctx)
    return UpstreamStatus(status, body)
