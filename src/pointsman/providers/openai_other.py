"""Completions and embeddings of an upstream that speaks OpenAI's API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import msgspec

from pointsman.core.errors import InvalidRequest, UpstreamProtocolError, UpstreamStatus
from pointsman.core.events import Body, Event
from pointsman.core.ports import ChatCall
from pointsman.dialects.ollama.only import ollama_only
from pointsman.dialects.openai.chat import ChatStream
from pointsman.dialects.openai.completions import dropped, suffix_of, texts_of, to_completion
from pointsman.dialects.openai.completions_answer import TextAnswer, streamed
from pointsman.dialects.openai.embeddings import read_embeddings, to_embeddings
from pointsman.dialects.openai.whole import read_body
from pointsman.transport.http import UpstreamResponse

from .cards import CompletionRoute, completion_route, presets
from .endpoint import MAX_ANSWER, Endpoint, settled
from .silence import Silence

_MISTRAL = ("temperature", "top_p", "max_tokens", "stop", "min_tokens")
"""What an endpoint for gaps alone takes beside the texts; it refuses a body with more."""


async def complete(
    endpoint: Endpoint, call: ChatCall, *, headers: Mapping[str, str], left_out: Sequence[str] = ()
) -> AsyncGenerator[Event, None]:
    """Answer a request of kind `completion`; see `core.ports.Completes`.

    Args:
        headers: of this call alone.
        left_out: fields that are not sent.

    Raises, beside what the protocol says:
        InvalidRequest: several answers, which the model's own endpoint does not give.
    """
    request, card = call.request, call.card
    route = completion_route(presets().get(endpoint.name), card.name)
    as_chat = route is not None and route.answers == "chat"
    response = await endpoint.send(
        "POST",
        route.path if route is not None else "/completions",
        from_root=route is not None,
        destination=card.destination,
        local_only=call.local_only,
        timeouts=call.timeouts,
        body=_gap(call) if as_chat else _rendered(call, route, left_out),
        accept=b"text/event-stream" if request.stream else b"application/json",
        clears=call.clears,
        on_resend=call.on_resend,
        headers=headers,
    )
    answer = TextAnswer()
    try:
        async for event in _events(endpoint, response, call, translated=as_chat):
            if not as_chat:
                yield event
            elif isinstance(event, Body):
                yield msgspec.structs.replace(event, raw=answer.body(event))
            else:
                yield msgspec.structs.replace(event, raw=answer.frames(event))
    except UpstreamStatus as error:  # stated inside a body whose status was 200
        endpoint.cleaned(error, *_secrets(call))
        raise
    finally:
        response.close()


async def embed(endpoint: Endpoint, call: ChatCall, *, headers: Mapping[str, str]) -> AsyncGenerator[Event, None]:
    """Answer a request of kind `embeddings`; see `core.ports.Embeds`."""
    preset = presets().get(endpoint.name)
    response = await endpoint.send(
        "POST",
        "/embeddings",
        destination=call.card.destination,
        local_only=call.local_only,
        timeouts=call.timeouts,
        body=to_embeddings(call.request, call.card.name, base64=preset is not None and preset.embeds_base64),
        clears=call.clears,
        on_resend=call.on_resend,
        headers=headers,
    )
    try:
        await endpoint.accepted(response, *_secrets(call))
        yield read_embeddings(await response.read(MAX_ANSWER), count=len(call.request.params.messages))
    except UpstreamStatus as error:
        endpoint.cleaned(error, *_secrets(call))
        raise
    finally:
        response.close()


async def _events(
    endpoint: Endpoint, response: UpstreamResponse, call: ChatCall, *, translated: bool
) -> AsyncGenerator[Event, None]:
    request = call.request
    translated = translated or request.translated
    media = await endpoint.accepted(response, *_secrets(call))
    if not request.stream:
        if media == "text/event-stream":
            raise UpstreamProtocolError(f"{endpoint.name} streamed its answer to a request that was not streamed.")
        yield read_body(await response.read(MAX_ANSWER))
        return
    if media.endswith("json"):
        body = read_body(await response.read(MAX_ANSWER))
        yield streamed(body, wants_usage=request.wants_usage)
        return
    several = len(texts_of(request)) > 1 or (request.params.n or 1) > 1
    stream = ChatStream(wants_usage=request.wants_usage, several=several, translated=translated)
    silence = Silence(call.timeouts, stream.says_nothing)
    async for block in response:
        silence.heard(block)
        event = stream.feed(block)
        if event is not None:
            yield event
        if stream.failure is not None:
            raise stream.failure
        if stream.done:
            break
    ending = stream.end()
    if ending is not None:
        yield ending
    await settled(response)


def _secrets(call: ChatCall) -> tuple[str, ...]:
    return (call.credential.api_key,) if call.credential is not None else ()


def _rendered(call: ChatCall, route: CompletionRoute | None, left_out: Sequence[str]) -> bytes:
    request, card = call.request, call.card
    fim = card.fim if route is None and suffix_of(request) is not None else None
    replace: dict[str, Any] = {"model": card.name, **to_completion(request, fim)}
    drop = (*dropped(fim), *ollama_only(request), *left_out)
    if not request.stream:
        return request.render(replace, drop=drop)
    if not card.stream_usage:
        return request.render(replace, drop=(*drop, "stream_options"))
    return request.render({**replace, "stream_options": {"include_usage": True}}, drop=drop)


def _gap(call: ChatCall) -> bytes:
    """The body for an endpoint for gaps alone (Mistral's)."""
    request = call.request
    prompts = texts_of(request)
    if len(prompts) > 1 or (request.params.n or 1) > 1:
        param = "prompt" if len(prompts) > 1 else "n"
        raise InvalidRequest(f"{call.card.id} gives one completion for one prompt in a request.", param=param)
    fields: dict[str, Any] = {name: request.fields[name] for name in _MISTRAL if name in request.fields}
    fields |= {"model": call.card.name, "prompt": prompts[0], "stream": request.stream}
    suffix = suffix_of(request)
    if suffix is not None:
        fields["suffix"] = suffix
    if request.params.seed is not None:
        fields["random_seed"] = request.params.seed
    return msgspec.json.encode(fields)
