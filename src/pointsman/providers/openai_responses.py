"""OpenAI's Responses at an upstream that speaks them: relayed for whoever speaks them too, translated for others."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from functools import partial
from typing import NamedTuple

from pointsman.core.errors import InvalidRequest, UpstreamProtocolError, UpstreamStatus
from pointsman.core.events import Event
from pointsman.core.ports import ChatCall
from pointsman.dialects.responses.relay import ResponsesRelay, relay_response
from pointsman.dialects.responses.stream import ChatFromResponses, chat_body
from pointsman.dialects.responses.upstream import to_responses
from pointsman.transport.http import UpstreamResponse

from .endpoint import MAX_ANSWER, Endpoint, settled
from .silence import Silence

_CHAT_ONLY = re.compile(r"audio|search-preview|^gpt-3\.5-turbo-instruct")
"""Models that OpenAI serves in chat, and not in Responses."""
_RESPONSES_ONLY = re.compile(r"(?:^|/)(?:gpt-[\d.]+-(?:pro|codex)|o\d-pro|codex-mini)")
"""Models that OpenAI serves in Responses, and not in chat."""
CAPABILITIES = frozenset({"chat", "tools", "vision", "json_object", "json_schema"})
"""Of these."""
_UNREADABLE = b"invalid_encrypted_content"
"""OpenAI's word for reasoning that was encrypted elsewhere: by another upstream, or for another key."""


class Asked(NamedTuple):
    """One request."""

    body: bytes
    plain: Callable[[], bytes]
    """The body without the reasoning of earlier turns."""


def speaks_responses(name: str) -> bool:
    """Whether a model of OpenAI's is served in Responses."""
    return _CHAT_ONLY.search(name) is None


def only_responses(name: str) -> bool:
    """Whether a model of OpenAI's is served in Responses alone."""
    return _RESPONSES_ONLY.search(name) is not None


def responses_asked(call: ChatCall, *, reasons: bool, left_out: Collection[str]) -> Asked:
    """The request in Responses.

    Args:
        reasons: whether the model is known to reason.

    Raises:
        UpstreamLacks: it asks for what only chat has a word for.
        InvalidRequest: it is not of the shape that the inner form has.
    """
    written = partial(to_responses, call.request, model=call.card.name, reasons=reasons, left_out=left_out)
    try:
        return Asked(written(), partial(written, encrypted=False))
    except (KeyError, TypeError, AttributeError, ValueError):
        raise InvalidRequest("Invalid `messages`: there is a part of an unknown shape.", param="messages") from None


async def respond(
    endpoint: Endpoint, call: ChatCall, asked: Asked, *, headers: Mapping[str, str]
) -> AsyncGenerator[Event, None]:
    """Answer one request; see `core.ports.Provider`.

    Reasoning of earlier turns that this upstream cannot decrypt is left out in a second attempt: the conversation may
    have begun at another one.
    """
    secrets = (call.credential.api_key,) if call.credential is not None else ()
    response = await _send(endpoint, call, asked.body, headers)
    try:
        try:
            media = await endpoint.accepted(response, *secrets)
        except UpstreamStatus as error:
            if error.upstream_status != 400 or _UNREADABLE not in error.body:
                raise
            response.close()
            response = await _send(endpoint, call, asked.plain(), headers)
            media = await endpoint.accepted(response, *secrets)
        if (media == "text/event-stream") is not call.request.stream:
            raise UpstreamProtocolError(f"{endpoint.name} did not stream its answer as it was asked to.")
        relayed, created = call.request.dialect == "responses", int(time.time())
        if not call.request.stream:
            raw = await response.read(MAX_ANSWER)
            yield relay_response(raw) if relayed else chat_body(raw, created=created)
            return
        relay = ResponsesRelay()
        chat = ChatFromResponses(model=call.card.name, created=created, wants_usage=call.request.wants_usage)
        silence = Silence(call.timeouts, relay.says_nothing)
        async for block in response:
            silence.heard(block)
            event = relay.feed(block)
            if event is not None:
                yield event if relayed else chat.feed(event)
            if chat.failure is not None:
                raise chat.failure
            if relay.failure is not None:
                raise relay.failure
            if relay.done:
                break
        relay.end()
        await settled(response)
    except UpstreamStatus as error:  # stated inside a body whose status was 200
        endpoint.cleaned(error, *secrets)
        raise
    finally:
        response.close()


async def _send(endpoint: Endpoint, call: ChatCall, body: bytes, headers: Mapping[str, str]) -> UpstreamResponse:
    return await endpoint.send(
        "POST",
        "/responses",
        destination=call.card.destination,
        local_only=call.local_only,
        timeouts=call.timeouts,
        body=body,
        accept=b"text/event-stream" if call.request.stream else b"application/json",
        clears=call.clears,
        on_resend=call.on_resend,
        headers=headers,
    )
