"""JSON schemas for the OpenAPI document, made from the types that read and write the bodies, so that they agree."""

from __future__ import annotations

import importlib
import types
import typing
from functools import cache
from typing import Any, Protocol, cast

import msgspec

from pointsman.core.decision import Decision
from pointsman.core.outcome import Feedback, Outcome
from pointsman.core.request import ChatParams, Message
from pointsman.pipeline.record import FeedbackRequest
from pointsman.pipeline.record.feedback import PARTS

TEMPLATE = "#/components/schemas/{name}"

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    return {"$ref": TEMPLATE.format(name=name)}


def json_body(schema: Schema, description: str = "") -> Schema:
    """An OpenAPI body (of a request or a response) of one schema."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


@cache
def components() -> dict[str, Schema]:
    """Every schema that is not one of FastAPI's own, by name."""
    kinds = (_describable(ChatParams), _describable(Message), Decision, Outcome, Feedback, FeedbackRequest)
    _, found = msgspec.json.schema_components(kinds, ref_template=TEMPLATE)
    chat = found.pop("ChatParams")
    found["ChatCompletionRequest"] = chat
    _complete_chat(chat)
    found["FeedbackRequest"]["anyOf"] = [{"required": [name]} for name in PARTS]
    found["LoggedDecision"] = _decision_with(
        "A decision as it stands in the log.",
        outcome={"anyOf": [ref("Outcome"), {"type": "null"}], "description": "Null until the request has ended."},
        feedback={"anyOf": [ref("Feedback"), {"type": "null"}]},
    )
    found["DryRunDecision"] = _decision_with(
        "The decision that a request would get now. Nothing was called and nothing was logged.",
        dry_run={"const": True},
    )
    return {
        **found,
        **ANSWERS,
        **ERRORS,
        **{name: schema for each in _described() for name, schema in each.components().items()},
    }


