"""A caller who speaks OpenAI's Responses, in front of upstreams that speak them, and of others."""

from __future__ import annotations

import json
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from pointsman.testing import ScriptedUpstream

from .running import Gateway

MODEL = "openai:gpt-5.5"
CHAT = "plain:llama"
CODEX = "openai:gpt-5-codex"
CLAUDE = "anthropic:claude-opus-5-5"
LOOK: Any = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": False}
PATCH: Any = {"type": "custom", "name": "apply_patch", "description": "Edits.",
              "format": {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}}  # fmt: skip
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
WHOLE: TypeAdapter[Any] = TypeAdapter(Response)
SECRET = "ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"


def in_front_of(cloud_server: ScriptedUpstream, lan_server: ScriptedUpstream) -> dict[str, Any]:
    """The gateway's settings."""
    keyed = {"base_url": cloud_server.base_url, "api_key": "sk-upstream-planted-key"}
    return {
        "providers": {
            "openai": {**keyed, "models": ["gpt-5.5", "gpt-4o", "gpt-5-codex"], "responses": True},
            "anthropic": {"base_url": cloud_server.root, "api_key": "sk-ant-planted", "models": ["claude-opus-5-5"]},
            "plain": {**keyed, "models": ["llama"]},
            "lan": {"base_url": lan_server.base_url, "local": True, "models": ["llama3.1:8b"]},
            "ollama": {"base_url": cloud_server.root, "models": ["llama3:8b"]},
        },
        "routing": {"aliases": {"mine": MODEL}, "fallbacks": {MODEL: [CHAT]}},
        "privacy": {"redaction": True},
    }


def streamed(gateway: Gateway, **body: Any) -> tuple[Any, list[dict[str, Any]]]:
    """The reply, and its events as they stand on the wire, each checked against the SDK's types."""
    reply = gateway.ask("POST", "/v1/responses", {"model": MODEL, "stream": True, **body})
    assert reply.status == 200, reply.body
    events = [json.loads(frame.partition("data: ")[2]) for frame in reply.body.decode().split("\n\n")[:-1]]
    for event in events:
        EVENT.validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return reply, events


def paths(cloud: ScriptedUpstream) -> list[str]:
    return [seen.path for seen in cloud.chats]


def sent(cloud: ScriptedUpstream) -> dict[str, Any]:
    return cloud.chats[-1].json
