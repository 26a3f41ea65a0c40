"""A person at a terminal. The screen is what a terminal emulator makes of the bytes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pointsman.testing import Answer, ScriptedUpstream, Status

from .commands import Terminal, run_command
from .standin import DECISION, HEADERS

PROMPT = r"^auto › ?$"


def said(gateway: ScriptedUpstream) -> list[list[tuple[str, str]]]:
    """The messages of each chat request."""
    return [[(m["role"], m["content"]) for m in chat.json["messages"]] for chat in gateway.chats]


async def test_an_answer_is_drawn_while_it_comes_and_told_of_below(gateway, with_gateway) -> None:
    gateway.script(
        Answer(text="# Hello\n\nSome **bold** text.\n\n- one\n- two\n", pieces=9, delay=0.2, headers=HEADERS)
    )
    with Terminal("chat", env=with_gateway) as terminal:
        await terminal.until(PROMPT)
        terminal.line("hi")
        await terminal.until("^Hello$")
        assert "two" not in terminal.text
        text = await terminal.until(
            r"^embedded:qwen2.5-coder:0.5b · cheapest that will do · \d+ \+ \d+ tokens · free · [\d.]+ s"
        )
        assert re.search(r"^Hello\n\nSome bold text\.\n\n • one\n • two\nembedded:", text, re.MULTILINE)
        await terminal.until(PROMPT)
        terminal.send("\x04")
        assert await terminal.ended() == 0
    assert gateway.chats[0].json["stream_options"] == {"include_usage": True}


async def test_a_long_answer_is_shown_whole_and_nothing_twice(gateway, with_gateway) -> None:
    code = "\n".join(f"    x{number} = {number}" for number in range(120))
    gateway.script(Answer(text=f"First.\n\n```python\n{code}\n```\n\nLast.", pieces=300, delay=0.002, headers=HEADERS))
    with Terminal("chat", env=with_gateway, lines=20) as terminal:
        await terminal.until(PROMPT)
        terminal.line("hi")
        text = await terminal.until(r"tokens · free")
    for number in range(120):
        assert len(re.findall(rf"^    x{number} = {number}$", text, re.MULTILINE)) == 1, number
    assert text.index("First.") < text.index("x0 = 0") < text.index("x119 = 119") < text.index("Last.")


async def test_text_of_a_model_cannot_drive_the_terminal(gateway, with_gateway) -> None:
    evil = "a\x1b]0;owned\x07b\x1b[2Jc\x9b5nd [link](javascript:alert)\u202eabc"
    gateway.script(Answer(text=evil, headers={**HEADERS, "x-pointsman-reason": "odd"}))
    with Terminal("chat", env=with_gateway) as terminal:
        await terminal.until(PROMPT)
        terminal.line("hi")
        text = await terminal.until("tokens · free")
        assert "a]0;ownedb[2Jc5nd" in text
        for forbidden in ("\x1b]0;owned", "\x1b[2Jc", "\x9b", "\u202e", "\x1b]8;"):
            assert forbidden not in terminal.raw


async def test_ctrl_c_stops_the_answer_and_keeps_what_had_come(gateway, with_gateway, tmp_path: Path) -> None:
    gateway.script(Answer(text="word " * 100, pieces=100, delay=0.1, headers=HEADERS))
    with Terminal("chat", env=with_gateway) as terminal:
        await terminal.until(PROMPT)
        terminal.line("hi")
        await terminal.until("word word")
        terminal.send("\x03")
        await terminal.until("stopped; what had come is kept")
        await gateway.wait_until(lambda upstream: upstream.abandoned == 1)
        await terminal.until(PROMPT)
        terminal.line("go on")
        await terminal.until("Hello from upstream")
        await terminal.until(PROMPT)
        terminal.line("/save talk.md")
        await terminal.until("Saved 4 messages")
    second = said(gateway)[1]
    assert second[0] == ("user", "hi")
    assert second[1][0] == "assistant"
    assert second[1][1].startswith("word word")
    assert second[2] == ("user", "go on")
    assert "### embedded:qwen2.5-coder:0.5b (stopped)" in (tmp_path / "talk.md").read_text()


async def test_ctrl_c_before_the_first_word(gateway, with_gateway) -> None:
    gateway.script(Answer(text="late", first_delay=60))
    with Terminal("chat", env=with_gateway) as terminal:
        await terminal.until(PROMPT)
        terminal.line("hi")
        await terminal.until(r"^waiting… \d+ s")
        terminal.send("\x03")
        text = await terminal.until("^stopped$")
        assert "waiting" not in text
        await terminal.until(PROMPT)
        terminal.line("/retry")
        await terminal.until("Hello from upstream")
    assert said(gateway) == [[("user", "hi")], [("user", "hi")]]


async def test_an_error_is_told_and_the_chat_goes_on(gateway, with_gateway) -> None:
    gateway.script(Status(503, b'{"error": {"message": "The queue is \\u001b[2Jfull.", "code": "overloaded"}}'))
    with Terminal("chat", env=with_gateway) as terminal:
        await terminal.until(PROMPT)
        terminal.line("hi")
        await terminal.until(r"^error: The queue is \[2Jfull\.")
        await terminal.until(PROMPT)
        terminal.line("again")
        await terminal.until("Hello from upstream")
    assert said(gateway)[1] == [("user", "again")]


async def test_why_explains_the_last_decision(gateway, with_gateway) -> None:
    with Terminal("chat", env=with_gateway, columns=120) as terminal:
        await terminal.until(PROMPT)
        terminal.line("/why")
        await terminal.until("error: There is no answer yet")
        terminal.line("hi")
        await terminal.until("tokens · free")
        await terminal.until(PROMPT)
        terminal.line("/why")
        text = await terminal.until(DECISION)
    for words in (
        "embedded:qwen2.5-coder:0.5b was chosen.", "the prompt is easy",
        r"openai:gpt-4o +95% +\$0\.001234 +1\.5 s +0\.600 +0\.1", "ollama:tiny +context +2,048 tokens are too few",
        "completion \\(70% sure\\)", "propensity 0.9", "11 in, 7 out",
    ):  # fmt: skip
        assert re.search(words, text), words


async def test_save_load_and_go_on(gateway, with_gateway, tmp_path: Path) -> None:
    with Terminal("chat", "--system", "Be brief.", env=with_gateway) as terminal:
        await terminal.until(PROMPT)
        terminal.line("hi")
        await terminal.until("tokens · free")
        terminal.line("/save talk.json")
        await terminal.until("Saved 2 messages to talk.json")
        terminal.line("/save talk.txt")
        await terminal.until(r"error: talk.txt: name a file that ends in \.md")
        terminal.line("/save nowhere/talk.md")
        await terminal.until("error: nowhere/talk.md cannot be written: No such file")
    saved = json.loads((tmp_path / "talk.json").read_text())
    assert saved["turns"][1]["decision"] == DECISION
    assert (tmp_path / "talk.json").stat().st_mode & 0o077 == 0
    assert not list(tmp_path.glob(".talk*"))
    (tmp_path / "broken.json").write_text('{"turns": 3}')
    with Terminal("chat", env=with_gateway) as terminal:
        await terminal.until(PROMPT)
        terminal.line("/load broken.json")
        await terminal.until("error: broken.json holds no saved conversation")
        terminal.line("/load talk.json")
        await terminal.until("Loaded 2 messages")
        terminal.line("and now?")
        await terminal.until("tokens · free")
    assert said(gateway)[-1] == [
        ("system", "Be brief."), ("user", "hi"), ("assistant", "Hello from upstream."), ("user", "and now?"),
    ]  # fmt: skip


async def test_model_system_clear_and_feedback(gateway, with_gateway) -> None:
    with Terminal("chat", env=with_gateway) as terminal:
        await terminal.until(PROMPT)
        terminal.line("/model")
        await terminal.until("openai:gpt-4o")
        terminal.line("/model gpt4")
        await terminal.until("There is no model gpt4. Did you mean openai:gpt-4o")
        terminal.line("/model openai:gpt-4o")
        await terminal.until("^openai:gpt-4o › ?$")
        terminal.line("/system You are a pirate.")
        await terminal.until("System prompt: You are a pirate.")
        terminal.line("hi")
        await terminal.until("tokens · free")
        terminal.line("/bad too short")
        await terminal.until("Noted")
        terminal.line("/clear")
        await terminal.until("A new conversation")
        terminal.line("/system -")
        await terminal.until("System prompt: none")
        terminal.line("fresh")
        await terminal.until(r"(?s)fresh.*tokens · free")
        terminal.line("/hlep")
        await terminal.until("There is no command /hlep; did you mean /help")
        terminal.line("/help")
        await terminal.until("/quit +Leave.")
        terminal.line("/quit")
        assert await terminal.ended() == 0
    assert said(gateway) == [[("system", "You are a pirate."), ("user", "hi")], [("user", "fresh")]]
    assert gateway.chats[0].json["model"] == "openai:gpt-4o"
    feedback = [request.json for request in gateway.requests if request.path == "/v1/feedback"]
    assert feedback == [{"id": DECISION, "thumb": "down", "comment": "too short"}]


async def test_several_lines(gateway, with_gateway) -> None:
    with Terminal("chat", env=with_gateway) as terminal:
        await terminal.until(PROMPT)
        terminal.send("one\\\rtwo\x1b\rthree\r")
        await terminal.until("tokens · free")
        terminal.line("/usr/bin/python fails, why?")
        await terminal.until(r"(?s)tokens · free.*tokens · free")
    assert said(gateway)[0] == [("user", "one\ntwo\nthree")]
    assert said(gateway)[1][-1] == ("user", "/usr/bin/python fails, why?")


async def test_history_and_completion(gateway, with_gateway, tmp_path: Path) -> None:
    with Terminal("chat", env=with_gateway) as terminal:
        await terminal.until(PROMPT)
        terminal.line("remember me")
        await terminal.until("tokens · free")
        terminal.send("\x04")
        assert await terminal.ended() == 0
    history = tmp_path / "data" / "chat_history"
    assert history.stat().st_mode & 0o077 == 0
    with Terminal("chat", env=with_gateway) as terminal:
        await terminal.until(PROMPT)
        terminal.send("\x1b[A")
        await terminal.until("auto › remember me")
        terminal.send("\x03")
        await terminal.until("Ctrl-D or /quit leaves")
        terminal.send("/mod")
        await terminal.until("/model +Which model to ask")
        terminal.send("\t")
        await terminal.until("^auto › /model")
        terminal.send(" gpt")
        await terminal.until("^auto › /model gpt\n +openai:gpt-4o")
    assert len(gateway.chats) == 1


async def test_no_color_is_respected(gateway, with_gateway) -> None:
    gateway.script(Answer(text="```python\nx = 'red'\n```", headers=HEADERS))
    with Terminal("chat", env={**with_gateway, "NO_COLOR": "1"}) as terminal:
        await terminal.until(PROMPT)
        terminal.line("hi")
        await terminal.until("tokens · free")
        colours = re.findall(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|38;[\d;]+)m", terminal.raw)
        assert colours == []


async def test_a_dumb_terminal_gets_plain_text(gateway, with_gateway) -> None:
    gateway.script(Answer(text="**plain** text", headers=HEADERS))
    with Terminal("chat", env={**with_gateway, "TERM": "dumb"}) as terminal:
        await terminal.until("auto ›")
        terminal.line("hi")
        await terminal.until("tokens · free")
        assert "**plain** text" in terminal.text


@pytest.mark.parametrize("args", [("chat",)])
async def test_needs_a_terminal(args, with_gateway) -> None:
    ran = await run_command(*args, env=with_gateway)
    assert (ran.code, ran.err) == (1, "error: chat needs a terminal; in pipes use `pointsman complete`.\n")


async def test_what_is_typed_during_an_answer_is_there_at_the_prompt(gateway, with_gateway) -> None:
    gateway.script(Answer(text="word " * 10, pieces=10, delay=0.1, headers=HEADERS))
    with Terminal("chat", env=with_gateway) as terminal:
        await terminal.until(PROMPT)
        terminal.line("hi")
        await terminal.until("word word")
        terminal.line("next\x1b\rquestion")
        terminal.send("\x04")
        assert await terminal.ended() == 0
        assert re.search(r"word word\nembedded", terminal.text)
    assert said(gateway)[1][-1] == ("user", "next\nquestion")
