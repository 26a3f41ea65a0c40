"""How many tokens a text takes: bounds from its length, an exact count only where a limit is near.

Bytes per token (UTF-8, o200k_base), in pieces of 4 KB: Python source 2.2 to 5.4 (median 4.3), C headers 2.4 to 4.8
(3.7), JSON 1.5 to 4.3 (3.3), questions of programmers 3.9, English prose 4.7, pinned requirements full of hashes 1.9,
hexadecimal 1.8, base64 1.5. So the bounds hold for prose, code, data and hashes; only long base64 may take more tokens
than `high`, and only padding or a few scripts that o200k_base packs densely (Cyrillic, Devanagari) fewer than `low`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol, cast

BYTES_PER_TOKEN_MOST = 6.0
BYTES_PER_TOKEN_TYPICAL = 3.8
BYTES_PER_TOKEN_LEAST = 1.7

MESSAGE_OVERHEAD = 4
"""Tokens that the chat template puts around each message; 3 to 5 in the templates of common models."""

IMAGE_LOW, IMAGE_TYPICAL, IMAGE_HIGH = 85, 765, 1_600
"""Tokens of one image: reduced detail, 1024 x 1024 pixels in tiles of 512, and the largest that is not scaled down."""

IMAGE_MOST = 48_200
"""gpt-4o-mini counts 2,833 and 5,667 for each of up to eight tiles; others count far less."""
MESSAGE_MOST, VALUE_MOST, REQUEST_MOST, TOOLS_MOST = 16, 24, 64, 1_024
"""What a provider may put around a message, a number or sign of structure, a request, and a list of tools (Anthropic
counts up to some 600 for its own instructions)."""

OTHER_TOKENIZERS_LOW, OTHER_TOKENIZERS_HIGH = 0.9, 1.2
"""How far another model's tokenizer may stray from an exact count in `DEFAULT_ENCODING`."""

DEFAULT_ENCODING = "o200k_base"
_PIECE = 200_000
"""Characters encoded at once; the tokenizer refuses a million."""


class _Encoding(Protocol):
    def encode_ordinary(self, text: str) -> list[int]: ...
    def decode_bytes(self, tokens: Sequence[int]) -> bytes: ...


def bounds(n_bytes: int) -> tuple[int, int]:
    """The fewest and the most tokens that a text of so many UTF-8 bytes takes."""
    return int(n_bytes / BYTES_PER_TOKEN_MOST), -int(-n_bytes // BYTES_PER_TOKEN_LEAST)


def estimate(n_bytes: int) -> int:
    """The tokens that a text of so many UTF-8 bytes typically takes."""
    return round(n_bytes / BYTES_PER_TOKEN_TYPICAL)


def count(text: str, encoding: str = DEFAULT_ENCODING) -> int:
    """The exact number of tokens, one more at most for every 200,000 characters; about 25 MB of text a second.

    The first call loads the tokenizer (about 0.6 s, 110 MB of memory).

    Raises:
        ValueError: no such encoding.
    """
    encode = _encoding(encoding).encode_ordinary
    return sum(len(encode(text[at : at + _PIECE])) for at in range(0, len(text), _PIECE))


def decode(ids: Sequence[int], encoding: str = DEFAULT_ENCODING) -> str:
    """The text of token ids.

    Raises:
        ValueError: an id is none of the encoding's.
    """
    if any(number < 0 for number in ids):
        raise ValueError("a token's id is no negative number")
    try:
        return _encoding(encoding).decode_bytes(ids).decode("utf-8", "replace")
    except (KeyError, IndexError, OverflowError, TypeError) as error:
        raise ValueError(f"no such token: {error}") from None


@lru_cache(maxsize=4)
def _encoding(name: str) -> _Encoding:
    with warnings.catch_warnings():
        # The package reads its data through an interface that the standard library has deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        import bpe_openai

    if name not in bpe_openai.list_encoding_names():
        raise ValueError(f"there is no encoding {name!r}; known are {', '.join(bpe_openai.list_encoding_names())}")
    return cast(_Encoding, bpe_openai.get_encoding(name))
