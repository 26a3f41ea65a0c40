"""A request as an upstream takes it that speaks OpenAI's Responses.

It is built anew from the inner form, which is what was searched for private content; of the body that came nothing else
is kept. What an upstream would have to look up among answers that it kept is never asked for: it keeps none of them
(`store: false`), and the whole conversation goes out with every turn.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from pointsman.core.errors import UpstreamLacks
from pointsman.core.request import OWN_FIELDS, ChatRequest
from pointsman.dialects.openai.asked import asked
from pointsman.dialects.openai.plain import plain_chat

from .fields import LOGPROBS, ONLY

Body = dict[str, Any]

ENCRYPTED = "reasoning.encrypted_content"
CHATS_OWN = ("stop", "seed", "logit_bias", "frequency_penalty", "presence_penalty", "n", "modalities", "audio",
             "prediction", "web_search_options", "functions", "function_call")  # fmt: skip
"""Parameters that Responses have no word for."""
NOT_CHATS = ("previous_response_id", "conversation", "prompt", "background", "input", "instructions", ONLY)
"""Parameters of Responses by which a chat would have the upstream look up what others keep there, or answer somewhere
else than here."""
_TRANSLATED = frozenset(
    {
        *("messages", "model", "tools", "tool_choice", "response_format", "verbosity", "reasoning_effort", "store"),
        *("max_completion_tokens", "max_tokens", "logprobs", "stream_options", ONLY, *CHATS_OWN, *OWN_FIELDS),
    }
)
_MESSAGE = frozenset({"role", "content", "tool_calls", "reasoning_items", "item_order", "thinking_blocks", "refusal"})
_CALL = frozenset({"id", "type", "function", "custom", "index"})
_CHAT_MESSAGE = ("role", "content", "tool_calls", "tool_call_id")
_RESULT = frozenset({"role", "tool_call_id", "content"})


class _Only(msgspec.Struct):
    """What a body of Responses says that chat has no word for."""

    include: list[str] = []
    reasoning: dict[str, Any] = {}
    truncation: str | None = None
    max_tool_calls: int | None = None


_fields_decoder = msgspec.json.Decoder(dict[str, Any])
_encoder = msgspec.json.Encoder()


def to_responses(
    request: ChatRequest,
    *,
    model: str,
    reasons: bool,
    encrypted: bool = True,
    left_out: Collection[str] = (),
) -> bytes:
    """
    Args:
        model: the name that the upstream knows.
        reasons: whether the model is known to reason: its thoughts are then asked for, in encrypted form, so that
            they can be given back with the next turn.
        encrypted: whether thoughts of earlier turns go along.
        left_out: further fields that are not sent.

    Raises:
        UpstreamLacks: the request holds what Responses have no word for.
    """
    for name in asked(request, CHATS_OWN if request.origin == "responses" else CHATS_OWN + NOT_CHATS):
        raise UpstreamLacks(name)
    written: Body = dict(request.fields)
    if request.origin not in ("responses", "chat"):
        replaced, foreign = plain_chat(request, (), reasons=reasons)
        written = {name: value for name, value in (written | replaced).items() if name not in foreign}
    fields = _fields_decoder.decode(_encoder.encode(written))
    if request.origin != "responses":
        fields = _plain(fields)
    only = msgspec.convert(fields.get(ONLY) or {}, _Only)
    items = _items(fields["messages"], encrypted=encrypted)
    body: Body = {"model": model, "store": False}
    first = items[0]
    plain = first.keys() == {"type", "role", "content"} and isinstance(first["content"], str)
    if len(items) > 1 and plain and first["role"] == "system":
        body["instructions"] = first["content"]
        items = items[1:]
    body["input"] = items
    dropped = {*_TRANSLATED, *left_out}
    body |= {name: value for name, value in fields.items() if name not in dropped and value is not None}
    if fields.get("tools"):
        body["tools"] = [_tool(tool) for tool in fields["tools"]]
    if fields.get("tool_choice") is not None:
        body["tool_choice"] = _choice(fields["tool_choice"])
    text = _text(fields)
    if text:
        body["text"] = text
    reasoning = {**only.reasoning}
    if fields.get("reasoning_effort") is not None:
        reasoning["effort"] = fields["reasoning_effort"]
    if reasoning:
        body["reasoning"] = reasoning
    if request.max_output is not None:
        body["max_output_tokens"] = request.max_output
    include = [each for each in only.include if each != LOGPROBS]
    if reasons and reasoning.get("effort") != "none" and ENCRYPTED not in include:
        include.append(ENCRYPTED)
    if fields.get("logprobs"):
        include.append(LOGPROBS)
    if include:
        body["include"] = include
    for name in ("truncation", "max_tool_calls"):
        if (value := getattr(only, name)) is not None:
            body[name] = value
    return _encoder.encode(body)


def _plain(fields: Body) -> Body:
    """A chat without further fields of its messages, and with its default said where Responses have another."""
    messages = [
        {name: value for name, value in message.items() if name in _CHAT_MESSAGE}
        | ({"tool_calls": [_known(call) for call in message["tool_calls"]]} if message.get("tool_calls") else {})
        for message in fields["messages"]
    ]
    tools = [_known(tool) for tool in fields.get("tools") or ()]
    for tool in tools:
        if tool.get("type") == "function":
            tool["function"] = {"strict": False, **tool["function"]}
    return {**fields, "messages": messages, "tools": tools}


def _known(value: Body) -> Body:
    """A tool or a call of chat's, without further fields; of a type that chat does not have, as it is."""
    if not {"function", "custom"} & value.keys():
        return value
    return {name: value[name] for name in ("id", "type", "function", "custom") if name in value}


