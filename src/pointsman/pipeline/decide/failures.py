"""Which models an agent got stuck with, for as long as its conversation needs to know.

What an agent failed at with one model it will likely fail at again with the same one, so a conversation that left it
should not come back with the next call. Of this process alone, and bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from pointsman.core.signals import Stage

MOST = 2_000
"""Conversations remembered; few are ever stuck."""
CALM = 8
"""Turns in a row, not stuck, after which nothing is held against a model any longer. Judgement."""


class Failures:
    """By conversation, the models that were in use when its agent was stuck."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._failed: OrderedDict[str, tuple[tuple[str, ...], int]] = OrderedDict()
        self.of_any: Mapping[str, object] = self._failed
        """By conversation, what is known; looked at with every request, and nearly always empty."""

    def __len__(self) -> int:
        return len(self._failed)

    def of(self, conversation: str) -> tuple[str, ...]:
        """Ids of models."""
        found = self._failed.get(conversation)
        return () if found is None else found[0]

    def note(self, conversation: str, stage: Stage, model: str | None) -> None:
        """Remember how a turn found the conversation.

        Args:
            model: the one that the turn before was with.
        """
        failed = self.of(conversation)
        if stage == "stuck":
            if model is not None and model not in failed:
                failed = (*failed, model)
            if failed:
                self._keep(conversation, failed, 0)
        elif failed:
            calm = self._failed[conversation][1] + 1
            if stage == "done" or calm >= CALM:
                del self._failed[conversation]
            else:
                self._keep(conversation, failed, calm)

    def _keep(self, conversation: str, failed: tuple[str, ...], calm: int) -> None:
        self._failed[conversation] = failed, calm
        self._failed.move_to_end(conversation)
        if len(self._failed) > self._most:
            self._failed.popitem(last=False)
