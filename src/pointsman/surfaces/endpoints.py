"""What each path is for: scopes of keys, buckets and metrics go by it."""

from __future__ import annotations

from pointsman.core.caller import EndpointClass

EXACT: dict[str, EndpointClass] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "chat",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "chat",
    "/v1/messages/count_tokens": "chat",
    "/api/chat": "chat",
    "/api/generate": "chat",
    "/api/embed": "embeddings",
    "/api/embeddings": "embeddings",
    "/api/version": "models",
    "/api/tags": "models",
    "/api/show": "models",
    "/api/ps": "models",
    "/api/pull": "admin",
    "/api/push": "admin",
    "/api/create": "admin",
    "/api/copy": "admin",
    "/api/delete": "admin",
    "/api/v1/models/ollama/pull": "admin",
    "/api/v1/models/ensure": "admin",
    "/api/v1/route": "chat",
    "/v1/feedback": "feedback",
    "/api/v1/feedback": "feedback",
    "/api/health": "public",
    "/ready": "public",
    "/api/v1/health": "models",
    "/metrics": "admin",
    "/sign-in": "public",
    "/sign-out": "public",
    "/setup": "public",
    "/set-password": "public",
}

BELOW: tuple[tuple[str, EndpointClass], ...] = (
    ("/v1/models", "models"),
    ("/v1/responses", "chat"),
    ("/api/v1/chat/", "chat"),
    ("/api/v1/models", "models"),
    ("/api/v1/health", "admin"),
    ("/api/v1/decisions", "decisions"),
    ("/api/v1/budgets", "usage"),
    ("/api/v1/usage", "usage"),
    ("/api/v1/auth/", "public"),
    ("/api/v1/", "admin"),
    ("/account", "public"),
    ("/oauth/", "public"),
    ("/.well-known/", "public"),
)
"""The first prefix that fits; what stands nowhere is a page or does not exist, and both are `models`: harmless."""


def classify(path: str) -> EndpointClass:
    found = EXACT.get(path)
    if found is not None:
        return found
    return next((kind for prefix, kind in BELOW if path.startswith(prefix)), "models")
