"""Which asks may go to the cloud in development mode."""

from __future__ import annotations

from collections.abc import Sequence

import re2

from .ask import LOOKED_AT


class AllowPatterns:
    """Regular expressions (RE2) of the settings, in any case, looked for at the beginning and the end of an ask."""

    def __init__(self, patterns: Sequence[str]) -> None:
        options = re2.Options()
        options.log_errors = False
        options.case_sensitive = False
        options.max_mem = 16 << 20
        self._patterns = [re2.compile(pattern, options) for pattern in patterns]

    def __call__(self, text: str) -> bool:
        """Whether any of them matches."""
        if not self._patterns:
            return False
        if len(text) > 2 * LOOKED_AT:
            text = f"{text[:LOOKED_AT]}\n{text[-LOOKED_AT:]}"
        sample = text.encode("utf-8", "replace")
        return any(pattern.search(sample) is not None for pattern in self._patterns)
