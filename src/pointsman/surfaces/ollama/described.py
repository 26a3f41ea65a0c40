"""The Ollama dialect, and what looks after Ollama's models, in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pointsman.surfaces.schemas import Schema, json_body, ref

_NATIVE = json_body(ref("GatewayError"), "An error, and what can be done about it.")
_OLLAMA = json_body(ref("OllamaError"), "An error in Ollama's shape.")
_ANY: Schema = {"type": "object", "additionalProperties": True}
_TEXT: Schema = {"type": "string"}
_DURATION: Schema = {"type": "integer", "description": "Nanoseconds."}


def paths() -> dict[str, Schema]:
    show = _operation("ollama_show", "Describe a model", _whole("OllamaModel"), "OllamaNamed")
    return {
        "/api/chat": {"post": _operation("ollama_chat", "Answer a chat", _lines("OllamaAnswer"), "OllamaChatRequest")},
        "/api/generate": {
            "post": _operation(
                "ollama_generate", "Answer a prompt, or fill a gap", _lines("OllamaAnswer"), "OllamaGenerateRequest"
            )
        },
        "/api/embed": {
            "post": _operation("ollama_embed", "Vectors of texts", _whole("OllamaEmbeddings"), "OllamaEmbedRequest")
        },
        "/api/embeddings": {
            "post": _operation(
                "ollama_embeddings", "The vector of one text (the older form)", _body(_ANY), "OllamaEmbeddingsRequest"
            )
        },
        "/api/tags": {"get": _operation("ollama_tags", "List the models", _whole("OllamaModels"))},
        "/api/show": {"post": show},
        "/api/ps": {"get": _operation("ollama_ps", "The models that Ollamas hold in memory", _whole("OllamaModels"))},
        "/api/version": {"get": _operation("ollama_version", "The version of Ollama whose API this is", _body(_ANY))},
        "/api/pull": {
            "post": _operation("ollama_pull", "Have an Ollama fetch a model", _lines("PullProgress"), "OllamaNamed")
        },
        "/api/v1/models/ollama": {
            "get": _operation(
                "list_ollama_models", "The models that Ollamas keep", _whole("KeptModels"), tag="Models", error=_NATIVE
            )
        },
        "/api/v1/models/ollama/pull": {
            "post": _operation(
                "pull_ollama_model",
                "Have an Ollama fetch a model, for admins; the progress comes as events",
                {
                    "description": "Events until `status` is `success`; the model is then in the catalog. A JSON object"
                    " a line for whoever accepts application/x-ndjson.",
                    "content": {
                        "text/event-stream": {"schema": ref("PullProgress")},
                        "application/x-ndjson": {"schema": ref("PullProgress")},
                    },
                },
                "OllamaNamed",
                tag="Models",
                error=_NATIVE,
            )
        },
        "/api/v1/models/ensure": {
            "post": _operation(
                "ensure_model",
                "Have a model be at some server of a provider, for admins; an Ollama fetches it where it is missing",
                {
                    "description": "The progress of a pull where one is needed, and last where the model is. With"
                    " `stream: false` the last alone.",
                    "content": {
                        "text/event-stream": {"schema": ref("EnsureProgress")},
                        "application/x-ndjson": {"schema": ref("EnsureProgress")},
                        "application/json": {"schema": ref("EnsureProgress")},
                    },
                },
                "EnsureModel",
                tag="Models",
                error=_NATIVE,
            )
        },
    }


def _operation(
    identifier: str, summary: str, answer: Schema, body: str | None = None, tag: str = "Ollama", error: Schema = _OLLAMA
) -> Schema:
    operation: Schema = {
        "tags": [tag],
        "operationId": identifier,
        "summary": summary,
        "responses": {"200": answer, "4XX": error, "5XX": error},
    }
    if body is not None:
        operation["requestBody"] = {"required": True, **json_body(ref(body))}
    return operation


def _body(schema: Schema) -> Schema:
    return json_body(schema, "The answer.")


def _whole(name: str) -> Schema:
    return _body(ref(name))


def _lines(name: str) -> Schema:
    return {
        "description": "An object a line, unless `stream` is false.",
        "content": {"application/x-ndjson": {"schema": ref(name)}, "application/json": {"schema": ref(name)}},
    }


def components() -> dict[str, Schema]:
    asked: dict[str, Any] = {
        "model": {"type": "string", "description": "`auto`, an alias or a model; a last `:latest` may be there."},
        "stream": {"type": "boolean", "default": True},
        "format": {"description": "`json`, or a JSON Schema."},
        "options": {**_ANY, "description": "num_predict, temperature, top_p, top_k, seed, stop, num_ctx, …"},
        "keep_alive": {"type": ["string", "number"]},
        "think": {"type": ["boolean", "string"]},
        "logprobs": {"type": "boolean"},
        "top_logprobs": {"type": "integer"},
        "routing_preferences": ref("RoutingPreferences"),
    }
    pictures = {"type": "array", "items": {"type": "string", "description": "base64"}}
    durations = dict.fromkeys(("total_duration", "load_duration"), _DURATION)
    counted = {name: {"type": "integer"} for name in ("prompt_eval_count", "eval_count")}
    listed = {"type": "object", "properties": {"models": {"type": "array", "items": _ANY}}, "required": ["models"]}
    return {
        "OllamaError": {"type": "object", "properties": {"error": _TEXT}, "required": ["error"]},
        "OllamaNamed": _object({"model": _TEXT, "stream": {"type": "boolean"}}, "model"),
        "OllamaChatRequest": _object(
            {
                **asked,
                "messages": {
                    "type": "array",
                    "items": _object(
                        {
                            "role": {"enum": ["system", "user", "assistant", "tool"]},
                            "content": _TEXT,
                            "images": pictures,
                            "thinking": _TEXT,
                            "tool_name": _TEXT,
                            "tool_calls": {"type": "array", "items": _ANY},
                        },
                        "role",
                    ),
                },
                "tools": {"type": "array", "items": _ANY},
            },
            "model",
        ),
        "OllamaGenerateRequest": _object(
            {
                **asked,
                "prompt": _TEXT,
                "system": _TEXT,
                "images": pictures,
                "suffix": {"type": "string", "description": "The text behind a gap; for models that fill one."},
                "raw": {"type": "boolean", "description": "Go on with the prompt as it is."},
            },
            "model",
        ),
        "OllamaAnswer": _object(
            {
                "model": _TEXT,
                "created_at": {"type": "string", "format": "date-time"},
                "message": _ANY,
                "response": _TEXT,
                "done": {"type": "boolean"},
                "done_reason": {"enum": ["stop", "length", "load", "unload"]},
                **durations,
                **counted,
                "prompt_eval_duration": _DURATION,
                "eval_duration": _DURATION,
            },
            "model",
            "done",
        ),
        "OllamaEmbedRequest": _object(
            {
                "model": _TEXT,
                "input": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
                "dimensions": {"type": "integer"},
                "truncate": {"type": "boolean"},
            },
            "model",
            "input",
        ),
        "OllamaEmbeddingsRequest": _object({"model": _TEXT, "prompt": _TEXT}, "model"),
        "OllamaEmbeddings": _object(
            {"model": _TEXT, "embeddings": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}},
            "embeddings",
        ),
        "OllamaModels": listed,
        "OllamaModel": _object(
            {
                "capabilities": {"type": "array", "items": _TEXT},
                "details": _ANY,
                "model_info": {**_ANY, "description": "`pointsman.context_length` is the window in tokens."},
            },
            "capabilities",
        ),
        "PullProgress": _object(
            {
                "status": _TEXT,
                "digest": _TEXT,
                "total": {"type": "integer", "description": "Bytes of this layer."},
                "completed": {"type": "integer"},
                "error": {"description": "What went wrong, in the last event."},
            }
        ),
        "EnsureModel": _object(
            {
                "model": {"type": "string", "description": "Its name, or `provider:name`."},
                "provider": {
                    "type": ["string", "null"],
                    "description": "Without it the one that the name says, one that has the model, or an Ollama.",
                },
                "stream": {"type": "boolean"},
            },
            "model",
        ),
        "EnsureProgress": _object(
            {
                "status": {"type": "string", "description": "`success` in the last one, which alone has what follows."},
                "digest": _TEXT,
                "total": {"type": "integer", "description": "Bytes of this layer."},
                "completed": {"type": "integer"},
                "model": {"type": "string", "description": "`provider:name`."},
                "provider": _TEXT,
                "instance": {"type": ["string", "null"], "description": "The server that has it."},
                "pulled": {"type": "boolean", "description": "Whether it had to be fetched."},
                "error": {"description": "What went wrong, in the last event."},
            }
        ),
        "KeptModels": _object(
            {
                "object": {"const": "list"},
                "data": {"type": "array", "items": _ANY},
                "away": {**_ANY, "description": "Provider → why it could not be asked."},
            },
            "data",
            "away",
        ),
    }


def _object(properties: dict[str, Any], *required: str) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        **({"required": list(required)} if required else {}),
        "additionalProperties": True,
    }
