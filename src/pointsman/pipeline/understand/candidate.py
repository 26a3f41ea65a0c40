"""What a detector's pattern matched, before it is known to be the real thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value that a pattern matched, with up to 32 bytes of text on either side."""

    value: str
    before: str = ""
    after: str = ""


Validator = Callable[[Candidate], bool]
"""Says whether a candidate counts. Linear in the candidate's length, which the patterns bound."""
