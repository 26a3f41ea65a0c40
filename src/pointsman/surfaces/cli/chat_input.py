"""The line where a person types: history, several lines, completion."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from .text import safe_line

HISTORY_NAME = "chat_history"


class ChatCompleter(Completer):
    """Completes /commands, the names of models after `/model`, and files after `/save` and `/load`."""

    def __init__(self, commands: Mapping[str, str], models: list[str]) -> None:
        """
        Args:
            commands: name with its slash → one line of help.
            models: what `/model` may name; the list may change later.
        """
        self._commands = commands
        self._models = models
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        command, blank, rest = text.partition(" ")
        if not text.startswith("/") or "\n" in text:
            return
        if not blank:
            for name, about in self._commands.items():
                if name.startswith(text):
                    yield Completion(name, start_position=-len(text), display_meta=about)
        elif command == "/model":
            for name in ["auto", *self._models]:
                if rest.strip() in name:
                    yield Completion(name, start_position=-len(rest), display=safe_line(name))
        elif command in ("/save", "/load"):
            yield from self._paths.get_completions(Document(rest, len(rest)), complete_event)


def _bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.current_line_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return bindings


def open_history(folder: Path) -> History:
    """The history file, readable by its owner alone; in memory when the folder cannot be written."""
    path = folder / HISTORY_NAME
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # the gateway's data folder, maybe made here first
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


class ChatInput:
    """Asks for the next line."""

    def __init__(self, *, folder: Path, commands: Mapping[str, str], models: list[str]) -> None:
        self._session: PromptSession[str] = PromptSession(
            history=open_history(folder),
            completer=ChatCompleter(commands, models),
            key_bindings=_bindings(),
            multiline=True,
            prompt_continuation=lambda width, line, wraps: "… ".rjust(width),
            enable_open_in_editor=False,
            reserve_space_for_menu=6,
        )

    async def ask(self, model: str) -> str:
        """What was typed. Raises KeyboardInterrupt at Ctrl-C, EOFError at Ctrl-D."""
        message = FormattedText([("bold", safe_line(model)), ("", " › ")])
        return await self._session.prompt_async(message, handle_sigint=False)
