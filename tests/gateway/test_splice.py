"""A stream whose upstream dies is one whole answer to every client, told by two models."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import anthropic
import ollama
import openai
import pytest

from pointsman.testing import (
    Answer,
    HangUp,
    Reset,
    ScriptedUpstream,
    SeenRequest,
    Stall,
    Status,
    Step,
    ToolUse,
    Truncated,
)
from pointsman.testing.answers import Wire

from .running import Gateway, running
from .test_every_sdk_in_trouble import Clients, chat, chat_chunks, messages, ollama_chat, ollama_generate, responses

pytestmark = pytest.mark.client

TEXT = (
    "The quick brown fox jumps over the lazy dog. Then it runs home, très vite, and sleeps.\n\n"
    "```python\ndef add(a, b):\n    return a + b\n```\n\nThat is all."
)
WORDS = "letter for letter, and go on from there. The last words are:\n"
ERRORS = {
    "chat/completions": b'data: {"error": {"message": "out of memory", "type": "server_error"}}\n\n',
    "messages": b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}\n\n',
    "responses": b'event: error\ndata: {"type": "error", "code": "server_error", "message": "out of memory"}\n\n',
}
CALL = ToolUse("read", {"path": "a.py", "text": 'x = "{"'}, "call_1")


class Spoilt:
    """An answer that whole frames later goes on with other bytes."""

    def __init__(self, after_bytes: int, answer: Answer, last: bytes | None = None) -> None:
        self._left, self._answer, self._last = after_bytes, answer, last

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        self._wire = wire
        last = self._last or ERRORS[request.path.partition("/v1/")[2]]
        with contextlib.suppress(StopAsyncIteration):
            await self._answer.play(request, self)
        await wire.body(last)
        await wire.end()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    async def body(self, data: bytes) -> None:
        if self._left <= 0:
            raise StopAsyncIteration
        self._left -= len(data)
        await self._wire.body(data)


BREAKS = {
    "reset": Reset,
    "hang-up": HangUp,
    "truncated": Truncated,
    "stall": Stall,
    "error": Spoilt,
    "garbage": partial(Spoilt, last=b'data: {"choices": \xff\n\n'),
    "detail": partial(Spoilt, last=b'data: {"detail": "Internal error"}\n\n'),
    "event": partial(Spoilt, last=b'event: error\ndata: {"message": "out of memory"}\n\n'),
    "done": partial(Spoilt, last=b"data: [DONE]\n\n"),
    "null": partial(Spoilt, last=b'data: {"id": "x", "choices": [null]}\n\n'),
}


class GoesOn:
    """Goes on with what it is given of the text, by prefill or as it is asked to."""

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        turns = [turn for turn in request.json["messages"] if turn["role"] in ("user", "assistant")]
        said = TEXT
        if turns[-1]["role"] == "assistant":
            assert TEXT.startswith(_text(turns[-1]))
            said = TEXT[len(_text(turns[-1])) :]
        elif WORDS in _text(turns[-1]):
            assert TEXT.startswith(_text(turns[-2]))
            said = _text(turns[-1]).partition(WORDS)[2] + TEXT[len(_text(turns[-2])) :]
        calls = [CALL] if request.json.get("tools") else []
        await Answer(text=said, tool_calls=calls, pieces=9, id="chatcmpl-second").play(request, wire)


class ByModel:
    """`dies` breaks off as the message says (`how=reset after=700`), others go on; `picky` not by prefill, `brittle`
    neither, `sick` not at all, and
    `pickier` not at all."""

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        asked = request.json
        step: Step = GoesOn()
        if asked["model"] == "pickier" or (asked["model"] == "picky" and _prefilled(request)):
            step = Status(400)
        if asked["model"] == "sick" or (asked["model"] == "brittle" and _prefilled(request)):
            step = Status(500)
        if asked["model"].startswith(("dies", "claude-dies")):
            wish = re.search(rb"how=([a-z-]+) after=(\d+)", request.body)
            assert wish is not None
            calls = [CALL] if asked.get("tools") else []
            answer = Answer(text=TEXT, pieces=24, tool_calls=calls, id="chatcmpl-first", comments=True)
            step = BREAKS[wish[1].decode()](after_bytes=int(wish[2]), answer=answer)
        await step.play(request, wire)


def _prefilled(request: SeenRequest) -> bool:
    return bool(request.json["messages"][-1]["role"] == "assistant")


def _text(turn: dict[str, Any]) -> str:
    content = turn["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


@pytest.fixture(scope="module")
def upstream(background) -> Iterator[ScriptedUpstream]:
    upstream = ScriptedUpstream(default=ByModel())
    background.run(upstream.__aenter__())
    yield upstream
    background.run(upstream.__aexit__(None, None, None))


FIRST = {"chat": "openai:dies", "messages": "claude:claude-dies", "responses": "speaks:dies"}
SECOND = {"by-prefill": "vllm:goes-on", "by-prompt": "plain:goes-on", "at-Claude": "claude:claude-goes-on"}
ALONE = ("dies-alone", "dies-by-pickier", "dies-by-brittle", "dies-by-sick")


@pytest.fixture(scope="module")
def gateway(upstream: ScriptedUpstream, tmp_path_factory) -> Iterator[Gateway]:
    seconds = [*SECOND, "by-picky"]
    own, claudes = [f"dies-{second}" for second in seconds], [f"claude-dies-{second}" for second in seconds]
    able = {"name": "goes-on", "capabilities": ["chat", "tools"]}
    tree = {
        "providers": {
            "openai": {"base_url": upstream.base_url, "api_key": "sk-a", "models": [*own, *ALONE]},
            "speaks": {"base_url": upstream.base_url, "api_key": "sk-a", "responses": True, "models": own},
            "claude": {
                "type": "anthropic",
                "base_url": upstream.root,
                "api_key": "sk-a",
                "models": [*claudes, {**able, "name": "claude-goes-on"}],
            },
            "plain": {"base_url": upstream.base_url, "api_key": "sk-a", "models": [able]},
            "vllm": {"base_url": upstream.base_url, "models": [able, "picky", "pickier", "brittle", "sick"]},
            "ollama": {"enabled": False},
        },
        "routing": {
            "fallbacks": {
                **{f"{first}-{name}": [SECOND[name]] for first in FIRST.values() for name in SECOND},
                **{f"{first}-by-picky": ["vllm:picky"] for first in FIRST.values()},
                **{f"openai:dies-by-{name}": [f"vllm:{name}", "plain:goes-on"] for name in ("pickier", "sick")},
                "openai:dies-by-brittle": ["vllm:brittle"],
            }
        },
        "limits": {"first_byte_timeout": 10.0, "between_bytes_timeout": 1.0, "connect_timeout": 5.0},
    }
    with running(tmp_path_factory.mktemp("splice"), tree) as gateway:
        yield gateway


AFTER = {"chat": (900, 2300, 4000), "messages": (900, 1900, 3000), "responses": (2400, 4000, 5600)}
"""Bytes; where a text is under way in an answer of each upstream."""
CLIENTS = {
    "chat": (chat, "chat"),
    "chat by chunks": (chat_chunks, "chat"),
    "chat from Claude": (chat, "messages"),
    "messages, relayed": (messages, "messages"),
    "messages, translated": (messages, "chat"),
    "responses, relayed": (responses, "responses"),
    "responses, translated": (responses, "chat"),
    "ollama chat": (ollama_chat, "chat"),
    "ollama generate": (ollama_generate, "messages"),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_every_client_reads_one_whole_answer(gateway: Gateway, upstream: ScriptedUpstream, name: str):
    ask, first = CLIENTS[name]
    turns = range(9)
    hows = [list(BREAKS)[turn % 6] for turn in turns]
    cases = [(hows[turn], AFTER[first][(turn + turn // 6) % 3], list(SECOND)[turn // 3]) for turn in turns]
    upstream.requests.clear()

    async def one(clients: Clients, how: str, after: int, second: str, turn: asyncio.Semaphore) -> str | None:
        async with turn:
            try:
                told = await ask(clients, f"{FIRST[first]}-{second}", f"how={how} after={after} .", True)
            except (openai.APIError, anthropic.APIError, ollama.ResponseError) as error:
                told = f"{type(error).__name__}: {error}"
        return None if told == TEXT else f"{how} after {after}, {second}: {told!r}"

    async def all_of_them() -> list[str]:
        clients, turn = Clients(gateway), asyncio.Semaphore(12)
        async with clients.openai, clients.claude, clients.ollama:
            ended = await asyncio.gather(*(one(clients, *case, turn) for case in cases))
        return [wrong for wrong in ended if wrong is not None]

    wrong = asyncio.run(all_of_them())
    assert not wrong, "\n".join(wrong)
    went_on = [request for request in upstream.requests if b"goes-on" in request.body]
    assert len(went_on) == len(cases)
    from_what_was_told = [request for request in went_on if b"The quick" in request.body]
    assert len(from_what_was_told) >= len(cases) // 2  # what a reset takes with it was not told


@pytest.mark.parametrize("how", ["detail", "event", "null"])
@pytest.mark.parametrize("ask", [chat, chat_chunks])
def test_what_is_no_chunk_does_not_reach_a_client(gateway: Gateway, ask: Any, how: str):
    async def once() -> str:
        clients = Clients(gateway)
        async with clients.openai, clients.claude, clients.ollama:
            told: str = await ask(clients, "openai:dies-by-prefill", f"how={how} after=2300 .", True)
        return told

    assert asyncio.run(once()) == TEXT


def test_a_whole_answer_without_a_finish_is_ended(gateway: Gateway):
    async def once() -> tuple[str, list[str | None]]:
        clients = Clients(gateway)
        async with clients.openai, clients.claude, clients.ollama:
            turns = [{"role": "user", "content": "how=done after=2300 ."}]
            stream = await clients.openai.chat.completions.create(
                model="openai:dies-alone", messages=turns, stream=True
            )
            chosen = [choice async for chunk in stream for choice in chunk.choices]
        return "".join(choice.delta.content or "" for choice in chosen), [choice.finish_reason for choice in chosen]

    told, finishes = asyncio.run(once())
    assert told
    assert TEXT.startswith(told)
    assert [finish for finish in finishes if finish] == ["stop"]


TOOL = {"type": "object", "properties": {"path": {"type": "string"}, "text": {"type": "string"}}}


@pytest.mark.parametrize(
    ("after", "second"), [(1500, "by-prefill"), (5000, "by-prompt"), (5600, "at-Claude"), (6400, "by-prefill")]
)
def test_a_call_is_told_whole_and_once(gateway: Gateway, after: int, second: str):
    said = f"how=truncated after={after} ."

    async def ask() -> None:
        clients = Clients(gateway)
        async with clients.openai, clients.claude, clients.ollama:
            tool: Any = {"type": "function", "function": {"name": "read", "parameters": TOOL}}
            turns: Any = [{"role": "user", "content": said}]
            create = clients.openai.chat.completions
            async with create.stream(model=f"openai:dies-{second}", messages=turns, tools=[tool]) as events:
                message = (await events.get_final_completion()).choices[0].message
            assert message.content == TEXT
            (call,) = message.tool_calls or ()
            assert (call.function.name, json.loads(call.function.arguments)) == ("read", CALL.arguments)
            tools: Any = [{"name": "read", "input_schema": TOOL}]
            model = f"claude:claude-dies-{second}"
            asked = clients.claude.messages.stream(model=model, max_tokens=500, messages=turns, tools=tools)
            async with asked as told:
                final = await told.get_final_message()
            assert "".join(block.text for block in final.content if block.type == "text") == TEXT
            calls = [block for block in final.content if block.type == "tool_use"]
            assert [(block.name, block.input) for block in calls] == [("read", CALL.arguments)]
            assert final.stop_reason == "tool_use"

    asyncio.run(ask())


def test_the_log_tells_both_attempts_and_the_answer_has_one_id(gateway: Gateway):
    turns = [{"role": "user", "content": "how=hang-up after=2300 ."}]  # a reset may take with it what had come
    body = {"model": "openai:dies-by-prompt", "messages": turns, "stream": True}
    reply = gateway.ask("POST", "/v1/chat/completions", body)
    outcome = gateway.decision(reply)["outcome"]
    assert outcome["status"] == "ok"
    assert [attempt["status"] for attempt in outcome["attempts"]] == ["error", "ok"]
    assert [attempt["estimated"] for attempt in outcome["attempts"]] == [True, False]
    assert all(attempt["completion_tokens"] for attempt in outcome["attempts"])
    chunks = [json.loads(line[6:]) for line in reply.body.split(b"\n") if line.startswith(b"data: {")]
    assert {chunk["id"] for chunk in chunks} == {"chatcmpl-first"} == {outcome["answer_id"]}


def test_a_break_behind_the_end_leaves_clients_an_estimate_of_the_usage(gateway: Gateway):
    answer = Answer(text=TEXT, pieces=24, id="chatcmpl-first", comments=True)
    asked = {"model": "dies-by-prompt", "stream_options": {"include_usage": True}}
    frames = b"".join(answer.openai_frames(asked))
    after = frames.rindex(b"data: {") + 9
    said = f"how=hang-up after={after} ."  # a reset may take the end with it

    async def ask() -> tuple[Any, Any]:
        clients = Clients(gateway)
        async with clients.openai, clients.claude, clients.ollama:
            turns: Any = [{"role": "user", "content": said}]
            model = "openai:dies-by-prompt"
            wish: Any = {**asked, "model": model, "messages": turns, "stream": True}
            chunks = [one async for one in await clients.openai.chat.completions.create(**wish)]
            async with clients.claude.messages.stream(model=model, max_tokens=500, messages=turns) as told:
                return chunks, await told.get_final_message()

    chunks, message = asyncio.run(ask())
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    usage = chunks[-1].usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0.5 < usage.completion_tokens / (len(TEXT) / 4) < 2
    assert message.usage.output_tokens == usage.completion_tokens


def streamed(gateway: Gateway, model: str) -> tuple[str, list[dict[str, Any]]]:
    """What a caller of chat reads, and the attempts."""
    body = {"model": model, "messages": [{"role": "user", "content": "how=truncated after=2300 ."}], "stream": True}
    reply = gateway.ask("POST", "/v1/chat/completions", body)
    chunks = [json.loads(line[6:]) for line in reply.body.split(b"\n") if line.startswith(b"data: {")]
    told = "".join(one["delta"].get("content") or "" for each in chunks for one in each.get("choices", ()))
    outcome = gateway.decision(reply)["outcome"]
    assert (outcome["status"], outcome["http_status"]) == ("ok", 200)
    return told, outcome["attempts"]


def test_a_model_that_refuses_prefill_is_asked_in_words_and_by_prefill_no_more(
    gateway: Gateway, upstream: ScriptedUpstream
):
    upstream.requests.clear()
    told, attempts = streamed(gateway, "openai:dies-by-picky")
    assert told == TEXT
    assert [(attempt["model"], attempt["status"]) for attempt in attempts] == [
        ("openai:dies-by-picky", "error"), ("vllm:picky", "error"), ("vllm:picky", "ok"),
    ]  # fmt: skip
    assert "400" in attempts[1]["error"]
    assert "in words" in attempts[1]["note"]
    assert [attempt["went_on"] for attempt in attempts] == [False, True, True], "the answer is nobody's own"
    picky = [request for request in upstream.requests if request.json["model"] == "picky"]
    assert [_prefilled(request) for request in picky] == [True, False]
    assert all("continue_final_message" not in request.json for request in picky[1:])

    assert asyncio.run(_asked_of_all(gateway)) == [TEXT] * 3
    picky = [request for request in upstream.requests if request.json["model"] == "picky"]
    assert [_prefilled(request) for request in picky] == [True, False, False, False, False]


async def _asked_of_all(gateway: Gateway) -> list[Any]:
    clients, said = Clients(gateway), "how=truncated after=2800 ."
    async with clients.openai, clients.claude, clients.ollama:
        asked = {chat: "chat", messages: "messages", responses: "responses"}
        return [await ask(clients, f"{FIRST[first]}-by-picky", said, True) for ask, first in asked.items()]


def test_where_a_model_refuses_to_go_on_at_all_the_next_one_does(gateway: Gateway):
    told, attempts = streamed(gateway, "openai:dies-by-pickier")
    assert told == TEXT
    assert [(attempt["model"], attempt["status"]) for attempt in attempts] == [
        ("openai:dies-by-pickier", "error"), ("vllm:pickier", "error"), ("vllm:pickier", "error"),
        ("plain:goes-on", "ok"),
    ]  # fmt: skip


def test_a_model_that_stumbles_over_prefill_is_asked_in_words(gateway: Gateway, upstream: ScriptedUpstream):
    upstream.requests.clear()
    for asked, tries in (([True, False], ["error", "error", "ok"]), ([True, False, False], ["error", "ok"])):
        told, attempts = streamed(gateway, "openai:dies-by-brittle")
        assert told == TEXT
        assert [attempt["status"] for attempt in attempts] == tries
        brittle = [request for request in upstream.requests if request.json["model"] == "brittle"]
        assert [_prefilled(request) for request in brittle] == asked


def test_of_a_model_that_is_sick_nothing_is_learned_of_prefill(gateway: Gateway, upstream: ScriptedUpstream):
    upstream.requests.clear()
    for _ in range(2):
        told, attempts = streamed(gateway, "openai:dies-by-sick")
        assert told == TEXT
        assert [attempt["model"] for attempt in attempts[1:]] == ["vllm:sick", "vllm:sick", "plain:goes-on"]
    sick = [request for request in upstream.requests if request.json["model"] == "sick"]
    assert [_prefilled(request) for request in sick] == [True, False, True, False]


def test_where_nobody_follows_the_stream_ends_with_an_error(gateway: Gateway):
    turns = [{"role": "user", "content": "how=reset after=2300 ."}]
    body = {"model": "openai:dies-alone", "messages": turns, "stream": True}
    reply = gateway.ask("POST", "/v1/chat/completions", body)
    assert json.loads(reply.body.strip().split(b"data: ")[-1])["error"]["code"] == "upstream_broken"