def _items(messages: Sequence[Body], *, encrypted: bool) -> list[Body]:
    items: list[Body] = []
    customs: set[str] = set()
    for message in messages:
        role = message["role"]
        if role == "tool":
            kind = "custom_tool_call_output" if message["tool_call_id"] in customs else "function_call_output"
            result = {"type": kind, "call_id": message["tool_call_id"], "output": _content(message.get("content"))}
            items.append({**result, **_extras(message, _RESULT)})
        elif role == "assistant":
            items += _turn(message, encrypted=encrypted)
            customs |= {call["id"] for call in message.get("tool_calls") or () if call.get("type") == "custom"}
        elif role == "function":
            raise UpstreamLacks("messages", "has no messages of this role")
        else:
            said = _content(message.get("content"))
            items.append({"type": "message", "role": role, "content": said, **_extras(message, _MESSAGE)})
    return items


def _turn(message: Body, *, encrypted: bool) -> list[Body]:
    """What a model said and did, in the order that it had where that is told."""
    kept = iter(message.get("reasoning_items") or ())
    calls = iter(message.get("tool_calls") or ())
    spoke = message.get("content") not in (None, "", [])
    items: list[Body] = []
    for kind in (*(message.get("item_order") or ()), *["kept"] * _many(message, "reasoning_items"), "message",
                 *["call"] * _many(message, "tool_calls")):  # fmt: skip
        if kind == "message" and spoke:
            spoke = False
            said = _content(message["content"], said="output_text")
            items.append({"type": "message", "role": "assistant", "content": said, **_extras(message, _MESSAGE)})
        elif kind == "kept" and (item := next(kept, None)) is not None:
            items += _given_back(item, encrypted=encrypted)
        elif kind == "call" and (call := next(calls, None)) is not None:
            items.append(_call(call))
    return items


def _many(message: Body, field: str) -> int:
    return len(message.get(field) or ())


def _given_back(item: Body, *, encrypted: bool) -> list[Body]:
    """A model's reasoning can only be given back in encrypted form: by its id, nobody knows it."""
    if item.get("type") != "reasoning":
        return [item]
    if not encrypted or not item.get("encrypted_content"):
        return []
    given = {name: value for name, value in item.items() if name != "status" and value is not None}
    return [{**given, "summary": given.get("summary") or []}]


def _call(call: Body) -> Body:
    if call.get("type") == "custom":
        named = {"name": call["custom"]["name"], "input": call["custom"].get("input", "")}
        return {"type": "custom_tool_call", "call_id": call["id"], **named, **_extras(call, _CALL)}
    named = {"name": call["function"]["name"], "arguments": call["function"].get("arguments", "")}
    return {"type": "function_call", "call_id": call["id"], **named, **_extras(call, _CALL)}


def _content(content: Any, *, said: str = "input_text") -> Any:
    if content is None or isinstance(content, str):
        return content or ""
    return [_part(part, said) for part in content]


def _part(part: Body, said: str) -> Body:
    kind = part.get("type")
    if kind == "text":
        return {"type": said, **_extras(part, frozenset({"type"}))}
    if kind == "refusal":
        return part
    if kind == "image_url":
        image = part["image_url"]
        given = {"image_url": image} if isinstance(image, str) else {"image_url": image["url"]}
        if isinstance(image, dict) and image.get("detail") is not None:
            given["detail"] = image["detail"]
        return {"type": "input_image", **given, **_extras(part, frozenset({"type", "image_url"}))}
    if kind == "file":
        return {"type": "input_file", **part["file"], **_extras(part, frozenset({"type", "file"}))}
    raise UpstreamLacks("messages", "has no content of this type")


def _tool(tool: Body) -> Body:
    kind = tool.get("type")
    if kind == "function":
        return {"type": kind, **tool["function"], **_extras(tool, frozenset({"type", "function"}))}
    if kind == "custom" and "custom" in tool:
        made = {"type": kind, **tool["custom"], **_extras(tool, frozenset({"type", "custom"}))}
        form = made.get("format")
        if isinstance(form, Mapping) and isinstance(form.get("grammar"), Mapping):
            made["format"] = {"type": "grammar", **form["grammar"]}
        return made
    return tool


def _choice(choice: Any) -> Any:
    kind = choice.get("type") if isinstance(choice, Mapping) else None
    if kind in ("function", "custom") and isinstance(choice.get(kind), Mapping):
        return {"type": kind, **choice[kind]}
    return choice


def _text(fields: Body) -> Body:
    text: Body = {}
    form = fields.get("response_format")
    if form is not None:
        text["format"] = {"type": form["type"], **(form.get("json_schema") or {})}
    if fields.get("verbosity") is not None:
        text["verbosity"] = fields["verbosity"]
    return text


def _extras(value: Body, known: frozenset[str]) -> Body:
    return {name: each for name, each in value.items() if name not in known}
