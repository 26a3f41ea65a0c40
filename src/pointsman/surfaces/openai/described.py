"""How the OpenAPI document tells of `/v1/completions` and `/v1/embeddings`."""

from __future__ import annotations

from pointsman.surfaces.schemas import Schema, json_body, ref

_NUMBER: Schema = {"type": ["number", "null"]}
_COUNT: Schema = {"type": ["integer", "null"], "minimum": 1}
_USAGE: Schema = {
    "type": ["object", "null"],
    "properties": {name: {"type": "integer"} for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
}


def paths() -> dict[str, Schema]:
    """The operations, by path."""
    error = json_body(ref("OpenAIError"), "An error.")
    return {
        "/v1/completions": {
            "post": {
                "tags": ["OpenAI"],
                "operationId": "create_completion",
                "summary": "Go on with a text, or fill a gap in one",
                "description": "With `suffix`, a model that fills in the middle is asked. A model that completes plain"
                " text is asked for just that; `auto` without a suffix, and models that only chat, get the prompt as a"
                " user's message.",
                "requestBody": {"required": True, **json_body(ref("CompletionRequest"))},
                "responses": {
                    "200": {
                        "description": "The completion: one object, or events when `stream` is true.",
                        "content": {
                            "application/json": {"schema": ref("Completion")},
                            "text/event-stream": {"schema": ref("Completion")},
                        },
                    },
                    "4XX": error,
                    "5XX": error,
                },
            }
        },
        "/v1/embeddings": {
            "post": {
                "tags": ["OpenAI"],
                "operationId": "create_embeddings",
                "summary": "Vectors of texts",
                "description": "By the named model and no other: vectors of two models cannot be compared. Without a"
                " model, and for `auto`, by `routing.embedding_model`.",
                "requestBody": {"required": True, **json_body(ref("EmbeddingsRequest"))},
                "responses": {"200": json_body(ref("Embeddings"), "The vectors."), "4XX": error, "5XX": error},
            }
        },
    }


def components() -> dict[str, Schema]:
    """The schemas, by name."""
    text: Schema = {"type": "string"}
    texts: Schema = {"type": "array", "items": text, "minItems": 1}
    ids: Schema = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
    numbers: Schema = {"type": "array", "items": {"type": "number"}}
    return {
        "CompletionRequest": {
            "title": "CompletionRequest",
            "type": "object",
            "properties": {
                "model": {"type": "string", "default": "auto"},
                "prompt": {"anyOf": [text, {**texts, "maxItems": 128}]},
                "suffix": {"type": ["string", "null"], "description": "What stands behind the gap."},
                "max_tokens": {**_COUNT, "description": "16 unless it is given."},
                "n": {**_COUNT, "maximum": 128},
                "logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
                "temperature": _NUMBER,
                "top_p": _NUMBER,
                "frequency_penalty": _NUMBER,
                "presence_penalty": _NUMBER,
                "seed": {"type": ["integer", "null"]},
                "stop": {"anyOf": [text, {"type": "array", "items": text}, {"type": "null"}]},
                "stream": {"type": ["boolean", "null"]},
                "stream_options": {
                    "type": ["object", "null"],
                    "properties": {"include_usage": {"type": ["boolean", "null"]}},
                },
                "user": {"type": ["string", "null"]},
            },
            "required": ["prompt"],
            "additionalProperties": True,
        },
        "Completion": {
            "title": "Completion",
            "description": "A whole completion, or a piece of a streamed one.",
            "type": "object",
            "properties": {
                "id": text,
                "object": {"const": "text_completion"},
                "created": {"type": "integer"},
                "model": text,
                "choices": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "index": {"type": "integer"},
                            "text": text,
                            "logprobs": {"type": ["object", "null"]},
                            "finish_reason": {"type": ["string", "null"]},
                        },
                        "required": ["index", "text"],
                    },
                },
                "usage": _USAGE,
            },
            "required": ["id", "object", "created", "model", "choices"],
            "additionalProperties": True,
        },
        "EmbeddingsRequest": {
            "title": "EmbeddingsRequest",
            "type": "object",
            "properties": {
                "model": {"type": "string", "default": "auto"},
                "input": {
                    "anyOf": [text, {**texts, "maxItems": 2048}, ids, {"type": "array", "items": ids}],
                    "description": "Texts; token ids are read as cl100k_base.",
                },
                "dimensions": {**_COUNT, "description": "Fewer than the model's, where it can be cut."},
                "encoding_format": {"enum": ["float", "base64", None]},
                "user": {"type": ["string", "null"]},
            },
            "required": ["input"],
            "additionalProperties": True,
        },
        "Embeddings": {
            "title": "Embeddings",
            "type": "object",
            "properties": {
                "object": {"const": "list"},
                "model": text,
                "data": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "object": {"const": "embedding"},
                            "index": {"type": "integer"},
                            "embedding": {
                                "anyOf": [numbers, {**text, "description": "Little-endian float32 in base64."}]
                            },
                        },
                        "required": ["object", "index", "embedding"],
                    },
                },
                "usage": {
                    "type": "object",
                    "properties": {name: {"type": "integer"} for name in ("prompt_tokens", "total_tokens")},
                },
            },
            "required": ["object", "model", "data", "usage"],
        },
    }
