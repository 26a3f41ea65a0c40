"""The /commands of a chat."""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from pointsman.core.errors import PointsmanError

from .chat_session import ChatSession
from .conversation import Conversation
from .explain import parse_record, show_record
from .output import styled, table


class Quit(Exception):
    """The person has had enough."""


class Command(NamedTuple):
    run: Callable[[ChatSession, str], Awaitable[None]]
    takes: str
    """Its argument, as help shows it."""
    help: str


_COMMAND = re.compile(r"/([a-z]+)(?:\s+(.*))?\Z", re.DOTALL)


def looks_like_command(text: str) -> bool:
    """Whether a line is meant for us; `/usr/bin/python fails` is a question."""
    return _COMMAND.match(text) is not None


async def run_command(session: ChatSession, text: str) -> None:
    """Run one line that begins with a slash.

    Raises:
        PointsmanError: there is no such command, or it failed.
        Quit: it was /quit.
    """
    found = _COMMAND.match(text)
    assert found is not None
    name, argument = found.group(1), (found.group(2) or "").strip()
    command = COMMANDS.get(name)
    if command is None:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean /{close[0]}?" if close else "/help lists the commands."
        raise PointsmanError(f"There is no command /{name}; {hint}")
    await command.run(session, argument)


async def _model(session: ChatSession, name: str) -> None:
    await session.refresh_models()
    if name:
        if name != "auto" and name not in session.models and ":" not in name:
            close = difflib.get_close_matches(name, session.models, n=3, cutoff=0.4)
            hint = f"Did you mean {', '.join(close)}?" if close else "/model lists them."
            raise PointsmanError(f"There is no model {name}. {hint}")
        session.conversation.model = name
        session.tell(f"Asking {name}." if name != "auto" else "Each question goes to the cheapest model that will do.")
        return
    asked = session.conversation.model
    names = ["auto", *session.models]
    session.console.print(table(("", "Model"), [("→" if name == asked else "", name) for name in names]))


async def _why(session: ChatSession, identifier: str) -> None:
    record = await session.client.decision(identifier or _last(session))
    show_record(session.console, parse_record(record))


async def _save(session: ChatSession, name: str) -> None:
    if not name:
        raise PointsmanError("Name a file: /save talk.md to read it, /save talk.json to load it again.")
    file = _path(name)
    session.conversation.save(file)
    session.tell(f"Saved {len(session.conversation.turns)} messages to {file}.")


async def _load(session: ChatSession, name: str) -> None:
    if not name:
        raise PointsmanError("Name a file that /save wrote: /load talk.json.")
    session.conversation = Conversation.load(_path(name))
    last = session.conversation.last_answer
    session.last_decision = last.decision if last is not None else None
    session.tell(f"Loaded {len(session.conversation.turns)} messages.")


async def _retry(session: ChatSession, _: str) -> None:
    turns = session.conversation.turns
    answered = bool(turns) and turns[-1].role == "assistant" and turns[-2].content == session.last_question
    question = session.conversation.take_back() if answered or session.last_question is None else session.last_question
    if question is None:
        raise PointsmanError("There is no question yet to ask again.")
    await session.ask(question)


async def _clear(session: ChatSession, _: str) -> None:
    session.conversation.turns.clear()
    session.last_question = session.last_decision = None
    session.tell("A new conversation; the system prompt and the model stay.")


async def _system(session: ChatSession, text: str) -> None:
    if text:
        session.conversation.system = None if text == "-" else text
    session.console.print(styled(f"System prompt: {session.conversation.system or 'none'}", "dim"))


async def _good(session: ChatSession, comment: str) -> None:
    await _rate(session, "up", comment)


async def _bad(session: ChatSession, comment: str) -> None:
    await _rate(session, "down", comment)


async def _rate(session: ChatSession, thumb: str, comment: str) -> None:
    fields = {"id": _last(session), "thumb": thumb}
    await session.client.post("/v1/feedback", {**fields, "comment": comment} if comment else fields)
    session.tell("Noted with the decision.")


async def _help(session: ChatSession, _: str) -> None:
    rows = [(f"/{name} {command.takes}".rstrip(), command.help) for name, command in COMMANDS.items()]
    session.console.print(table(("Command", ""), rows))
    session.tell("Alt-Enter or a trailing \\ begins another line. Ctrl-C stops an answer, Ctrl-D leaves.")


async def _quit(session: ChatSession, _: str) -> None:
    raise Quit


def _path(name: str) -> Path:
    return Path(name).expanduser()


def _last(session: ChatSession) -> str:
    if session.last_decision is None:
        raise PointsmanError("There is no answer yet.")
    return session.last_decision


COMMANDS = {
    "model": Command(_model, "[NAME]", "Which model to ask; without a name, the list. auto routes each question."),
    "why": Command(_why, "[ID]", "Explain the last decision: candidates, predictions, who was ruled out."),
    "good": Command(_good, "[COMMENT]", "The last answer was good."),
    "bad": Command(_bad, "[COMMENT]", "The last answer was bad."),
    "retry": Command(_retry, "", "Ask the last question again."),
    "system": Command(_system, "[TEXT]", "Set the system prompt; - removes it."),
    "clear": Command(_clear, "", "Begin a new conversation."),
    "save": Command(_save, "FILE", "Save the conversation as .md or .json."),
    "load": Command(_load, "FILE", "Go on with a conversation that was saved as .json."),
    "help": Command(_help, "", "This list."),
    "quit": Command(_quit, "", "Leave."),
}
