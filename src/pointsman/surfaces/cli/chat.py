"""`pointsman chat`: a conversation in the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from .completion import model_names
from .invocation import Invocation, run, with_invocation

if TYPE_CHECKING:
    from .chat_input import ChatInput
    from .chat_session import ChatSession


@click.command()
@click.option("-m", "--model", default="auto", shell_complete=model_names, help="auto, provider:model, or an alias.")
@click.option("-s", "--system", metavar="TEXT", help="System prompt.")
@click.option("--no-start", is_flag=True, help="Fail when no gateway answers, instead of starting one.")
@with_invocation
def chat(invocation: Invocation, model: str, system: str | None, no_start: bool) -> None:
    """Talk with the models. /help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves.

    Below each answer stands which model gave it and why; /why tells the whole decision.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.ClickException("chat needs a terminal; in pipes use `pointsman complete`.")
    run(_chat(invocation, model, system, start=not no_start))


async def _chat(invocation: Invocation, model: str, system: str | None, *, start: bool) -> None:
    from .chat_commands import COMMANDS
    from .chat_input import ChatInput
    from .chat_session import ChatSession
    from .conversation import Conversation
    from .keyboard import attended
    from .launch import gateway
    from .output import console

    async with gateway(invocation, start=start) as client:
        session = ChatSession(client, console(), Conversation(model=model, system=system))
        await session.refresh_models()
        commands = {f"/{name}": command.help for name, command in COMMANDS.items()}
        lines = ChatInput(folder=invocation.settings().data_dir, commands=commands, models=session.models)
        count = len(session.models)
        session.tell(f"{client.url} · {count} model{'' if count == 1 else 's'} · /help lists the commands")
        with attended():
            await _talk(session, lines)


async def _talk(session: ChatSession, lines: ChatInput) -> None:
    from pointsman.core.errors import PointsmanError

    from .chat_commands import Quit, looks_like_command, run_command
    from .keyboard import interruptible

    while True:
        try:
            text = (await lines.ask(session.conversation.model)).strip()
        except KeyboardInterrupt:
            session.tell("Ctrl-D or /quit leaves.")
            continue
        except EOFError:
            return
        if not text:
            continue
        try:
            await interruptible(run_command(session, text) if looks_like_command(text) else session.ask(text))
        except Quit:
            return
        except PointsmanError as error:
            session.complain(error)
