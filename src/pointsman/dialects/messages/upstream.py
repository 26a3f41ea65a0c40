"""A chat request as Anthropic's `/v1/messages` wants it.

The inner form keeps what only Messages has as extension fields (`cache_control`, `thinking_blocks`, `is_error`, blocks
of types that OpenAI does not have, top-level fields by their own names); here they go back to where they came from.
What stands for nothing on the way out, because it is a label of OpenAI's or repeats an earlier answer, is left out:
`LABELS`, a message's `name`, `reasoning_content` without its signature, an image's `detail`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Raw

from pointsman.core.errors import UpstreamLacks
from pointsman.core.request import NOTHING, OWN_FIELDS, ChatRequest, invalid
from pointsman.dialects.ollama.only import ollama_only

from .blocks import Turns
from .tools import tool_choice_of, tools_of

DEFAULT_MAX_TOKENS = 8192
"""Where neither the caller nor the model's card bounds the answer: Messages wants a bound, and refuses one that is
larger than the model's own."""
LEAST_BUDGET = 1024
"""Tokens; the API refuses a smaller one."""
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 24_576, "max": 31_999}
"""`reasoning_effort` → `budget_tokens`, for models that think by a budget: judgement, no figures of the API's."""
NEAREST: Mapping[str, tuple[str, ...]] = {
    "minimal": ("low",),
    "low": ("low",),
    "medium": ("medium",),
    "high": ("high",),
    "xhigh": ("xhigh", "max", "high"),
    "max": ("max", "xhigh", "high"),
}
"""`reasoning_effort` → `output_config.effort`: the first of these that the model knows."""

LABELS = frozenset(
    {
        *("store", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "stream_options", "user"),
        *("responses_only", *OWN_FIELDS),
    }
)
"""Fields of OpenAI's that change nothing of an answer and have no word here; `user` becomes `metadata.user_id`."""
TRANSLATED = frozenset(
    {
        *("messages", "model", "max_tokens", "max_completion_tokens", "stop", "stop_sequences", "tools", "tool_choice"),
        *("parallel_tool_calls", "response_format", "reasoning_effort", "output_config", "metadata", "service_tier"),
        *("system", "n", "logprobs", "top_logprobs", "logit_bias", "seed", "frequency_penalty", "presence_penalty"),
        *("modalities", "functions", "function_call", "verbosity"),
        "thread",
    }
)
"""Fields that are written anew here, or that `Preset.unsupported` names; and `thread`, which names a conversation kept
there, another caller's perhaps. Every other one keeps its name and bytes: it is Anthropic's own, or the API names it in
its refusal."""


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes."""

    thinking: Literal["none", "budget", "adaptive"] = "adaptive"
    efforts: frozenset[str] = frozenset({"low", "medium", "high", "xhigh", "max"})
    system_turns: bool = True
    """Whether it takes system messages in the middle of a conversation."""
    prefill: bool = False
    """Whether it goes on with a last message of the assistant's."""


class _JsonSchema(msgspec.Struct):
    schema: Raw = NOTHING


_object_decoder = msgspec.json.Decoder(dict[str, Raw])
_any_decoder = msgspec.json.Decoder()
_schema_decoder = msgspec.json.Decoder(_JsonSchema | None)
_encoder = msgspec.json.Encoder()
ANY_MODEL = Abilities()


