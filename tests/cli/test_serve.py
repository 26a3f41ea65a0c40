"""The real gateway, run by the command, in front of a scripted upstream."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pointsman.testing import Answer, ScriptedUpstream, Status

from .commands import COMMAND, Terminal, clean_environment, run_command

LISTENS = re.compile(r"listens at (http://127\.0\.0\.1:\d+)/v1")


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(models=("gpt-4o-mini",)) as upstream:
        yield upstream


@pytest.fixture
def env(tmp_path: Path, upstream: ScriptedUpstream) -> dict[str, str]:
    """A user with one cloud key, no embedded models, and a free port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (tmp_path / "pointsman.yaml").write_text("providers: {ollama: {enabled: false}}\n")
    return clean_environment(
        tmp_path,
        PORT=str(port),
        OPENAI_API_KEY="sk-planted-key",
        OPENAI_BASE_URL=upstream.base_url,
        POINTSMAN_EMBEDDED_ENABLED="false",
    )


async def test_serves_until_ctrl_c(env, upstream) -> None:
    with Terminal("serve", env=env) as terminal:
        text = await terminal.until(LISTENS.pattern)
        assert LISTENS.search(text)[1].endswith(f":{env['PORT']}")
        upstream.script(Answer(text="served"))
        ran = await run_command("complete", "hello", "--json", env=env)
        told = json.loads(ran.out)
        assert (told["text"], told["model"]) == ("served", "openai:gpt-4o-mini")
        why = await run_command("why", told["decision_id"], env=env)
        assert (why.code, "openai:gpt-4o-mini" in why.out) == (0, True)
        assert told["decision_id"] in (await run_command("why", env=env)).out
        models = json.loads((await run_command("models", "--json", env=env)).out)
        assert [row["id"] for row in models["models"]] == ["openai:gpt-4o-mini"]
        doctor = await run_command("doctor", env=env)
        assert (doctor.code, "answers at http://127.0.0.1" in doctor.out) == (0, True)
        terminal.send("\x03")
        assert await terminal.ended() == 0
        assert "Traceback" not in terminal.text


LOST = """
import importlib, os, signal, sys

def load(name, really=importlib.import_module):
    try:  # as the machinery of an import does with an exception in a callback of its own
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass
    except KeyboardInterrupt:
        print("lost", file=sys.stderr)
    return really(name)

importlib.import_module = load
sys.argv = ["pointsman", "serve"]
from pointsman.__main__ import main
main()
"""


async def test_ctrl_c_while_it_is_still_loading_is_not_lost(env):
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", LOST, env=env, stderr=asyncio.subprocess.PIPE)
    try:
        _, told = await asyncio.wait_for(process.communicate(), 20)
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode == -signal.SIGINT
    assert b"Traceback" not in told


async def test_a_whole_chat_with_the_real_gateway(env, upstream) -> None:
    with Terminal("serve", env=env) as server:
        await server.until(LISTENS.pattern)
        with Terminal("chat", "--no-start", env=env, columns=140) as chat:
            assert "· 1 model ·" in await chat.until("^auto › ?$")
            chat.line("Write a haiku about railways.")
            await chat.until(r"^openai:gpt-4o-mini · .* tokens · ")
            await chat.until("^auto › ?$")
            chat.line("/why")
            text = await chat.until(r"propensity")
            assert "intent" in text
            assert re.search(r"openai:gpt-4o-mini was chosen", text)
            chat.line("/good crisp")
            await chat.until("Noted")
            chat.line("/why")
            await chat.until("comment +crisp")
            chat.line("/quit")
            assert await chat.ended() == 0


async def test_a_port_that_is_taken(env) -> None:
    async with ScriptedUpstream() as other:
        ran = await run_command("serve", "--port", str(other.port), env=env)
        assert ran.code == 1
        assert ran.err.startswith(f"error: Port {other.port} is taken by another program.")
        assert f"PORT={other.port + 1}" in ran.err


async def test_a_port_that_our_own_gateway_has(gateway, with_gateway) -> None:
    ran = await run_command("serve", env=with_gateway)
    assert ran.code == 1
    assert "is taken by a Pointsman gateway that runs already" in ran.err


async def test_beyond_loopback_a_key_is_needed(env) -> None:
    ran = await run_command("serve", "--host", "0.0.0.0", env=env)
    assert ran.code == 1
    assert "set POINTSMAN_API_KEY, or bind to 127.0.0.1" in ran.err


async def test_an_address_that_is_not_ours(env) -> None:
    ran = await run_command("serve", "--host", "192.0.2.1", env={**env, "POINTSMAN_API_KEY": "k"})
    assert ran.code == 1
    assert "such as 127.0.0.1" in ran.err


