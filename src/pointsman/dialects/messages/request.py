"""A request of Anthropic's Messages API in the inner form: OpenAI's chat body and the extension fields beside it.

    system                       one system message, first
    user turn                    its tool results as `tool` messages, then the rest as one user message
    thinking of earlier answers  `thinking_blocks` on the assistant message; where it has no signature, and so was no
                                 Claude's, `reasoning_content`
    tool_use                     `tool_calls`; the input's JSON text is the arguments'
    cache_control                stays where it stood: on parts, tool results, calls and tools

Turns of one role in a row are one turn, as Anthropic reads them. Chat keeps an answer's thinking, content and calls
apart; where they came in another order than that, `block_order` on the assistant message tells it: `thinking`,
`content` or `tool_use` for each block. Every other field of the body keeps its name.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import ChatParams

from .request_blocks import Part, collapsed, content_parts, kind_of, parts_of
from .request_reading import (
    CHAT_NAMES,
    Block,
    as_block,
    as_blocks,
    as_content,
    as_flag,
    as_text,
    as_texts,
    extras,
    is_null,
    needed,
    object_field,
    read,
    text_field,
)
from .request_tools import choice_of, format_of, tool_of

_SHARED = frozenset(
    {
        "messages", "model", "stream", "max_tokens", "temperature", "top_p", "tools", "tool_choice",
        "routing_preferences",
    }
)  # fmt: skip
_CHAT_ONLY = frozenset({field.name for field in msgspec.structs.fields(ChatParams)} - _SHARED) | {
    "functions", "function_call", "reasoning_effort",
}  # fmt: skip
"""Names that mean something in a chat body and nothing in a Messages body."""
_CALL_NAMES = frozenset({"id", "type", "function", "custom", "index"})
_ORDER = ("thinking", "content", "tool_use")

Message = dict[str, Any]


def read_messages(body: bytes, *, bounded: bool = True) -> dict[str, Any]:
    """The chat body for a Messages body.

    Args:
        bounded: whether `max_tokens` must be there, as it must to get an answer.

    Raises:
        InvalidRequest: malformed, or it holds what chat has no form for; names the field.
    """
    if not body:
        raise InvalidRequest("The request body is empty; a JSON object with `messages` is needed.")
    try:
        fields = as_block.decode(body)
    except msgspec.ValidationError:
        raise InvalidRequest("The request body is not a JSON object.") from None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}.") from None
    try:
        return _chat_body(fields, bounded=bounded)
    except UnicodeDecodeError:
        raise InvalidRequest("The request body is not UTF-8.") from None


def _chat_body(fields: Block, *, bounded: bool) -> dict[str, Any]:
    for name in fields:
        if name in _CHAT_ONLY:
            raise InvalidRequest(f"Invalid `{name}`: the Messages API has no such field.", param=name)
    fields = {name: raw for name, raw in fields.items() if not is_null(raw)}
    if bounded:
        needed(fields, "max_tokens", "")
    _take_thread(fields)
    turns = read(as_blocks, needed(fields, "messages", ""), "messages")
    messages = [*_system(fields.pop("system", None)), *_messages(turns)]
    chat: dict[str, Any] = {**fields, "messages": messages}
    if "tools" in fields:
        tools = read(as_blocks, fields["tools"], "tools")
        chat["tools"] = [tool_of(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
        if not tools:
            del chat["tools"]
    if "tool_choice" in fields:
        del chat["tool_choice"]
        choice = choice_of(fields["tool_choice"])
        if "tools" in chat or choice["tool_choice"] not in ("auto", "none"):
            chat |= choice
    if "stop_sequences" in fields:
        chat["stop"] = read(as_texts, chat.pop("stop_sequences"), "stop_sequences")
        if not chat["stop"]:
            del chat["stop"]
    _take_format(chat)
    if "stream" in fields and read(as_flag, fields["stream"], "stream"):
        chat["stream_options"] = {"include_usage": True}
    return chat


def _take_thread(fields: Block) -> None:
    """A conversation that the server keeps between turns: none is kept here or elsewhere, for what is searched and
    counted, and what another model would read, is the request. The official SDKs begin every tool run with
    `{"type": "create"}`, and send all of it again when a thread is not found.
    """
    raw = fields.pop("thread", None)
    if raw is None:
        return
    thread = read(as_block, raw, "thread")
    if read(as_text, needed(thread, "type", "thread"), "thread.type") != "create":
        raise InvalidRequest(
            "Invalid `thread`: no conversation is kept here; send all of its messages.",
            param="thread",
            code="thread_not_found",
        )


def _take_format(chat: dict[str, Any]) -> None:
    """The schema for the answer stands in `output_config`, of older clients in `output_format`."""
    if "output_config" in chat:
        config = read(as_block, chat.pop("output_config"), "output_config")
        form = config.pop("format", None)
        if form is not None and not is_null(form):
            chat["response_format"] = format_of(read(as_block, form, "output_config.format"), "output_config.format")
        if config:
            chat["output_config"] = config
    if "output_format" in chat:
        form = chat.pop("output_format")
        chat["response_format"] = format_of(read(as_block, form, "output_format"), "output_format")


def _system(raw: Raw | None) -> list[Message]:
    if raw is None:
        return []
    content = read(as_content, raw, "system")
    if isinstance(content, str):
        return [{"role": "system", "content": raw}] if content else []
    parts: list[Part] = []
    for index, block in enumerate(content):
        kind = kind_of(block, f"system[{index}]")
        if kind != "text":
            raise InvalidRequest(f"Invalid `system[{index}].type`: `text` is expected.", param=f"system[{index}].type")
        parts += parts_of(block, f"system[{index}]")
    return [{"role": "system", "content": collapsed(parts)}] if parts else []


class _Run:
    """Turns of one role in a row."""

    def __init__(self, role: str, beside: dict[str, Any]) -> None:
        self.role = role
        self.beside = beside
        self.results: list[Message] = []
        self.parts: list[Part] = []
        self.thinking: list[Block] = []
        self.reasoning: list[str] = []
        self.calls: list[dict[str, Any]] = []
        self.order: list[str] = []

    def add(self, raw: Raw, where: str) -> None:
        content = read(as_content, raw, where)
        if isinstance(content, str):
            if content or self.role != "assistant":
                self._add_parts([{"type": "text", "text": raw}])
            return
        for index, block in enumerate(content):
            at = f"{where}[{index}]"
            kind = kind_of(block, at)
            if self.role == "user" and kind == "tool_result":
                self.results.append(_tool_result(block, at))
            elif self.role == "assistant" and kind == "tool_use":
                self.calls.append(_tool_call(block, at))
                self.order.append("tool_use")
            elif self.role == "assistant" and kind in ("thinking", "redacted_thinking"):
                self._add_thinking(kind, block, at)
            else:
                self._add_parts(parts_of(block, at))

    def _add_thinking(self, kind: str, block: Block, where: str) -> None:
        said = text_field(block, "thinking" if kind == "thinking" else "data", where)
        if kind == "thinking" and bytes(block.get("signature", b'""')) in (b'""', b"null"):
            self.reasoning.append(read(as_text, said, f"{where}.thinking"))
            return
        self.thinking.append(block)
        self.order.append("thinking")

    def _add_parts(self, parts: list[Part]) -> None:
        self.parts += parts
        self.order += ["content"] * len(parts)

    def messages(self) -> list[Message]:
        if self.role != "assistant":
            if self.results and not self.parts and not self.beside:
                return self.results
            return [*self.results, {"role": self.role, "content": collapsed(self.parts), **self.beside}]
        message: Message = {"role": "assistant", "content": collapsed(self.parts)}
        if self.calls:
            message["tool_calls"] = self.calls
            if not self.parts:
                message["content"] = None
        if self.thinking:
            message["thinking_blocks"] = self.thinking
        if any(self.reasoning):
            message["reasoning_content"] = "\n".join(self.reasoning)
        if self.order != sorted(self.order, key=_ORDER.index):
            message["block_order"] = self.order
        return [{**message, **self.beside}]


def _messages(turns: list[Block]) -> list[Message]:
    found: list[Message] = []
    run: _Run | None = None
    for index, turn in enumerate(turns):
        where = f"messages[{index}]"
        role = read(as_text, needed(turn, "role", where), f"{where}.role")
        if role not in ("user", "assistant", "system"):
            raise InvalidRequest(
                f"Invalid `{where}.role`: one of user, assistant, system is expected.", param=f"{where}.role"
            )
        beside = extras(turn, ("role", "content"), where, CHAT_NAMES)
        if run is None or run.role != role or run.beside or beside:
            if run is not None:
                found += run.messages()
            run = _Run(role, beside)
        if role != "system" or not beside or "content" in turn:  # it may carry a change of settings alone
            run.add(needed(turn, "content", where), f"{where}.content")
    return [*found, *run.messages()] if run is not None else found


def _tool_result(block: Block, where: str) -> Message:
    message: Message = {"role": "tool", "tool_call_id": text_field(block, "tool_use_id", where), "content": ""}
    if "content" in block and not is_null(block["content"]):
        message["content"] = collapsed(content_parts(block["content"], f"{where}.content"))
    failed = block.get("is_error")
    if failed is not None and not is_null(failed) and read(as_flag, failed, f"{where}.is_error"):
        message["is_error"] = True
    beside = extras(block, ("type", "tool_use_id", "content", "is_error"), where, CHAT_NAMES)
    return {**message, **beside}


def _tool_call(block: Block, where: str) -> dict[str, Any]:
    given = object_field(block, "input", where)
    function = {"name": text_field(block, "name", where), "arguments": bytes(given).decode()}
    call = {"id": text_field(block, "id", where), "type": "function", "function": function}
    return {**call, **extras(block, ("type", "id", "name", "input"), where, _CALL_NAMES)}
