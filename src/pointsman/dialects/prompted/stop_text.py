"""Stop texts, looked for in text that comes in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopText:
    """Passes text on up to the first stop text.

    What might be the beginning of one is held back until more is known.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.found = False
        """Whether a stop text has come. Nothing is passed on after it."""

    def feed(self, text: str) -> str:
        """What may be passed on now."""
        if self.found or not self._stops:
            return "" if self.found else text
        text = self._held + text
        # The one that is whole first counts, however the text was split; of those the longest.
        hits = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if hits:
            self.found, self._held = True, ""
            return text[: min(hits)[1]]
        keep = next(
            (
                length
                for length in range(min(self._longest - 1, len(text)), 0, -1)
                if any(stop.startswith(text[-length:]) for stop in self._stops)
            ),
            0,
        )
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back, once no more text comes."""
        rest, self._held = self._held, ""
        return rest
