"""A conversation: what was said, in a form that can be sent, saved and loaded."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, Literal

import msgspec

from pointsman.core.errors import PointsmanError


class Turn(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One message, and of an answer how it came about."""

    role: Literal["system", "user", "assistant"]
    content: str
    model: str | None = None
    """Which model answered."""
    decision: str | None = None
    reason: str | None = None
    stopped: bool = False
    """The answer was cut short: by the person, or by an error."""


class Conversation(msgspec.Struct, kw_only=True):
    """Turns in order; `system`, when there is one, goes before them."""

    model: str = "auto"
    """What requests ask for."""
    system: str | None = None
    turns: list[Turn] = msgspec.field(default_factory=list)

    def messages(self) -> list[dict[str, Any]]:
        """The messages of the next request."""
        first = [{"role": "system", "content": self.system}] if self.system else []
        return [*first, *({"role": turn.role, "content": turn.content} for turn in self.turns)]

    @property
    def last_answer(self) -> Turn | None:
        return next((turn for turn in reversed(self.turns) if turn.role == "assistant"), None)

    def take_back(self) -> str | None:
        """Remove the last question and its answer; the question, or None when there is none."""
        for index in range(len(self.turns) - 1, -1, -1):
            if self.turns[index].role == "user":
                question = self.turns[index].content
                del self.turns[index:]
                return question
        return None

    def save(self, file: Path) -> None:
        """Write as `.md` or `.json`.

        Raises:
            PointsmanError: another ending, or the file cannot be written.
        """
        if file.suffix not in (".md", ".json"):
            raise PointsmanError(f"{file}: name a file that ends in .md (to read) or .json (to load again).")
        text = self.markdown() if file.suffix == ".md" else self.json()
        try:
            # Prompts are for their owner's eyes, and in a folder that others share no name may be foreseen.
            partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                    out.write(text)
                partial.replace(file)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise PointsmanError(f"{file} cannot be written: {error.strerror or error}.") from None

    @classmethod
    def load(cls, file: Path) -> Conversation:
        """Read a conversation that was saved as `.json`.

        Raises:
            PointsmanError: there is no such file, or it holds no conversation.
        """
        try:
            return msgspec.json.decode(file.read_bytes(), type=cls)
        except OSError as error:
            raise PointsmanError(f"{file} cannot be read: {error.strerror or error}.") from None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise PointsmanError(
                f"{file} holds no saved conversation ({error}). /save NAME.json writes one that can be loaded."
            ) from None

    def json(self) -> str:
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    def markdown(self) -> str:
        parts = [f"**System:** {self.system}"] if self.system else []
        for turn in self.turns:
            if turn.role == "assistant":
                cut = " (stopped)" if turn.stopped else ""
                why = f": {turn.reason}" if turn.reason else ""
                parts.append(f"### {turn.model or 'Answer'}{cut}\n\n{turn.content}\n\n*{turn.decision or ''}{why}*")
            else:
                parts.append(f"### You\n\n{turn.content}")
        return "\n\n".join(parts) + "\n"
