"""Prices, windows and abilities of hosted models: LiteLLM's published table, cut down to a small file of ours.

The shipped file is `data/prices.json`; one that `pointsman models refresh-prices` wrote into the data folder comes
before it. What only we judge (qualities, strengths, speeds, tokenizers) stands in `data/models.toml`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

from .price_row import Row

NAME = "prices.json"
SHIPPED = Path(__file__).parent / "data" / NAME

PROVIDERS: Mapping[str, str] = {
    "openai": "openai",
    "text-completion-openai": "openai",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "mistral": "mistral",
    "codestral": "mistral",
    "text-completion-codestral": "mistral",
    "groq": "groq",
    "deepseek": "deepseek",
    "xai": "xai",
    "openrouter": "openrouter",
}
"""What LiteLLM calls a provider → our name of it: those that are reached directly."""

VENDORS = ("openai", "anthropic", "gemini", "mistral", "deepseek", "xai")
"""Who makes models too: their prices stand for those of hosts of which nothing is known."""

log = logging.getLogger(__name__)


class PriceTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    source: str
    """Where it is from, with the release."""
    date: str
    """When it was taken over, UTC, such as `2026-11-22`."""
    licence: str
    models: dict[str, Row]
    """`provider:name` → what is known."""


class _Chosen:
    """The file in use beside the shipped one."""

    own: Path | None = None


def use(data_dir: Path) -> None:
    """Read the prices of this data folder, where there are any, from now on."""
    path = data_dir / NAME
    if _Chosen.own != path:
        _Chosen.own = path
        table.cache_clear()
        _by_name.cache_clear()


@cache
def table() -> PriceTable:
    """The user's file, or the shipped one where that is missing or cannot be read. Some 5 ms, once."""
    if _Chosen.own is not None:
        try:
            return read(_Chosen.own)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError) as error:
            log.warning(
                "the prices in %s cannot be read and the shipped ones are used: %s;"
                " `pointsman models refresh-prices` writes them anew",
                *(_Chosen.own, error),
            )
    return read(SHIPPED)


def read(path: Path) -> PriceTable:
    """A price file.

    Raises:
        OSError, msgspec.MsgspecError: it cannot be read.
    """
    return msgspec.json.decode(path.read_bytes(), type=PriceTable)


def row_for(provider: str, name: str) -> Row | None:
    """What is known of a model where it is served, by its exact name there."""
    return table().models.get(f"{provider}:{name}")


def vendor_row(name: str) -> Row | None:
    """What is known of a model at its maker, by its exact name."""
    return _by_name().get(name)


@cache
def _by_name() -> dict[str, Row]:
    found: dict[str, Row] = {}
    for key, row in table().models.items():
        provider, _, name = key.partition(":")
        if provider in VENDORS:
            found.setdefault(name, row)
    return found
