"""The turns of a conversation, from OpenAI's messages to Anthropic's content blocks."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.errors import InvalidRequest, UpstreamLacks
from pointsman.core.request import NOTHING, invalid

from .tools import TEXT

PART_EXTRAS = ("cache_control", "citations", "title", "context", "transformations")
"""Fields of Anthropic's blocks that stand on content parts."""
CALL_EXTRAS = ("cache_control", "caller", "toolset_name")
RESULT_EXTRAS = ("is_error", "toolset_name")
SYSTEM_EXTRAS = ("clear_at", "output_config")
"""Fields of a system message in the middle of a conversation; one that has any is a turn of its own."""
_STRANGE = re.compile(r"[^A-Za-z0-9_-]")
_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),(.*)", re.DOTALL)


class _File(msgspec.Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None
    file_url: str | None = None


class _Url(msgspec.Struct):
    url: str


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _Url | str | None = None
    file: _File | None = None
    source: Raw = NOTHING
    cache_control: Raw = NOTHING
    citations: Raw = NOTHING
    title: Raw = NOTHING
    context: Raw = NOTHING
    transformations: Raw = NOTHING


class _Function(msgspec.Struct):
    name: str
    arguments: str = ""


class _CustomCall(msgspec.Struct):
    name: str
    input: str = ""


class _Call(msgspec.Struct):
    id: str | None = None
    function: _Function | None = None
    custom: _CustomCall | None = None
    cache_control: Raw = NOTHING
    caller: Raw = NOTHING
    toolset_name: Raw = NOTHING


class _Message(msgspec.Struct):
    role: str
    content: str | list[Raw] | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    thinking_blocks: list[Raw] | None = None
    block_order: list[str] | None = None
    cache_control: Raw = NOTHING
    is_error: Raw = NOTHING
    toolset_name: Raw = NOTHING
    function_call: Raw = NOTHING
    audio: Raw = NOTHING
    clear_at: Raw = NOTHING
    output_config: Raw = NOTHING


_message_decoder = msgspec.json.Decoder(_Message)
_part_decoder = msgspec.json.Decoder(_Part)
_loose_decoder = msgspec.json.Decoder(dict[str, Raw])


class Turns:
    """Gathers messages into turns.

    Turns of one role that follow each other become one, and a tool's results stand before what the user says in the
    same turn, as the API wants it. System messages at the start are the system prompt. Later ones keep their place
    where the model takes them there (behind a user's turn), else they join the system prompt.
    """

    def __init__(self, *, system_turns: bool) -> None:
        self._system_turns = system_turns
        self._system: list[Any] = []
        self._turns: list[tuple[str, list[Any]]] = []
        self._waiting: list[Any] = []
        """System text that came behind an assistant's turn: it follows the next user's."""
        self._beside: dict[int, dict[str, Any]] = {}
        """Further fields of turns, by their index."""

    def add(self, raw: Raw, index: int) -> None:
        """
        Raises:
            InvalidRequest: the message is not of OpenAI's shape.
            UpstreamLacks: it holds what Messages has no word for.
        """
        at = f"messages[{index}]"
        message: _Message = _decoded(_message_decoder, raw, at)
        if message.role in ("system", "developer"):
            self._add_system(message, at)
        elif message.role == "tool":
            self._extend("user", [_result(message, at)])
        elif message.role == "user":
            self._extend("user", _marked(_content(message, at), message.cache_control))
        elif message.role == "assistant":
            self._extend("assistant", _marked(_assistant(message, at), message.cache_control))
        else:
            raise UpstreamLacks("messages", f"has no messages of the role {message.role!r}")

    def done(self) -> tuple[Any, list[dict[str, Any]]]:
        """The system prompt, if any, and the messages."""
        if self._waiting and self._turns[-1][0] == "user":
            self._extend("system", [])
        system = self._system + self._waiting
        if not self._turns and system:  # a prompt that is all system has nothing to answer
            self._turns, system = [("user", system)], []
        messages = [
            {
                "role": role,
                **({"content": _simple(_results_first(blocks))} if blocks else {}),
                **self._beside.get(index, {}),
            }
            for index, (role, blocks) in enumerate(self._turns)
        ]
        return (_simple(system) if system else None), messages

    def _add_system(self, message: _Message, at: str) -> None:
        blocks = _marked(_content(message, at), message.cache_control)
        if not self._turns or not self._system_turns:
            self._system += blocks
        elif self._turns[-1][0] == "assistant":
            self._waiting += blocks
        elif beside := _extras(message, SYSTEM_EXTRAS):
            self._beside[len(self._turns)] = beside
            self._turns.append(("system", blocks))
        else:
            self._extend("system", blocks)

    def _extend(self, role: str, blocks: list[Any]) -> None:
        if self._waiting and self._turns[-1][0] == "user" and role != "user":
            self._turns.append(("system", self._waiting))
            self._waiting = []
        if not blocks:
            return
        if self._turns and self._turns[-1][0] == role and len(self._turns) - 1 not in self._beside:
            self._turns[-1][1].extend(blocks)
        else:
            self._turns.append((role, blocks))


def _assistant(message: _Message, at: str) -> list[Any]:
    if bytes(message.audio) != b"null":
        raise UpstreamLacks("messages", "has no spoken answers")
    if bytes(message.function_call) != b"null":
        raise UpstreamLacks("messages", "has no `function_call`; send `tool_calls`")
    said = _content(message, at)
    if message.refusal:
        said.append({"type": "text", "text": message.refusal})
    calls = [_call(call, index, at) for index, call in enumerate(message.tool_calls or ())]
    blocks = {"thinking": list(message.thinking_blocks or ()), "content": said, "tool_use": calls}
    order = message.block_order
    if order is None or any(order.count(kind) != len(of_kind) for kind, of_kind in blocks.items()):
        return [block for of_kind in blocks.values() for block in of_kind]
    waiting = {kind: iter(of_kind) for kind, of_kind in blocks.items()}
    return [next(waiting[kind]) for kind in order if kind in waiting]


def _call(call: _Call, index: int, at: str) -> dict[str, Any]:
    called = call.function or call.custom
    if called is None:
        raise UpstreamLacks("messages", "has calls of functions only")
    given = _arguments(called.arguments) if isinstance(called, _Function) else {TEXT: called.input}
    block = {"type": "tool_use", "id": plain_id(call.id or f"call_{index}"), "name": called.name, "input": given}
    return block | _extras(call, CALL_EXTRAS)


def _arguments(text: str) -> Any:
    arguments = text.strip() or "{}"
    try:
        _loose_decoder.decode(arguments)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return {"arguments": text}  # what a model wrote that is no object is not lost
    return Raw(arguments.encode())


def _result(message: _Message, at: str) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": plain_id(message.tool_call_id or "call_0")}
    blocks = _content(message, at)
    if isinstance(message.content, str):
        block["content"] = message.content
    elif blocks:
        block["content"] = blocks
    mark = {} if bytes(message.cache_control) == b"null" else {"cache_control": message.cache_control}
    return block | _extras(message, RESULT_EXTRAS) | mark


def plain_id(identifier: str) -> str:
    """A tool call's id in the letters that Anthropic takes; ids of other makers may hold dots and colons."""
    return _STRANGE.sub("_", identifier) if _STRANGE.search(identifier) else identifier


def _content(message: _Message, at: str) -> list[Any]:
    if not isinstance(message.content, list):
        return [{"type": "text", "text": message.content}] if message.content else []
    found = (_block(raw, f"{at}.content[{index}]") for index, raw in enumerate(message.content))
    return [block for block in found if block is not None]


def _block(raw: Raw, at: str) -> Any:
    kind = _decoded(_loose_decoder, raw, at).get("type", NOTHING)
    if bytes(kind) not in _OPENAI_PARTS:
        return raw  # a block of Anthropic's own
    part: _Part = _decoded(_part_decoder, raw, at)
    if part.type in ("text", "refusal"):
        text = part.text if part.type == "text" else part.refusal
        return {"type": "text", "text": text} | _extras(part, PART_EXTRAS) if text else None
    if part.type == "image_url":
        return {"type": "image", "source": _image(part, at)} | _extras(part, PART_EXTRAS)
    if part.type == "file":
        return _document(part, at)
    raise UpstreamLacks("messages", f"takes text, images and documents; a part of type {part.type!r} was given")


_OPENAI_PARTS = frozenset({b'"text"', b'"refusal"', b'"image_url"', b'"file"', b'"input_audio"', b'"video_url"'})


def _image(part: _Part, at: str) -> Any:
    url = part.image_url.url if isinstance(part.image_url, _Url) else part.image_url
    if url is None:
        raise InvalidRequest(f"Invalid `{at}`: `image_url` is missing.", param=at)
    data = _DATA_URL.fullmatch(url)
    if data is None:
        return {"type": "url", "url": url}
    if ";base64" not in data[2]:
        raise InvalidRequest(f"Invalid `{at}`: a data URL must be base64.", param=at)
    return {"type": "base64", "media_type": "image/jpeg" if data[1] == "image/jpg" else data[1], "data": data[3]}


def _document(part: _Part, at: str) -> dict[str, Any]:
    file = part.file or _File()
    extras = _extras(part, PART_EXTRAS)
    if file.filename and "title" not in extras:
        extras["title"] = file.filename
    return {"type": "document", "source": _source(part, file, at)} | extras


def _source(part: _Part, file: _File, at: str) -> Any:
    if bytes(part.source) != b"null":
        return part.source
    if file.file_id is not None:
        return {"type": "file", "file_id": file.file_id}
    given = file.file_url or file.file_data
    if given is None:
        raise InvalidRequest(f"Invalid `{at}`: `file.file_data` or `file.file_id` is missing.", param=at)
    if given.startswith(("http://", "https://")):
        return {"type": "url", "url": given}
    data = _DATA_URL.fullmatch(given)
    media, encoded = (data[1], data[3]) if data is not None else ("application/pdf", given)
    if media.startswith("text/"):
        return {"type": "text", "media_type": "text/plain", "data": _text(encoded, at)}
    return {"type": "base64", "media_type": media or "application/pdf", "data": encoded}


def _text(encoded: str, at: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise InvalidRequest(f"Invalid `{at}`: its text is not UTF-8 in base64.", param=at) from None


def _extras(value: msgspec.Struct, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: raw for name in names if bytes(raw := getattr(value, name)) != b"null"}


def _marked(blocks: list[Any], cache_control: Raw) -> list[Any]:
    """A mark on a message is one on its last block."""
    if bytes(cache_control) == b"null" or not blocks or not isinstance(blocks[-1], dict):
        return blocks
    return [*blocks[:-1], {**blocks[-1], "cache_control": cache_control}]


def _results_first(blocks: list[Any]) -> list[Any]:
    results = [block for block in blocks if _is_result(block)]
    return [*results, *(block for block in blocks if not _is_result(block))] if results else blocks


def _is_result(block: Any) -> bool:
    return isinstance(block, dict) and block["type"] == "tool_result"


def _simple(blocks: list[Any]) -> Any:
    """A lone text as a string, as most callers write it."""
    if len(blocks) == 1 and isinstance(blocks[0], dict) and set(blocks[0]) == {"type", "text"}:
        return blocks[0]["text"]
    return blocks


def _decoded(decoder: msgspec.json.Decoder[Any], raw: Raw, at: str) -> Any:
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        mapped = invalid(error, f"{at}.")
        raise InvalidRequest(mapped.message.replace(f"`{at}.`", f"`{at}`", 1), param=mapped.param) from None