@cache
def _describable(kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """A struct's twin in which a field with a default of `Raw` may hold anything: msgspec's schemas cannot say that."""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(kind):
        name, twin = field.encode_name, _describable_type(field.type)
        if isinstance(field.default, msgspec.Raw):
            fields.append((name, Any, None))
        elif field.default is not msgspec.NODEFAULT:
            fields.append((name, twin, field.default))
        elif field.default_factory is not msgspec.NODEFAULT:
            fields.append((name, twin, msgspec.field(default_factory=field.default_factory)))
        else:
            fields.append((name, twin))
    return msgspec.defstruct(
        kind.__name__,
        fields,
        namespace={"__doc__": kind.__doc__},
        kw_only=True,
        forbid_unknown_fields=kind.__struct_config__.forbid_unknown_fields,
    )


def _describable_type(annotation: Any) -> Any:
    """A type with every struct in it replaced by its twin."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return _describable(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None or origin is typing.Literal:
        return annotation
    twins = tuple(_describable_type(argument) for argument in arguments)
    return typing.Union[twins] if origin in (typing.Union, types.UnionType) else origin[twins]  # noqa: UP007


def _decision_with(description: str, **properties: Schema) -> Schema:
    added = {"type": "object", "properties": properties, "required": list(properties)}
    return {"description": description, "allOf": [ref("Decision"), added]}


def _complete_chat(chat: Schema) -> None:
    """What the parser checks beyond types, and what the type does not say."""
    chat["title"] = "ChatCompletionRequest"
    chat["description"] = "OpenAI's chat body. Fields that are not listed here are passed on to the model as they are."
    chat["additionalProperties"] = True
    properties = chat["properties"]
    properties["messages"] |= {"items": ref("Message"), "minItems": 1}
    properties["model"]["description"] = (
        "`auto` routes; `provider:model` forces that model; a known model's name or an alias resolves to it."
    )
    for name, low, high in (("n", 1, 128), ("max_tokens", 1, None), ("max_completion_tokens", 1, None)):
        number = properties[name]["anyOf"][0]
        number["minimum"] = low
        if high is not None:
            number["maximum"] = high
    properties["tools"]["anyOf"][0]["items"] = {"type": "object"}
    properties["routing_preferences"]["description"] = "For the router alone; never sent to a model."
    properties["auth_override"] = {
        "type": ["object", "null"],
        "additionalProperties": {"type": ["string", "null"]},
        "description": "The caller's own keys (`openai_api_key`, `openai_org_id`, …), where the settings allow them.",
    }


_TEXT = {"type": ["string", "null"]}
_USAGE: Schema = {
    "type": ["object", "null"],
    "properties": {name: {"type": "integer"} for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
}
_TOOL_CALLS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "index": {"type": "integer", "description": "In chunks alone."},
            "id": _TEXT,
            "type": {"const": "function"},
            "function": {"type": "object", "properties": {"name": _TEXT, "arguments": _TEXT}},
        },
    },
}


def _answer(kind: str, part: str, description: str) -> Schema:
    said: Schema = {
        "type": "object",
        "properties": {"role": _TEXT, "content": _TEXT, "tool_calls": _TOOL_CALLS},
    }
    choice: Schema = {
        "type": "object",
        "properties": {
            "index": {"type": "integer"},
            part: said,
            "logprobs": {"type": ["object", "null"]},
            "finish_reason": {
                **_TEXT,
                "description": "`stop`, `length`, `tool_calls` or `content_filter`.",
            },
        },
        "required": ["index", part],
    }
    return {
        "title": description.partition(".")[0],
        "description": description,
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "object": {"const": kind},
            "created": {"type": "integer"},
            "model": {"type": "string"},
            "choices": {"type": "array", "items": choice},
            "usage": _USAGE,
        },
        "required": ["id", "object", "created", "model", "choices"],
        "additionalProperties": True,
    }


ANSWERS: dict[str, Schema] = {
    "ChatCompletion": _answer("chat.completion", "message", "A whole answer. Upstreams may add fields."),
    "ChatCompletionChunk": _answer(
        "chat.completion.chunk",
        "delta",
        "A piece of a streamed answer. Each is one server-sent event; `data: [DONE]` ends the stream.",
    ),
}

ERRORS: dict[str, Schema] = {
    "OpenAIError": {
        "title": "OpenAIError",
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {"message": {"type": "string"}, "type": _TEXT, "param": _TEXT, "code": _TEXT},
                "required": ["message", "type", "param", "code"],
            }
        },
        "required": ["error"],
    },
    "GatewayError": {
        "title": "GatewayError",
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "code": {
                        "enum": [
                            "provider_error", "validation_error", "system_error", "auth_error", "rate_limit_exceeded",
                        ]
                    },
                    "message": {"type": "string"},
                    "details": {
                        "type": "object",
                        "properties": {
                            "reason": _TEXT,
                            "param": _TEXT,
                            **{name: {"type": "integer"} for name in ("limit", "remaining")},
                            **{name: {"type": "string"} for name in ("tier", "reset_at", "provider")},
                            "usage_statistics": {"type": "object", "additionalProperties": {"type": "object"}},
                        },
                        "required": ["reason", "param"],
                        "description": "`reason` is the finer code that `/v1` sends; `param` names the field. Of a"
                        " limit that is reached: `tier`, `limit`, `remaining`, `reset_at` (UTC) and"
                        " `usage_statistics`; of a provider's: `provider`.",
                    },
                    "remediation": {
                        "type": "object",
                        "properties": {
                            "retry_after": {"type": ["number", "null"], "description": "Seconds."},
                            "alternatives": {
                                "type": "array",
                                "items": {"type": "string"},
                                "description": "Names of models that could be asked instead.",
                            },
                            "fallback_available": {"type": "boolean"},
                        },
                        "required": ["retry_after", "alternatives", "fallback_available"],
                    },
                },
                "required": ["code", "message", "details", "remediation"],
            }
        },
        "required": ["error"],
    },
}  # fmt: skip


class Described(Protocol):
    """A module that describes a dialect's endpoints on the data plane."""

    def paths(self) -> dict[str, Schema]: ...

    def components(self) -> dict[str, Schema]: ...


DESCRIBED: tuple[str, ...] = (
    "pointsman.surfaces.anthropic.described",
    "pointsman.surfaces.native.described",
    "pointsman.surfaces.ollama.described",
    "pointsman.surfaces.openai.described",
    "pointsman.surfaces.responses.described",
)
"""One module a dialect beside OpenAI's chat; each uses this one, so they are imported by name."""


def _described() -> list[Described]:
    return [cast(Described, importlib.import_module(name)) for name in DESCRIBED]


def hot_paths(error: Schema) -> dict[str, Schema]:
    """The operations that the data plane answers itself.

    Args:
        error: the response that tells of errors in OpenAI's shape.
    """
    others = {path: operations for each in _described() for path, operations in each.paths().items()}
    return {**_chat_and_health(error), **others}


def _chat_and_health(error: Schema) -> dict[str, Schema]:
    text = {"schema": {"type": "string"}}
    return {
        "/v1/chat/completions": {
            "post": {
                "tags": ["OpenAI"],
                "operationId": "create_chat_completion",
                "summary": "Answer a chat",
                "description": "The request goes to the cheapest model that will do, and private content stays on"
                " this machine. The answer's headers name the decision: `x-pointsman-decision`, `-model`,"
                " `-provider`, `-intent`, `-reason`, `-estimated-cost-usd`.",
                "parameters": [
                    {
                        "name": name,
                        "in": "header",
                        "required": False,
                        "schema": {"enum": choices},
                        "description": description,
                    }
                    for name, choices, description in (
                        (
                            "x-pointsman-privacy",
                            ["standard", "high", "max"],
                            "What stays on this machine: secrets and identities; everything private; everything.",
                        ),
                        (
                            "x-pointsman-priority",
                            ["balanced", "speed", "quality", "privacy", "cost"],
                            "What matters most when several models will do.",
                        ),
                    )
                ],
                "requestBody": {"required": True, **json_body(ref("ChatCompletionRequest"))},
                "responses": {
                    "200": {
                        "description": "The answer: one object, or events when `stream` is true.",
                        "headers": {"x-pointsman-decision": text, "x-pointsman-model": text},
                        "content": {
                            "application/json": {"schema": ref("ChatCompletion")},
                            "text/event-stream": {"schema": ref("ChatCompletionChunk")},
                        },
                    },
                    "4XX": error,
                    "5XX": error,
                },
            }
        },
        "/api/health": {
            "get": {
                "tags": ["Health"],
                "operationId": "liveness",
                "summary": "Tell that the gateway lives",
                "description": "Asks nothing else and needs no key.",
                "responses": {
                    "200": json_body({"type": "object", "properties": {"status": {"const": "ok"}}}, "It does.")
                },
            }
        },
        "/ready": {
            "get": {
                "tags": ["Health"],
                "operationId": "readiness",
                "summary": "Tell whether the gateway wants requests",
                "description": "Asks nothing else and needs no key. A gateway that was told to stop wants none.",
                "responses": {
                    "200": json_body({"type": "object", "properties": {"status": {"const": "ok"}}}, "It does."),
                    "503": json_body(
                        {"type": "object", "properties": {"status": {"const": "stopping"}}}, "It is stopping."
                    ),
                },
            }
        },
    }
