"""The fields of a Responses body beside its input and tools: what each is in chat, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Raw

from pointsman.core.request import NOTHING, decode_body

from .parts import wrong

LOGPROBS = "message.output_text.logprobs"
ONLY = "responses_only"
"""The field of the inner form that holds what chat has no word for: `include`, `reasoning`, `truncation`,
`max_tool_calls`. An upstream that speaks Responses is told it, others are not."""
INCLUDES = frozenset(
    {
        LOGPROBS,
        "reasoning.encrypted_content",
        "message.input_image.image_url",
        "web_search_call.action.sources",
        "web_search_call.results",
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
        "file_search_call.results",
    }
)
"""Most tell of tools that run at OpenAI alone; where no such tool runs, they tell of nothing."""

REFUSED = {
    "conversation": "conversations are not kept here; send `previous_response_id`, or all of it as `input`",
    "prompt": "no prompts are kept here; send its text as `instructions` or `input`",
    "context_management": "conversations are not compacted here",
    "background_options": "answers are not made in the background here",
    "access_programs": "there are none here",
    "image": "images are given to models as they come",
    ONLY: "it is a name of the gateway's own",
}
CALLED_OTHERWISE = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
    "functions": "tools",
    "function_call": "tool_choice",
    "logprobs": "include",
}
"""Fields of chat whose place is elsewhere in Responses."""


class Asked(msgspec.Struct):
    """The fields of a Responses body that are read here, checked for type. Others pass through as they came."""

    model: str = "auto"
    input: str | list[Any] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    include: list[str] | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    metadata: dict[str, str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    background: bool | None = None
    stream_options: dict[str, Any] | None = None
    client_metadata: Any = None
    user: str | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    n: int | None = None


PASSED = ("temperature", "top_p", "top_logprobs", "metadata", "user", "prompt_cache_key", "safety_identifier",
          "service_tier", "model")  # fmt: skip
"""Of these, the ones that chat has too."""

_READ = frozenset(field.name for field in msgspec.structs.fields(Asked)) - set(PASSED)
_asked_decoder = msgspec.json.Decoder(Asked)


def read_fields(body: bytes) -> tuple[Asked, dict[str, Raw]]:
    """A body's fields as they are read here, and those that pass through.

    Raises:
        InvalidRequest: not JSON, not an object, a field of a wrong type, or one that cannot be had here.
    """
    fields, asked = decode_body(body, "input", _asked_decoder)
    _refuse(asked, fields)
    return asked, {name: raw for name, raw in fields.items() if name not in _READ and name not in REFUSED}


def inner_fields(asked: Asked) -> tuple[dict[str, Any], list[str], list[str]]:
    """What the fields say, in chat's words; what of them nothing here can do; and what else chat cannot.

    Raises:
        InvalidRequest: a field that cannot be had here.
    """
    inner: dict[str, Any] = {}
    only: dict[str, Any] = {}
    dropped: list[str] = []
    in_chat: list[str] = []
    if asked.stream is not None:
        inner["stream"] = asked.stream
    if asked.stream:
        inner["stream_options"] = {"include_usage": True}
    if asked.max_output_tokens is not None:
        inner["max_completion_tokens"] = asked.max_output_tokens
    if LOGPROBS in (asked.include or ()) or asked.top_logprobs:
        inner["logprobs"] = True
    _text(asked.text or {}, inner)
    thoughts = _reasoning(asked.reasoning or {}, inner, in_chat)
    if thoughts:
        only["reasoning"] = thoughts
    if asked.include:
        only["include"] = asked.include
    if asked.max_tool_calls is not None:
        only["max_tool_calls"] = asked.max_tool_calls
    if asked.truncation == "auto":
        only["truncation"] = "auto"
        in_chat.append("truncation")
    if only:
        inner[ONLY] = only
    if asked.client_metadata is not None:
        dropped.append("client_metadata")
    for name, value in (asked.stream_options or {}).items():
        if name != "include_obfuscation":
            raise wrong("stream_options", "`include_obfuscation` is what it may hold")
        if value:
            dropped.append("stream_options.include_obfuscation")
    return inner, dropped, in_chat


def _refuse(asked: Asked, fields: Mapping[str, Raw]) -> None:
    for name, reason in REFUSED.items():
        if bytes(fields.get(name, NOTHING)) not in (b"null", b"[]"):
            raise wrong(name, reason)
    for name, right in CALLED_OTHERWISE.items():
        if name in fields:
            raise wrong(name, f"in this API it is called `{right}`")
    if asked.background:
        raise wrong("background", "answers are not made in the background here")
    if asked.n not in (None, 1):
        raise wrong("n", "there is one answer in this API")
    if asked.input is None and asked.previous_response_id is None:
        raise wrong("input", "it is missing")
    for index, name in enumerate(asked.include or ()):
        if name not in INCLUDES:
            raise wrong(f"include[{index}]", "there is no such choice")
    if asked.max_output_tokens is not None and asked.max_output_tokens < 1:
        raise wrong("max_output_tokens", f"{asked.max_output_tokens} given, at least 1 expected")


def _text(text: Mapping[str, Any], inner: dict[str, Any]) -> None:
    for name, value in text.items():
        if name == "verbosity":
            if value is not None:
                inner["verbosity"] = value
        elif name == "format":
            form = _format(value)
            if form is not None:
                inner["response_format"] = form
        else:
            raise wrong("text", "`format` and `verbosity` are what it may hold")


def _format(form: Any) -> dict[str, Any] | None:
    kind = form.get("type") if isinstance(form, dict) else None
    if form is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": "json_object"}
    if kind != "json_schema":
        raise wrong("text.format.type", "`text`, `json_object` or `json_schema` is expected")
    if not isinstance(form.get("name"), str) or not isinstance(form.get("schema"), dict):
        raise wrong("text.format", "a `name` and a `schema` are needed")
    return {"type": kind, kind: {name: value for name, value in form.items() if name != "type"}}


def _reasoning(reasoning: Mapping[str, Any], inner: dict[str, Any], in_chat: list[str]) -> dict[str, Any]:
    """What is asked of the reasoning and chat has no word for."""
    only: dict[str, Any] = {}
    for name, value in reasoning.items():
        if value is None:
            continue
        if name == "effort":
            inner["reasoning_effort"] = value
        elif name in ("summary", "generate_summary", "context"):
            only[name] = value
            in_chat.append(f"reasoning.{name}")  # what is told of the reasoning is given whole
        elif name != "mode" or value != "standard":
            raise wrong("reasoning", "`effort`, `summary` and `context` are what it may hold")
    return only
