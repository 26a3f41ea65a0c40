"""Requests of Ollama's clients in the inner form: `/api/chat`, `/api/generate`, `/api/embed`, `/api/embeddings`."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import Kind

from .in_options import Common, Fields, common_fields, content_of, read_body

MOST_TEXTS = 2048
"""To embed in one request, as with OpenAI's API."""

_encoder = msgspec.json.Encoder()


class _Function(msgspec.Struct):
    name: str
    arguments: dict[str, Any] | None = None


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[_Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


_MESSAGE_FIELDS = frozenset(_Message.__struct_fields__)


class _Chat(Common):
    messages: list[_Message] | None = None
    tools: list[dict[str, Raw]] | None = None


class _Generate(Common):
    prompt: str = ""
    suffix: str = ""
    system: str = ""
    template: str = ""
    context: list[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None


class _Embed(msgspec.Struct):
    model: str = ""
    input: str | list[str] | None = None
    prompt: str | None = None


_chat_decoder = msgspec.json.Decoder(_Chat)
_generate_decoder = msgspec.json.Decoder(_Generate)
_embed_decoder = msgspec.json.Decoder(_Embed)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was read."""

    kind: Kind
    fields: Fields
    """For `ChatRequest.build`."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """A request without a prompt: Ollama loads the model, or with a `keep_alive` of 0 unloads it, and says so."""

    model: str
    unload: bool
    stream: bool


def read_chat(body: bytes) -> Asked | Load:
    """`/api/chat`.

    Tool calls of earlier turns get the ids that OpenAI's form needs: results name a call by its tool, and stand for
    the earliest call of that tool that has none yet.

    Raises:
        InvalidRequest: the body cannot be read, or holds what has no inner form.
    """
    asked, raw = read_body(body, _chat_decoder)
    fields = common_fields(asked, raw, handled=frozenset({"messages", "tools"}))
    if not asked.messages:
        return _load(asked)
    open_calls = _OpenCalls()
    told = msgspec.json.decode(raw["messages"], type=list[dict[str, Raw]])
    fields["messages"] = [
        {**_unknown(whole), **_message(message, at, open_calls)}
        for at, (message, whole) in enumerate(zip(asked.messages, told, strict=True))
    ]
    if asked.tools:
        fields["tools"] = [{"type": "function", **tool} for tool in asked.tools]
    return Asked(kind="chat", fields=fields)


def read_generate(body: bytes) -> Asked | Load:
    """`/api/generate`. With `suffix` or `raw` the text is gone on with, by a model that completes; else it is a chat.

    Raises:
        InvalidRequest: the body cannot be read, or holds what has no inner form: `template`, `context`.
    """
    asked, raw = read_body(body, _generate_decoder)
    handled = frozenset({"prompt", "suffix", "system", "template", "context", "raw", "images"})
    fields = common_fields(asked, raw, handled=handled)
    if asked.template:
        raise InvalidRequest("Invalid `template`: models keep their own here; leave it out.", param="template")
    if asked.context:
        raise InvalidRequest(
            "Invalid `context`: answers here carry none. Send the conversation's messages to /api/chat.",
            param="context",
        )
    if not asked.prompt and not asked.images and not asked.suffix:
        return _load(asked)
    completes = bool(asked.suffix or asked.raw)
    if completes and asked.system:
        raise InvalidRequest("Invalid `system`: a text that is gone on with has no system prompt.", param="system")
    if completes and asked.images:
        raise InvalidRequest("Invalid `images`: a text that is gone on with has no pictures.", param="images")
    messages: list[Fields] = [{"role": "system", "content": asked.system}] if asked.system else []
    messages.append({"role": "user", "content": content_of(asked.prompt, asked.images, "images")})
    fields["messages"] = messages
    if asked.suffix:
        fields["suffix"] = asked.suffix
    return Asked(kind="completion" if completes else "chat", fields=fields)


def read_embed(body: bytes, *, old: bool = False) -> Asked:
    """`/api/embed`, or with `old` `/api/embeddings`, whose one text is called `prompt`. No message: nothing to embed.

    Raises:
        InvalidRequest: the body cannot be read, or names no model; one of several texts is empty.
    """
    asked, raw = read_body(body, _embed_decoder)
    if not asked.model:
        raise InvalidRequest("model is required", param="model")
    given = asked.prompt if old else asked.input
    if given is None and not old:
        raise InvalidRequest("Invalid `input`: a text or a list of texts is expected.", param="input")
    texts = ([given] if given else []) if isinstance(given, str) else given or []
    if len(texts) > MOST_TEXTS:
        raise InvalidRequest(f"Invalid `input`: more than {MOST_TEXTS} texts in one request.", param="input")
    if "" in texts:
        place = f"input[{texts.index('')}]"
        raise InvalidRequest(f"Invalid `{place}`: it is empty.", param=place)
    known = {"model", "input", "prompt", "stream", "encoding_format"}
    fields: Fields = {name: value for name, value in raw.items() if name not in known and bytes(value) != b"null"}
    fields["model"] = asked.model
    fields["messages"] = [{"role": "user", "content": text} for text in texts]
    return Asked(kind="embeddings", fields=fields)


class _Open(msgspec.Struct):
    """A call that has no result yet."""

    identifier: str
    answered: bool = False


class _OpenCalls:
    """The calls of earlier turns that have no result yet, found in one step however many there are."""

    def __init__(self) -> None:
        self._every: deque[_Open] = deque()
        self._named: defaultdict[str, deque[_Open]] = defaultdict(deque)
        self._identified: defaultdict[str, deque[_Open]] = defaultdict(deque)

    def add(self, name: str, identifier: str) -> None:
        call = _Open(identifier)
        for calls in (self._every, self._named[name], self._identified[identifier]):
            calls.append(call)

    def answered(self, message: _Message) -> str | None:
        """The id of the earliest call that a result belongs to, which has its result now."""
        if message.tool_call_id:
            waiting = self._identified.get(message.tool_call_id)
        else:
            waiting = self._named.get(message.tool_name) if message.tool_name else self._every
        while waiting:
            call = waiting.popleft()
            if not call.answered:
                call.answered = True
                return call.identifier
        return None


def _load(asked: Common) -> Load:
    alive = asked.keep_alive
    unload = alive in (0, "0") or (isinstance(alive, str) and alive.rstrip("hmnsuµ") in ("0", "0.0"))
    return Load(model=asked.model, unload=unload, stream=asked.stream is not False)


def _unknown(message: dict[str, Raw]) -> Fields:
    """Fields of a message that Ollama does not know; they stay, as such fields of a request do."""
    return {name: value for name, value in message.items() if name not in _MESSAGE_FIELDS}


def _message(message: _Message, at: int, open_calls: _OpenCalls) -> Fields:
    content = content_of(message.content or "", message.images, f"messages[{at}].images")
    fields: Fields = {"role": message.role, "content": content}
    if message.thinking:
        fields["reasoning_content"] = message.thinking
    if message.tool_calls:
        fields["content"] = content or None
        fields["tool_calls"] = calls = [_call(call, at, index) for index, call in enumerate(message.tool_calls)]
        for call in calls:
            open_calls.add(call["function"]["name"], call["id"])
    if message.role == "tool":
        fields["tool_call_id"] = open_calls.answered(message) or message.tool_call_id or f"call_{at}"
        if message.tool_name:
            fields["name"] = message.tool_name
    return fields


def _call(call: _Call, at: int, index: int) -> Fields:
    arguments = _encoder.encode(call.function.arguments or {}).decode()
    function = {"name": call.function.name, "arguments": arguments}
    return {"id": call.id or f"call_{at}_{index}", "type": "function", "function": function}
