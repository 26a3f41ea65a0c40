"""The fields of Ollama's requests that say how an Ollama is to run a model: nothing to any other upstream."""

from __future__ import annotations

from pointsman.core.request import ChatRequest

OLLAMA_ONLY = frozenset({"options", "keep_alive", "think", "truncate", "shift"})


def ollama_only(request: ChatRequest) -> frozenset[str]:
    """Those that an upstream which is no Ollama is not sent."""
    return OLLAMA_ONLY if request.origin == "ollama" else frozenset()
