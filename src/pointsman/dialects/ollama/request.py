"""A chat request as Ollama's native `/api/chat` wants it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import NOTHING, ChatRequest, Message, ToolCall, invalid

PASSED_OPTIONS = ("top_k", "min_p", "repeat_penalty")
"""Fields beside OpenAI's that callers send at the top of a body, and Ollama takes among its options."""

EFFORTS = {"none": False, "minimal": False, "low": "low", "medium": "medium", "high": "high"}
"""`reasoning_effort` → `think`."""


class _Message(Message):
    reasoning_content: str | None = None


class _ImageUrl(msgspec.Struct):
    url: str


class _Schema(msgspec.Struct):
    schema: msgspec.Raw = NOTHING


class _Function(msgspec.Struct):
    name: str | None = None


class _Tool(msgspec.Struct):
    function: _Function | None = None


_message_decoder = msgspec.json.Decoder(_Message)
_image_decoder = msgspec.json.Decoder(_ImageUrl | str)
_schema_decoder = msgspec.json.Decoder(_Schema | None)
_tool_decoder = msgspec.json.Decoder(_Tool)
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A request translated, with what its length is reckoned from."""

    fields: dict[str, Any]
    texts: list[str]
    """Everything that the model reads: contents, reasoning, tool calls, tools and schema as JSON."""
    images: int
    messages: int

    def render(self, *, name: str, num_ctx: int | None, stream: bool) -> bytes:
        """The body.

        `truncate: false` makes Ollama refuse a prompt that is too long, rather than drop the middle of it unsaid.
        """
        options = dict(self.fields["options"])
        if num_ctx is not None:
            options["num_ctx"] = num_ctx
        return _encoder.encode({**self.fields, "model": name, "options": options, "stream": stream, "truncate": False})


def to_ollama(request: ChatRequest, *, can_think: bool = False) -> Prompt:
    """Translate a request.

    What Ollama has no word for is left out: `logit_bias`, `parallel_tool_calls`, `tool_choice: required`, `user` and
    fields that nobody knows.

    Raises:
        InvalidRequest: more than one choice; an image that is no data URL; content other than text and images.
    """
    params = request.params
    if params.n is not None and params.n > 1:
        raise InvalidRequest("Ollama models give one choice; leave `n` out.", param="n")
    texts: list[str] = []
    names: dict[str, str] = {}
    messages = []
    images = 0
    for index, raw in enumerate(params.messages):
        message = _decode(raw, index)
        translated = _message(message, index, names, texts)
        images += len(translated.get("images", ()))
        messages.append(translated)
    fields: dict[str, Any] = {"messages": messages, "options": options_of(request)}
    tools = _tools(request)
    if tools:
        fields["tools"] = tools
        texts.extend(str(tool, "utf-8") for tool in map(bytes, tools))
    wanted = params.response_format
    if wanted is not None and wanted.type != "text":
        described = _checked(_schema_decoder, wanted.json_schema, "response_format.json_schema")
        schema = b"null" if described is None else bytes(described.schema)
        fields["format"] = "json" if schema == b"null" else msgspec.Raw(schema)
        texts.append(str(schema, "utf-8"))
    think = request.fields.get("think")
    effort = request.fields.get("reasoning_effort")
    if think is not None:
        fields["think"] = think
    elif can_think and effort is not None and (level := EFFORTS.get(bytes(effort).decode().strip('"'))) is not None:
        fields["think"] = level
    for name in ("keep_alive", "logprobs", "top_logprobs"):
        if name in request.fields:
            fields[name] = request.fields[name]
    return Prompt(fields=fields, texts=texts, images=images, messages=len(messages))


def options_of(request: ChatRequest) -> dict[str, Any]:
    """The request's bounds and sampling as Ollama calls them, and what the caller put into `options` itself.

    Raises:
        InvalidRequest: `options` is no object.
    """
    params = request.params
    stop = [params.stop] if isinstance(params.stop, str) else params.stop
    options: dict[str, Any] = {
        "temperature": params.temperature,
        "top_p": params.top_p,
        "seed": params.seed,
        "stop": stop,
        "num_predict": request.max_output,
        "frequency_penalty": params.frequency_penalty,
        "presence_penalty": params.presence_penalty,
        **{name: request.fields[name] for name in PASSED_OPTIONS if name in request.fields},
    }
    options = {name: value for name, value in options.items() if value is not None}
    own = request.fields.get("options")
    if own is not None:
        options |= _checked(msgspec.json.Decoder(dict[str, Any]), own, "options")
    return options


def _tools(request: ChatRequest) -> list[msgspec.Raw]:
    """The tools that the model may call; Ollama cannot be told that it must."""
    choice = request.params.tool_choice
    tools = request.params.tools or []
    if choice == "none":
        return []
    if not isinstance(choice, Mapping):
        return tools
    wanted = _checked(_tool_decoder, _encoder.encode(choice), "tool_choice").function
    name = wanted.name if wanted is not None else None
    return [tool for tool in tools if _name(tool) == name] or tools


def _name(tool: msgspec.Raw) -> str | None:
    function = _checked(_tool_decoder, tool, "tools").function
    return function.name if function is not None else None


def _message(message: _Message, index: int, names: dict[str, str], texts: list[str]) -> dict[str, Any]:
    role = {"developer": "system", "function": "tool"}.get(message.role, message.role)
    content, images = _content(message, index)
    translated: dict[str, Any] = {"role": role, "content": content}
    texts.append(content)
    if images:
        translated["images"] = images
    if message.reasoning_content:
        translated["thinking"] = message.reasoning_content
        texts.append(message.reasoning_content)
    if message.tool_calls:
        translated["tool_calls"] = [_call(call, names, texts) for call in message.tool_calls]
    if role == "tool":
        name = message.name or names.get(message.tool_call_id or "")
        if name:
            translated["tool_name"] = name
        if message.tool_call_id:
            translated["tool_call_id"] = message.tool_call_id
    return translated


def _call(call: ToolCall, names: dict[str, str], texts: list[str]) -> dict[str, Any]:
    """A call of an earlier turn. Arguments that are no JSON object are kept as `{"arguments": TEXT}`."""
    name = call.function.name if call.function is not None else ""
    text = call.function.arguments if call.function is not None else ""
    try:
        arguments = msgspec.json.decode(text or "{}")
    except (msgspec.MsgspecError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        arguments = {"arguments": text}
    texts.append(text)
    translated: dict[str, Any] = {"function": {"name": name, "arguments": arguments}}
    if call.id:
        names[call.id] = name
        translated["id"] = call.id
    return translated


def _content(message: _Message, index: int) -> tuple[str, list[str]]:
    if not isinstance(message.content, list):
        return message.content or "", []
    texts: list[str] = []
    images: list[str] = []
    for part in message.content:
        if part.type == "image_url":
            images.append(_image(part.image_url, index))
        elif part.type in ("text", "refusal"):
            texts.append(part.text or part.refusal or "")
        else:
            raise InvalidRequest(
                f"Ollama models take text and images; a part of type {part.type[:50]!r} was given.",
                param=f"messages[{index}].content",
            )
    return "\n".join(texts), images


def _image(raw: msgspec.Raw, index: int) -> str:
    param = f"messages[{index}].content"
    given = _checked(_image_decoder, raw, param)
    url = given if isinstance(given, str) else given.url
    head, comma, data = url.partition(",")
    if not head.startswith("data:") or not head.endswith(";base64") or not comma:
        raise InvalidRequest("Ollama models take images only as base64 data URLs.", param=param)
    return data


def _decode(raw: msgspec.Raw, index: int) -> _Message:
    message: _Message = _checked(_message_decoder, raw, f"messages[{index}]")
    return message


def _checked(decoder: msgspec.json.Decoder[Any], raw: bytes | msgspec.Raw, param: str) -> Any:
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        named = invalid(error)
        named.param = param + (f".{named.param}" if named.param else "")
        raise named from None
