"""Sets of patterns, asked many times a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import re2

Match = Callable[[bytes], Sequence[int]]
"""Places of the patterns that occur in a text."""


def matcher(compiled: re2.Set) -> Match:
    """What a compiled set says of bytes.

    The package's own method first asks whether it was given a string, which takes as long as matching a short text:
    where the set of the library itself can be reached, it is asked.
    """
    own = getattr(compiled, "_set", None)
    return own.Match if own is not None else lambda text: compiled.Match(text) or ()
