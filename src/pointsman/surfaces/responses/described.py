"""The Responses API in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pointsman.surfaces.schemas import Schema, json_body, ref


def paths() -> dict[str, Schema]:
    errors = json_body(ref("OpenAIError"), "What went wrong, in OpenAI's shape.")
    return {
        "/v1/responses": {
            "post": {
                "tags": ["Responses"],
                "operationId": "create_response",
                "summary": "Answer a conversation, in the words of OpenAI's Responses",
                "description": "As /v1/chat/completions. What has no form that models here can be given is a 400 that"
                " names it; `x-pointsman-dropped` names what the answer does without.",
                "requestBody": {"required": True, **json_body(ref("ResponsesRequest"))},
                "responses": {
                    "200": {
                        "description": "The answer: one object, or events when `stream` is true.",
                        "content": {
                            "application/json": {"schema": ref("Response")},
                            "text/event-stream": {"schema": ref("ResponseEvent")},
                        },
                    },
                    "4XX": errors,
                    "5XX": errors,
                },
            }
        }
    }


def components() -> dict[str, Schema]:
    return {
        "ResponsesRequest": _request(),
        "Response": _object(
            "A response: what was asked, as far as it matters later, and what was answered.",
            {
                "id": {"type": "string"},
                "object": {"const": "response"},
                "created_at": {"type": "integer", "description": "Seconds since the epoch."},
                "status": {"enum": ["completed", "incomplete", "failed", "in_progress"]},
                "model": {"type": "string"},
                "output": {"type": "array", "items": ref("ResponseItem")},
                "store": {"type": "boolean", "description": "Whether it is kept, and can be continued."},
                "usage": {"type": ["object", "null"], "additionalProperties": True},
            },
            ("id", "object", "created_at", "status", "model", "output", "store"),
        ),
        "ResponseItem": _object(
            "An item of a conversation.",
            {"type": {"type": "string", "description": "`message`, `reasoning`, `function_call`, …"}},
            ("type",),
        ),
        "ResponseEvent": _object(
            "A piece of a streamed answer; `response.completed`, `.incomplete` or `.failed` is the last.",
            {"type": {"type": "string"}, "sequence_number": {"type": "integer"}},
            ("type", "sequence_number"),
        ),
        "ResponseItems": _object(
            "A page of items.",
            {
                "object": {"const": "list"},
                "data": {"type": "array", "items": ref("ResponseItem")},
                "first_id": {"type": "string"},
                "last_id": {"type": "string"},
                "has_more": {"type": "boolean"},
            },
            ("object", "data", "first_id", "last_id", "has_more"),
        ),
        "DeletedResponse": _object(
            "A response that is gone.",
            {"id": {"type": "string"}, "object": {"const": "response"}, "deleted": {"const": True}},
            ("id", "object", "deleted"),
        ),
    }


def _request() -> Schema:
    text = {"type": ["string", "null"]}
    loose: Schema = {"type": "object", "additionalProperties": True}
    described = _object(
        "OpenAI's Responses body. Fields that are not listed here are passed on to the model as they are.",
        {
            "model": {"type": "string", "default": "auto", "description": "As in /v1/chat/completions."},
            "input": {"anyOf": [{"type": "string"}, {"type": "array", "items": loose}]},
            "instructions": text,
            "previous_response_id": text,
            "store": {"type": ["boolean", "null"], "description": "Private requests are never stored."},
            "stream": {"type": ["boolean", "null"]},
            "tools": {"type": ["array", "null"], "items": loose},
            "tool_choice": {"anyOf": [{"enum": ["none", "auto", "required"]}, loose]},
            "parallel_tool_calls": {"type": ["boolean", "null"]},
            "text": loose,
            "reasoning": loose,
            "include": {"type": ["array", "null"], "items": {"type": "string"}},
            "max_output_tokens": {"type": ["integer", "null"], "minimum": 1},
            "temperature": {"type": ["number", "null"]},
            "top_p": {"type": ["number", "null"]},
            "top_logprobs": {"type": ["integer", "null"]},
            "metadata": {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
            "truncation": {"enum": ["auto", "disabled", None]},
            "routing_preferences": ref("RoutingPreferences"),
        },
        (),
    )
    return {**described, "anyOf": [{"required": [name]} for name in ("input", "previous_response_id")]}


def _object(description: str, properties: dict[str, Any], required: tuple[str, ...]) -> Schema:
    return {
        "description": description,
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": True,
    }
