"""Sampling defaults of the installation, for callers that leave them out."""

from __future__ import annotations

from dataclasses import dataclass

from pointsman.core.request import ChatRequest


@dataclass(slots=True, kw_only=True)
class Defaults:
    """Fills in `temperature` and a bound on the answer's tokens; None leaves the choice to the upstream. Both may be
    set anew at any time."""

    temperature: float | None = None
    max_tokens: int | None = None

    def __call__(self, request: ChatRequest) -> ChatRequest:
        if (self.temperature is None and self.max_tokens is None) or request.kind == "embeddings":
            return request
        defaults: dict[str, float | int] = {}
        if self.temperature is not None:
            defaults["temperature"] = self.temperature
        if self.max_tokens is not None and request.max_output is None:
            defaults["max_tokens"] = self.max_tokens
        return request.with_defaults(defaults) if defaults else request
