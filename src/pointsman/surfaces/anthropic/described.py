"""The Messages API in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pointsman.surfaces.schemas import Schema, json_body, ref


def paths() -> dict[str, Schema]:
    errors = {
        status: {
            "description": "What went wrong.",
            "content": {"application/json": {"schema": ref("AnthropicError")}},
        }
        for status in ("4XX", "5XX")
    }
    return {
        "/v1/messages": {
            "post": {
                "tags": ["Anthropic"],
                "operationId": "create_message",
                "summary": "Answer a conversation, in Anthropic's words",
                "description": "As /v1/chat/completions; `x-api-key` and a bearer token both do.",
                "requestBody": {"required": True, **json_body(ref("MessagesRequest"))},
                "responses": {
                    "200": {
                        "description": "The answer: one object, or events when `stream` is true.",
                        "content": {
                            "application/json": {"schema": ref("MessagesAnswer")},
                            "text/event-stream": {"schema": ref("MessagesEvent")},
                        },
                    },
                    **errors,
                },
            }
        },
        "/v1/messages/count_tokens": {
            "post": {
                "tags": ["Anthropic"],
                "operationId": "count_message_tokens",
                "summary": "Estimate how many tokens a prompt has",
                "description": "No model is asked, and nothing is logged.",
                "requestBody": {"required": True, **json_body(ref("MessagesPrompt"))},
                "responses": {
                    "200": json_body(
                        {
                            "type": "object",
                            "properties": {"input_tokens": {"type": "integer"}},
                            "required": ["input_tokens"],
                        },
                        "The estimate.",
                    ),
                    **errors,
                },
            }
        },
    }


_BLOCKS: Schema = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"type": {"type": "string", "description": "`text`, `image`, `tool_use`, …"}},
                "required": ["type"],
                "additionalProperties": True,
            },
        },
    ]
}


def _prompt() -> dict[str, Any]:
    return {
        "model": {"type": "string", "default": "auto", "description": "As in /v1/chat/completions."},
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {"role": {"enum": ["user", "assistant", "system"]}, "content": _BLOCKS},
                "required": ["role", "content"],
            },
        },
        "system": _BLOCKS,
        "tools": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
        "tool_choice": {
            "type": "object",
            "properties": {
                "type": {"enum": ["auto", "any", "tool", "none"]},
                "name": {"type": "string"},
                "disable_parallel_tool_use": {"type": "boolean"},
            },
            "required": ["type"],
        },
        "thinking": {"type": "object", "additionalProperties": True},
        "output_config": {"type": "object", "additionalProperties": True},
    }


def components() -> dict[str, Schema]:
    text = {"type": ["string", "null"]}
    request = _prompt() | {
        "max_tokens": {"type": "integer", "minimum": 1},
        "stream": {"type": "boolean"},
        "stop_sequences": {"type": "array", "items": {"type": "string"}},
        "temperature": {"type": "number"},
        "top_p": {"type": "number"},
        "top_k": {"type": "integer"},
        "metadata": {"type": "object", "additionalProperties": True},
        "routing_preferences": ref("RoutingPreferences"),
    }
    usage = {
        "type": "object",
        "properties": {
            name: {"type": "integer"}
            for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        },
    }
    return {
        "MessagesRequest": _object(
            "MessagesRequest",
            "Anthropic's Messages body. Fields that are not listed are passed on to an upstream that speaks it.",
            request,
            ("max_tokens", "messages"),
        ),
        "MessagesPrompt": _object(
            "MessagesPrompt", "A Messages body, of which the prompt counts.", _prompt(), ("messages",)
        ),
        "MessagesAnswer": _object(
            "MessagesAnswer",
            "A whole answer.",
            {
                "id": {"type": "string"},
                "type": {"const": "message"},
                "role": {"const": "assistant"},
                "model": {"type": "string"},
                "content": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
                "stop_reason": text,
                "stop_sequence": text,
                "usage": usage,
            },
            ("id", "type", "role", "model", "content", "stop_reason", "usage"),
        ),
        "MessagesEvent": _object(
            "MessagesEvent",
            "The data of one server-sent event, which is named as its `type`; `message_stop` ends the stream.",
            {"type": {"type": "string"}},
            ("type",),
        ),
        "AnthropicError": _object(
            "AnthropicError",
            "An error in Anthropic's shape.",
            {
                "type": {"const": "error"},
                "error": {
                    "type": "object",
                    "properties": {
                        "type": {"type": "string"},
                        "message": {"type": "string"},
                        "details": {"type": "object", "properties": {"error_code": {"type": "string"}, "param": text}},
                    },
                    "required": ["type", "message"],
                },
                "request_id": {"type": "string"},
            },
            ("type", "error", "request_id"),
        ),
    }


def _object(title: str, description: str, properties: dict[str, Any], required: tuple[str, ...]) -> Schema:
    return {
        "title": title,
        "description": description,
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": True,
    }