async def test_welcome_asks_a_real_question_and_says_what_is_next(env, upstream) -> None:
    upstream.script(Answer(text="```python\ntext[::-1]\n```"))
    with Terminal("serve", "--welcome", env=env, columns=110, lines=45) as terminal:
        text = await terminal.until("^curl ")
        for words in (
            "Pointsman is ready", "text[::-1]", "openai:gpt-4o-mini answered:", f"http://127.0.0.1:{env['PORT']}/v1",
            "curl http://127.0.0.1", "/docs", "1 known, 0 on this machine",
            f"-m pointsman --url http://127.0.0.1:{env['PORT']} chat",
        ):  # fmt: skip
            assert words in text, words
        assert "sk-planted-key" not in terminal.raw
        assert upstream.chats[0].json["messages"][-1]["content"].startswith("Write a one-line Python function")
        terminal.send("\x03")
        assert await terminal.ended() == 0


async def test_welcome_survives_a_model_that_fails(env, upstream) -> None:
    upstream.default = Status(500)
    with Terminal("serve", "--welcome", env=env, columns=110, lines=45) as terminal:
        await terminal.until("Pointsman is ready")
        await terminal.until("No answer to the first question")
        terminal.send("\x03")
        assert await terminal.ended() == 0


async def test_welcome_without_any_model_does_not_say_ready(env) -> None:
    cloudless = {**env, "OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}
    with Terminal("serve", "--welcome", env=cloudless, columns=80, lines=45) as terminal:
        text = await terminal.until("^curl ")
        assert "Pointsman runs, and knows no model yet" in text
        assert "Pointsman is ready" not in text
        terminal.send("\x03")
        assert await terminal.ended() == 0


async def test_a_data_folder_that_is_none(env) -> None:
    Path(env["POINTSMAN_DATA_DIR"]).write_text("a file, not a folder")
    ran = await run_command("serve", env=env)
    assert ran.code == 1
    assert re.fullmatch(r"error: data_dir = '.*': cannot be used .* with POINTSMAN_DATA_DIR\n", ran.err), ran.err


async def test_a_provider_that_was_asked_for_and_is_away_is_warned_of(env, upstream) -> None:
    upstream.pages["/v1/models"] = Status(401)
    with Terminal("serve", env=env) as terminal:
        text = await terminal.until(LISTENS.pattern)
        assert re.search(r"warning pointsman\.providers\.discovery: openai is away", text)
        ran = await run_command("complete", "-m", "openai:gpt-4o-mini", "hello", env=env)
        assert ran.code == 1
        assert re.match(r"error: The model 'openai:gpt-4o-mini' is not known, for openai is away: .*401", ran.err)
        terminal.send("\x03")
        assert await terminal.ended() == 0


async def test_complete_starts_a_gateway_and_stops_it(env, upstream) -> None:
    upstream.script(Answer(text="from a gateway of its own"))
    ran = await run_command("complete", "hello", env=env)
    assert (ran.code, ran.out) == (0, "from a gateway of its own\n"), ran.err
    assert ran.err.startswith("No gateway answers; starting one for this command")
    assert not gateways(env)
    why = await run_command("why", env=env)
    assert (why.code, "openai:gpt-4o-mini" in why.out) == (0, True)


async def test_a_gateway_that_cannot_start_says_why(env) -> None:
    Path(env["POINTSMAN_DATA_DIR"]).write_text("a file, not a folder")
    ran = await run_command("complete", "hello", env=env)
    assert ran.code == 1
    assert "The gateway did not start." in ran.err
    assert "pointsman doctor" in ran.err
    assert "Traceback" not in ran.err


async def test_the_started_gateway_ends_with_a_command_that_is_killed(env, upstream) -> None:
    upstream.script(Answer(text="slow", first_delay=60))
    child = await asyncio.create_subprocess_exec(
        *COMMAND, "complete", "hello", env=env, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    await upstream.wait_until(lambda seen: bool(seen.chats), timeout=30)
    assert gateways(env)
    os.kill(child.pid, signal.SIGKILL)
    await child.wait()
    async with asyncio.timeout(60):
        while gateways(env):
            await asyncio.sleep(0.05)


def gateways(env: dict[str, str]) -> list[int]:
    """Processes that serve for a command of this test."""
    mark = f"POINTSMAN_DATA_DIR={env['POINTSMAN_DATA_DIR']}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if b"--ready-fd" in (entry / "cmdline").read_bytes() and mark in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except (OSError, ValueError):
            continue
    return found
