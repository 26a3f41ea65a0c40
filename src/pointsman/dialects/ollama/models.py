"""What Ollama tells of its models: `/api/tags` lists them, `/api/show` describes one."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pointsman.core.catalog import ModelCard

CAPABILITIES = {
    "completion": frozenset({"chat", "json_object", "json_schema", "completion"}),
    "tools": frozenset({"tools"}),
    "vision": frozenset({"vision"}),
    "insert": frozenset({"completion"}),
    "embedding": frozenset({"embeddings"}),
}
"""Ollama's word for what a model can do → ours. `thinking` has no counterpart in a card; `insert` also says that a
completion's `suffix` is taken."""

LOGPROBS_SINCE = (0, 12, 11)
"""The version from which `/api/chat` gives log-probabilities."""

_CLOUD = re.compile(r"[:-]cloud$", re.IGNORECASE)


class Details(msgspec.Struct):
    parameter_size: str | None = None
    family: str | None = None
    quantization_level: str | None = None


LOAD_BYTES_PER_SECOND = 1e9
"""How fast weights are read from a disk of today that has not just read them: a prior, in bytes."""


class Listed(msgspec.Struct):
    """An entry of `/api/tags`."""

    name: str
    digest: str | None = None
    size: int | None = None
    """Bytes on disk."""
    details: Details | None = None
    remote_host: str | None = None
    remote_model: str | None = None


class Tags(msgspec.Struct):
    models: list[Listed]


class Shown(msgspec.Struct):
    """The answer of `/api/show`, as far as a card needs it."""

    capabilities: list[str] | None = None
    model_info: dict[str, Any] | None = None
    details: Details | None = None
    remote_host: str | None = None
    remote_model: str | None = None

    @property
    def context_length(self) -> int | None:
        """The longest context that the model was made for, in tokens."""
        for key, value in (self.model_info or {}).items():
            if key.endswith(".context_length") and isinstance(value, int) and value > 0:
                return value
        return None

    @property
    def thinks(self) -> bool:
        return "thinking" in (self.capabilities or ())


class Version(msgspec.Struct):
    version: str

    @property
    def gives_logprobs(self) -> bool:
        return tuple(int(number) for number in re.findall(r"\d+", self.version)[:3]) >= LOGPROBS_SINCE


tags_decoder = msgspec.json.Decoder(Tags)
show_decoder = msgspec.json.Decoder(Shown)
version_decoder = msgspec.json.Decoder(Version)


def runs_elsewhere(name: str, told: Listed | Shown | None = None) -> bool:
    """Whether Ollama passes requests for a model on to its maker's servers.

    By its name, or because Ollama says so: a cloud model may have been copied to a name of any kind.
    """
    return _CLOUD.search(name) is not None or (told is not None and bool(told.remote_host or told.remote_model))


def completed(card: ModelCard, listed: Listed, shown: Shown | None, version: Version | None) -> ModelCard:
    """A card with what Ollama tells in place of what was assumed."""
    fields: dict[str, Any] = {}
    details = (shown.details if shown is not None else None) or listed.details
    if details is not None and details.parameter_size:
        fields["parameters"] = details.parameter_size
    if listed.size:
        fields["load_seconds"] = listed.size / LOAD_BYTES_PER_SECOND
    if shown is not None:
        if shown.context_length is not None:
            fields["context_window"] = shown.context_length
        if shown.capabilities is not None:
            known = (CAPABILITIES[word] for word in shown.capabilities if word in CAPABILITIES)
            capabilities: frozenset[str] = frozenset().union(*known)
            if "chat" in capabilities and version is not None and version.gives_logprobs:
                capabilities |= {"logprobs"}
            fields["capabilities"] = capabilities
            fields["takes_suffix"] = "insert" in shown.capabilities
            fields["routable"] = card.routable and "chat" in capabilities
    return msgspec.structs.replace(card, **fields)
