"""How the OpenAPI document tells of `/api/v1/chat/…`."""

from __future__ import annotations

from copy import deepcopy

from pointsman.surfaces.schemas import ANSWERS, Schema, json_body, ref

_CHATS = (
    ("completions", "Answer a chat", "OpenAI's chat, with wishes for the router in the body and its doings beside the"
     " answer."),
    ("streaming", "Answer a chat as a stream", "Streams whatever `stream` says."),
    ("hybrid", "Answer a chat, locally where that will do", "`mode` is `hybrid`: local models first, wherever their"
     " predicted success is not far behind the best candidate's; a cloud model where it is, or when they fail."),
)  # fmt: skip

_METRICS: Schema = {
    "title": "RoutingMetrics",
    "description": "What the router saw and did.",
    "type": "object",
    "properties": {
        "complexity_score": {"type": "number", "minimum": 0, "maximum": 1},
        "privacy_impact": {
            "enum": ["none", "noted", "redacted", "local_only"],
            "description": "Nothing private was found; something was, and may leave at this level; placeholders went"
            " out in its place; the request had to stay on this machine.",
        },
        "decision_factors": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Why this model, the most telling first.",
        },
    },
    "required": ["complexity_score", "privacy_impact", "decision_factors"],
}


def paths() -> dict[str, Schema]:
    """The operations, by path."""
    error = json_body(ref("GatewayError"), "An error, and what can be done about it.")
    return {
        f"/api/v1/chat/{name}": {
            "post": {
                "tags": ["Chat"],
                "operationId": f"native_chat_{name}",
                "summary": summary,
                "description": description,
                "requestBody": {"required": True, **json_body(ref("NativeChatRequest"))},
                "responses": {
                    "200": {
                        "description": "The answer: one object, or events when it is streamed.",
                        "content": _contents(streams=name == "streaming"),
                    },
                    "4XX": error,
                    "5XX": error,
                },
            }
        }
        for name, summary, description in _CHATS
    }


def _contents(*, streams: bool) -> Schema:
    events = {"text/event-stream": {"schema": ref("NativeChatChunk")}}
    return events if streams else {"application/json": {"schema": ref("NativeChatCompletion")}, **events}


def components() -> dict[str, Schema]:
    """The schemas, by name."""
    answer, chunk = deepcopy(ANSWERS["ChatCompletion"]), deepcopy(ANSWERS["ChatCompletionChunk"])
    said = answer["properties"]["choices"]["items"]["properties"]["message"]
    own = {"provider": {"type": "string"}, "routing_metrics": ref("RoutingMetrics")}
    answer["title"] = "NativeChatCompletion"
    answer["properties"] |= {**own, "message": {**said, "description": "That of the first choice."}}
    answer["required"] += [*own, "message"]
    chunk["title"] = "NativeChatChunk"
    chunk["properties"] |= own
    chunk["description"] += " The first has `provider` and `routing_metrics`."
    wishes: Schema = {
        "type": "object",
        "properties": {
            "mode": {
                "enum": ["auto", "hybrid", "local", None],
                "description": "Where it may go: as the policy says; to local models first; to local models alone.",
            },
            "options": {
                "type": ["object", "null"],
                "properties": {
                    name: {"type": ["boolean", "null"]} for name in ("prioritize_privacy", "prioritize_speed")
                },
                "description": "What else stands here is passed on to the model.",
            },
        },
    }
    return {
        "RoutingMetrics": _METRICS,
        "NativeChatRequest": {**wishes, "title": "NativeChatRequest", "allOf": [ref("ChatCompletionRequest")]},
        "NativeChatCompletion": answer,
        "NativeChatChunk": chunk,
    }
