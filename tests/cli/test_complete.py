from __future__ import annotations

import asyncio
import json

import pytest

from pointsman.testing import Answer, ScriptedUpstream, Status, Truncated

from .commands import COMMAND, Terminal, run_command
from .standin import DECISION, HEADERS


async def test_a_pipe_gets_plain_text_without_escape_sequences(gateway: ScriptedUpstream, with_gateway) -> None:
    gateway.script(Answer(text="**bold** and \x1b[31mred\x1b[0m\x07, naïve ✓", headers=HEADERS))
    ran = await run_command("complete", "hello", env=with_gateway)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "**bold** and [31mred[0m, naïve ✓\n"
    assert gateway.chats[-1].json["messages"] == [{"role": "user", "content": "hello"}]
    assert gateway.chats[-1].json["model"] == "auto"


async def test_text_appears_while_it_streams(gateway: ScriptedUpstream, with_gateway) -> None:
    gateway.script(Answer(text="one two", pieces=2, delay=0.5, headers=HEADERS))
    child = await asyncio.create_subprocess_exec(
        *COMMAND, "complete", "x", env=with_gateway, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await asyncio.wait_for(child.stdout.read(4), 20) == b"one "
    assert child.returncode is None
    assert await child.stdout.read() == b"two\n"
    assert await child.wait() == 0


async def test_reads_standard_input_alone_and_after_a_prompt(gateway: ScriptedUpstream, with_gateway) -> None:
    for args, expected in ((["-"], "piped"), ([], "piped"), (["Explain:"], "Explain:\n\npiped")):
        ran = await run_command("complete", *args, env=with_gateway, stdin=b"piped")
        assert ran.code == 0, ran.err
        assert gateway.chats[-1].json["messages"][-1]["content"] == expected


async def test_options_reach_the_gateway(gateway: ScriptedUpstream, with_gateway) -> None:
    await run_command(
        "complete", "x", "--model", "openai:gpt-4o", "--system", "Be brief.", "--temperature", "0.3",
        "--max-tokens", "9", "--no-stream", env=with_gateway,
    )  # fmt: skip
    sent = gateway.chats[-1].json
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("openai:gpt-4o", 0.3, 9)
    assert sent["stream"] is False


async def test_json_holds_the_answer_and_the_decision(gateway: ScriptedUpstream, with_gateway) -> None:
    gateway.script(Answer(text="raw \x1b[31m", headers=HEADERS))
    ran = await run_command("complete", "x", "--json", env=with_gateway)
    told = json.loads(ran.out)
    assert told["text"] == "raw \x1b[31m"
    assert told["decision_id"] == DECISION
    assert told["reason"] == "cheapest that will do"
    assert told["usage"]["completion_tokens"] > 0
    assert told["estimated_cost_usd"] == 0


async def test_a_reader_that_leaves_ends_it_quietly(gateway: ScriptedUpstream, with_gateway) -> None:
    gateway.script(Answer(text="word " * 200_000, pieces=2000, headers=HEADERS))
    child = await asyncio.create_subprocess_exec(
        *COMMAND, "complete", "x", env=with_gateway, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=64,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stderr is not None
    await child.stdout.readexactly(4)
    child._transport.get_pipe_transport(1).close()  # the reader leaves, as `head` does
    assert await asyncio.wait_for(child.stderr.read(), 20) == b""
    assert await child.wait() == 1
    await gateway.wait_until(lambda upstream: upstream.abandoned == 1)


async def test_errors_of_the_gateway_are_told_with_a_mend(gateway: ScriptedUpstream, with_gateway) -> None:
    for status, body, words in (
        (401, {"message": "A valid API key is needed.", "code": "invalid_api_key"}, "--api-key"),
        (404, {"message": "The model 'x' does not exist.", "code": "model_not_found"}, "pointsman models"),
        (429, {"message": "Too many requests.", "code": "rate_limit_exceeded"}, "Try again in 7 s"),
    ):
        gateway.script(Status(status, json.dumps({"error": body}).encode(), retry_after=7))
        ran = await run_command("complete", "x", env=with_gateway)
        assert ran.code == 1
        assert ran.err.startswith("error: " + body["message"])
        assert words in ran.err
        assert "Traceback" not in ran.err


async def test_an_answer_that_breaks_off_is_a_failure(gateway: ScriptedUpstream, with_gateway) -> None:
    gateway.script(Truncated(1500, Answer(text="half of it " * 20, pieces=20, headers=HEADERS)))
    ran = await run_command("complete", "x", env=with_gateway)
    assert ran.code == 1
    assert ran.out.startswith("half of it")
    assert ran.err.startswith("error: ")
    assert "broke off" in ran.err


async def test_no_gateway_and_none_to_be_started(env) -> None:
    ran = await run_command("complete", "x", "--no-start", env=env)
    assert ran.code == 1
    assert ran.err == (
        "error: No gateway answers at http://127.0.0.1:1."
        " Start it with `pointsman serve`, or name another with --url.\n"
    )


async def test_a_named_gateway_that_is_not_there_is_not_replaced_by_another(env) -> None:
    ran = await run_command("--url", "http://127.0.0.1:1", "complete", "x", env=env)
    assert ran.code == 1
    assert "No gateway answers at http://127.0.0.1:1." in ran.err


async def test_what_is_no_gateway_is_told_of(gateway: ScriptedUpstream, with_gateway) -> None:
    gateway.script(Status(404, b"<html>nope</html>", content_type="text/html"))
    ran = await run_command("complete", "x", env=with_gateway)
    assert ran.code == 1
    assert "may not be a gateway" in ran.err


async def test_wrong_usage(env) -> None:
    for args, words in (
        (["complete", "  "], "prompt is empty"),
        (["complete", "x", "--temperature", "9"], "0<=x<=2"),
        (["--url", "ftp://x", "complete", "x"], "must be the gateway's address"),
    ):
        ran = await run_command(*args, env=env, stdin=b" ")
        assert ran.code in (1, 2)
        assert ran.err.startswith("error: ")
        assert words in ran.err


async def test_input_that_is_no_text(env) -> None:
    ran = await run_command("complete", "-", env=env, stdin=b"\xff\xfe\x00")
    assert (ran.code, ran.out) == (1, "")
    assert "not UTF-8" in ran.err


@pytest.mark.parametrize(
    "args", [("complete", "bad \udcff"), ("why", "\udcff"), ("feedback", "\udcff", "--thumb", "up")]
)
async def test_words_that_are_no_text(args: tuple[str, ...], with_gateway) -> None:
    ran = await run_command(*args, env=with_gateway)
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert "not UTF-8" in ran.err


async def test_ctrl_c_ends_it_without_a_traceback(gateway: ScriptedUpstream, with_gateway) -> None:
    gateway.script(Answer(text="word " * 100, pieces=100, delay=0.1, headers=HEADERS))
    with Terminal("complete", "x", env=with_gateway) as terminal:
        await terminal.until("word word")
        terminal.send("\x03")
        assert await terminal.ended() == 130
        assert "Traceback" not in terminal.text
    await gateway.wait_until(lambda upstream: upstream.abandoned == 1)