def to_messages(
    request: ChatRequest,
    *,
    model: str,
    max_output: int | None = None,
    abilities: Abilities = ANY_MODEL,
    dropped: Collection[str] = (),
) -> bytes:
    """Translate a request.

    Args:
        model: the name that the upstream knows.
        max_output: the model's longest answer in tokens; None when it is not known.
        abilities: what the model takes.
        dropped: further fields to leave out.

    Raises:
        InvalidRequest: a field is not of the shape that OpenAI's API has.
        UpstreamLacks: it holds what Messages has no word for.
    """
    params, fields = request.params, request.fields
    turns = Turns(system_turns=abilities.system_turns)
    for index, raw in enumerate(params.messages):
        turns.add(raw, index)
    system, messages = turns.done()
    longest = request.max_output or max_output or DEFAULT_MAX_TOKENS
    body: dict[str, Any] = {"model": model, "max_tokens": longest, "messages": messages}
    if system is not None:
        body["system"] = system
    left_out = {*TRANSLATED, *LABELS, *dropped, *ollama_only(request)}
    body |= {name: raw for name, raw in fields.items() if name not in left_out and bytes(raw) != b"null"}
    tools = tools_of(params.tools or ())
    if tools:
        body["tools"] = tools
        choice = tool_choice_of(params.tool_choice, parallel=params.parallel_tool_calls)
        if choice is not None:
            body["tool_choice"] = choice
    stops = _stops(request)
    if stops is not None:
        body["stop_sequences"] = stops
    _output(request, body, abilities, longest)
    _who(request, body)
    return _encoder.encode(body)


def _stops(request: ChatRequest) -> Any:
    stop = request.params.stop
    if stop is None:
        raw = request.fields.get("stop_sequences", NOTHING)
        return None if bytes(raw) == b"null" else raw
    return [stop] if isinstance(stop, str) else stop or None


def _output(request: ChatRequest, body: dict[str, Any], abilities: Abilities, longest: int) -> None:
    """The answer's form, and how much is thought about it. What the caller said in Anthropic's words goes first."""
    config: dict[str, Any] = dict(_object(request, "output_config"))
    wanted = request.params.response_format
    if wanted is not None and wanted.type == "json_schema" and "format" not in config:
        try:
            described = _schema_decoder.decode(wanted.json_schema)
        except msgspec.MsgspecError as error:
            raise invalid(error, "response_format.json_schema.") from None
        if described is not None and bytes(described.schema) != b"null":
            config["format"] = {"type": "json_schema", "schema": described.schema}
    elif wanted is not None and wanted.type == "json_object":
        raise UpstreamLacks("response_format", "has no `json_object`; give a schema (`json_schema`)")
    effort = _word(request, "reasoning_effort")
    if effort is not None and "thinking" not in body:
        thinking = _thinking(effort, abilities, longest)
        if thinking is not None:
            body["thinking"] = thinking
    if effort is not None and effort in NEAREST and "effort" not in config:
        known = next((word for word in NEAREST[effort] if word in abilities.efforts), None)
        if known is not None:
            config["effort"] = known
    if config:
        body["output_config"] = config


def _thinking(effort: str, abilities: Abilities, longest: int) -> dict[str, Any] | None:
    if abilities.thinking == "none":
        return None
    if effort == "none":
        return {"type": "disabled"}
    if effort not in BUDGETS:
        raise UpstreamLacks("reasoning_effort", "knows no such effort")
    if abilities.thinking == "adaptive":
        return {"type": "adaptive"}
    budget = min(BUDGETS[effort], longest - 1)  # it is part of the answer's bound and must be less
    return {"type": "enabled", "budget_tokens": budget} if budget >= LEAST_BUDGET else None


def _who(request: ChatRequest, body: dict[str, Any]) -> None:
    """`metadata`, which both have and mean different things by, and the tier of service."""
    metadata = _object(request, "metadata")
    if set(metadata) == {"user_id"}:
        body["metadata"] = metadata
    elif request.params.user:
        body["metadata"] = {"user_id": request.params.user}
    tier = _word(request, "service_tier")
    if tier in ("auto", "standard_only"):
        body["service_tier"] = tier
    elif tier == "default":
        body["service_tier"] = "standard_only"
    elif tier is not None:
        raise UpstreamLacks("service_tier", "has the tiers `auto` and `default` only")


def _object(request: ChatRequest, name: str) -> Mapping[str, Raw]:
    raw = request.fields.get(name, NOTHING)
    if bytes(raw) == b"null":
        return {}
    try:
        found: dict[str, Raw] = _object_decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise invalid(error, f"{name}.") from None
    return found


def _word(request: ChatRequest, name: str) -> str | None:
    value = _any_decoder.decode(request.fields.get(name, NOTHING))
    if value is not None and not isinstance(value, str):
        raise UpstreamLacks(name, "takes a word there")
    return value
