"""What tables and messages look like in terminals of several widths."""

from __future__ import annotations

from io import StringIO

import pytest

from pointsman.surfaces.cli.output import folded, table

from .commands import Terminal, run_command

COLUMNS = ("Model", "Can", "Price")
ROWS = [("embedded:qwen2.5-coder:0.5b", "completion, json_object, tools", "free"), ("openai:gpt-4o", "vision", "10.00")]


def drawn(width: int) -> list[str]:
    from rich.console import Console

    out = StringIO()
    made = table(COLUMNS, ROWS, right=("Price",), spare=("Can",))
    Console(file=out, width=width, color_system=None).print(made)
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [200, 80, 60, 50, 40])
def test_no_word_is_cut_where_there_is_room(width: int):
    lines = drawn(width)
    assert max(map(len, lines)) <= width
    told = " ".join(lines).split()
    assert {"embedded:qwen2.5-coder:0.5b", "openai:gpt-4o", "free", "10.00"} <= set(told)
    assert ("Can" in told) is (width >= 50)  # the longest words of the columns, and two gaps
    assert ("vision" in told) is (width >= 50)


def test_without_room_nothing_is_lost():
    lines = drawn(20)
    assert max(map(len, lines)) <= 20
    assert "embedded:qwen2.5-coder:0.5b" in "".join(line[:12].strip() for line in lines[2:])


def test_a_table_without_headings_begins_with_its_rows():
    from rich.console import Console

    out = StringIO()
    Console(file=out, width=80).print(table(("", ""), [("name", "ci")]))
    assert out.getvalue().split() == ["name", "ci"]


async def test_messages_break_between_words_in_a_terminal_alone(env):
    with Terminal("keys", "revoke", "a-key-that-is-not-there", env=env, columns=40) as terminal:
        await terminal.until("lists")
        await terminal.ended()
        told = [line.strip() for line in terminal.text.splitlines() if line.strip()]
    assert " ".join(told) == "error: There is no API key 'a-key-that-is-not-there'; `pointsman keys` lists them."
    assert len(told) > 1
    assert folded("word " * 40, StringIO()) == "word " * 40


@pytest.mark.parametrize("name", ["credentials", "policy", "db", "secret", "keys", "users", "clients", "models"])
async def test_a_group_without_a_command_shows_what_there_is(name: str, env):
    for arguments in ([name], [name, "--json"]):
        ran = await run_command(*arguments, env=env)
        assert "Usage:" not in ran.out + ran.err
        assert ran.code == 0


@pytest.mark.parametrize("name", ["bench", "keys", "policy", "secret", "users"])
async def test_help_cuts_nothing_off(name: str, env):
    assert "...\n" not in (await run_command(name, "--help", env=env)).out.partition("Commands:")[2]


async def test_an_option_of_all_commands_behind_one(env):
    ran = await run_command("keys", "show", "ci", "--url", "http://127.0.0.1:1", env=env)
    assert (ran.code, ran.err) == (2, "error: --url stands before the command: `pointsman --url … keys show`.\n")
