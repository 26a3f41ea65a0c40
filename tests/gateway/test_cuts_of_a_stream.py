"""Where the blocks of a stream end says nothing of its answer: what is told and charged is the same for every cut."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pointsman.testing import Answer, SeenRequest, Stream
from pointsman.testing.answers import Wire
from stream_frames import BAD, BEGIN, WORD, chunk

from .running import Gateway, Reply, running

FIRST = {"chat": "cloud:first", "messages": "claude:first", "responses": "speaks:gpt-5.4", "ollama": "ollama:first"}
"""Way → a model behind which another stands."""


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def gateway(cloud_server, tmp_path_factory) -> Iterator[Gateway]:
    keyed = {"base_url": cloud_server.base_url, "api_key": "sk-x"}
    tree = {
        "providers": {
            "cloud": {
                **keyed,
                "models": ["m", "first", "next", "gpt-3.5-turbo-instruct"],
                "prices": {"m": {"input": 1000, "output": 1000}},
            },
            "claude": {
                "type": "anthropic",
                "base_url": cloud_server.root,
                "api_key": "sk-x",
                "models": ["m", "first"],
                "prices": {name: {"input": 1000, "output": 1000} for name in ("m", "first")},
            },
            "speaks": {**keyed, "models": ["gpt-5.5", "gpt-5.4", "gpt-5-codex"], "responses": True},
            "ollama": {"base_url": cloud_server.root, "models": ["m", "first"]},
        },
        "routing": {"fallbacks": {model: ["cloud:next"] for model in FIRST.values()}},
        "execution": {"retries": 0, "breaker": {"enabled": False}},
        "limits": {"first_byte_timeout": 2.0, "between_bytes_timeout": 1.0},
    }
    with running(tmp_path_factory.mktemp("cuts"), tree) as gateway:
        yield gateway


TEXT = [chunk({"content": f"word number {at} "}) for at in range(8)]
END = [chunk({}, "stop"), chunk(usage={"prompt_tokens": 10, "completion_tokens": 150, "total_tokens": 160})]
ERROR = b'data: {"error": {"message": "x", "code": "server_error"}}\n\n'
CALL = chunk({"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": "{}"}}]})


@pytest.mark.parametrize(
    ("frames", "status", "cost", "reason"),
    [
        ([*TEXT, ERROR], "error", None, None),
        ([*TEXT, *END, ERROR], "ok", 160_000, "stop"),
        ([CALL, *TEXT, b"data: [DONE]\n\n"], "ok", None, "tool_calls"),
    ],
)
def test_what_is_told_and_charged(
    gateway, cloud, frames: Sequence[bytes], status: str, cost: int | None, reason: str | None
) -> None:
    whole = b"".join(frames)
    came = set()
    for blocks in ([whole], frames, [whole[:-9], whole[-9:]], [whole[: -len(ERROR)], whole[-len(ERROR) :]]):
        cloud.default = Stream(blocks, delay=0.02)
        reply = gateway.chat(model="cloud:m", stream=True)
        outcome = gateway.decision(reply)["outcome"]
        attempt = outcome["attempts"][0]
        said = "".join(re.findall(r"word number \d ", reply.body.decode()))
        reasons = tuple(re.findall(rb'finish_reason": ?"(\w+)"', reply.body))
        bill = (outcome["cost_micro_usd"], attempt["completion_tokens"], attempt["estimated"])
        came.add((reply.status, said, reasons, b'"error"' in reply.body, outcome["status"], *bill))
    assert len(came) == 1, came
    code, said, reasons, _, told, charged, *_ = came.pop()
    assert (code, said, told) == (200, "".join(f"word number {at} " for at in range(8)), status)
    assert reasons == (() if reason is None else (reason.encode(),))
    assert charged == cost if cost is not None else (charged or 0) >= 0
    assert status != "error" or charged > 0


WAYS = {
    "chat": ("/v1/chat/completions", "cloud:m", "chat"),
    "messages": ("/v1/messages", "claude:m", "messages"),
    "messages translated": ("/v1/chat/completions", "claude:m", "messages"),
    "responses": ("/v1/responses", "speaks:gpt-5.5", "responses"),
    "responses translated": ("/v1/chat/completions", "speaks:gpt-5-codex", "responses"),
    "ollama": ("/v1/chat/completions", "ollama:m", "ollama"),
}
"""How a caller asks → the path, the model, and what its upstream speaks."""


def ask(gateway: Gateway, way: str, model: str | None = None) -> Reply:
    path, usual, _ = WAYS[way]
    model = model or usual
    turns = {"max_tokens": 500, "messages": [{"role": "user", "content": "hi"}]}
    return gateway.ask(
        "POST", path, {"model": model, "stream": True, **({"input": "hi"} if path == "/v1/responses" else turns)}
    )


def streamed(way: str, blocks: Sequence[bytes]) -> Stream:
    return Stream(blocks, "application/x-ndjson" if way == "ollama" else "text/event-stream", delay=0.02)


def blocks_of(frames: Sequence[bytes], last: bytes) -> list[list[bytes]]:
    """Streams of these frames and one that ends them, cut in several places."""
    before = b"".join(frames)
    return [
        [before + last],
        [*frames, last],
        [before, last],
        [before[:-5], before[-5:] + last],
        [before + last[:9], last[9:]],
    ]


@pytest.mark.parametrize("way", WAYS)
def test_what_was_good_before_a_bad_event_is_told(gateway, cloud, way: str) -> None:
    wire = WAYS[way][2]
    for bad in BAD[wire]:
        came = set()
        for blocks in blocks_of([*BEGIN[wire], WORD[wire], WORD[wire]], bad):
            cloud.default = streamed(way, blocks)
            reply = ask(gateway, way)
            outcome = gateway.decision(reply)["outcome"]
            attempt = outcome["attempts"][0]
            said = reply.body.count(b'"word "')
            came.add((reply.status, said, b"error" in reply.body, outcome["error"], attempt["completion_tokens"]))
        ((status, said, failed, *_),) = came
        assert (status, said, failed) == (200, 2, True)


@pytest.mark.parametrize("way", WAYS)
def test_behind_nothing_but_silence_a_bad_event_is_an_error_of_its_own(gateway, cloud, way: str) -> None:
    wire = WAYS[way][2]
    for bad in BAD[wire][-3:]:
        came = set()
        for blocks in blocks_of(BEGIN[wire], bad):
            cloud.default = streamed(way, blocks)
            reply = ask(gateway, way)
            outcome = gateway.decision(reply)["outcome"]
            came.add((reply.status, outcome["error"], outcome["attempts"][0]["first_byte_seconds"]))
        ((status, error, first_byte),) = came
        assert status >= 400
        assert (error[:8], first_byte) == ("upstream", None)


@pytest.mark.parametrize("way", FIRST)
def test_behind_nothing_but_silence_another_model_steps_in(gateway, cloud, way: str) -> None:
    for blocks in blocks_of(BEGIN[way], BAD[way][0]):
        cloud.script(streamed(way, blocks), Answer(text="From the next."))
        reply = ask(gateway, way, FIRST[way])
        assert reply.status == 200
        assert reply.headers["x-pointsman-model"] == "cloud:next"
        assert b"word" not in reply.body
        assert b"error" not in reply.body.replace(b'"error":null', b"")


@pytest.mark.parametrize("way", ["messages", "messages translated"])
def test_what_the_prompt_took_is_charged_where_an_error_follows(gateway, cloud, way: str) -> None:
    for bad in BAD["messages"][:2]:
        for blocks in [*blocks_of(BEGIN["messages"], bad), BEGIN["messages"]]:
            cloud.script(streamed(way, blocks))
            outcome = gateway.decision(ask(gateway, way))["outcome"]
            (attempt,) = outcome["attempts"]
            assert (attempt["status"], attempt["prompt_tokens"], attempt["estimated"]) == ("error", 7, False)
            assert outcome["cost_micro_usd"] == attempt["cost_micro_usd"] == 7000
    cloud.script(streamed(way, [*BEGIN["messages"], BAD["messages"][0]]), Answer(text="From the next."))
    outcome = gateway.decision(ask(gateway, way, FIRST["messages"]))["outcome"]
    assert outcome["attempts"][0]["prompt_tokens"] == 7
    assert outcome["status"] == "ok"


class Forever:
    """A stream that goes on without a word, for longer than anybody should wait.

    Args:
        words: whether it begins with one.
    """

    def __init__(self, way: str, *, words: bool) -> None:
        wire = WAYS[way][2]
        self._begin = [*BEGIN[wire], WORD[wire]] if words else BEGIN[wire]
        self._silent = BEGIN[wire][-1]
        self._type = "application/x-ndjson" if wire == "ollama" else "text/event-stream"

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await wire.head(200, {"content-type": self._type}, length=None)
        for frame in self._begin:
            await wire.body(frame)
        for at in range(1000):
            half = len(self._silent) // 2  # what is silent is silent in two pieces as well
            for piece in [self._silent[:half], self._silent[half:]] if at % 2 else [self._silent]:
                await wire.body(piece)
                await asyncio.sleep(0.02)
        await wire.end()


class ByPath:
    """Such a stream of whatever is asked for."""

    def __init__(self, *, words: bool) -> None:
        self._words = words

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        last = request.path.rpartition("/")[2]
        way = {"messages": "messages", "responses": "responses", "chat": "ollama"}.get(last, "chat")
        await Forever(way, words=self._words).play(request, wire)


@pytest.mark.parametrize("words", [False, True])
def test_silence_is_timed_in_every_dialect(gateway, cloud, words: bool) -> None:
    cloud.default = ByPath(words=words)
    with ThreadPoolExecutor(len(WAYS)) as pool:
        replies = dict(zip(WAYS, pool.map(lambda way: ask(gateway, way), WAYS), strict=True))
    for way, reply in replies.items():
        assert (way, reply.status) == (way, 200 if words else 504)
        outcome = gateway.decision(reply)["outcome"]
        (attempt,) = outcome["attempts"]
        assert (way, outcome["error"]) == (way, "upstream_timeout")
        assert (attempt["first_byte_seconds"] is not None) is words
        assert reply.body.count(b'"word "') == words


@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_of_several_choices_without_an_end_each_is_given_one(gateway, cloud, kind: str) -> None:
    said = {"text": "word "} if kind == "completion" else {"delta": {"content": "word "}}
    choices = [{"index": at, **said, "finish_reason": "length" if at == 1 else None} for at in (0, 1, 2)]
    frames = [b'data: {"id": "c", "choices": %b}\n\n' % json.dumps([choice]).encode() for choice in choices]
    cloud.default = Stream([*frames, b"data: [DONE]\n\n"])
    if kind == "chat":
        reply = gateway.chat(model="cloud:m", stream=True, n=3)
    else:
        asked = {"model": "cloud:gpt-3.5-turbo-instruct", "prompt": "hi", "stream": True, "n": 3}
        reply = gateway.ask("POST", "/v1/completions", asked)
    told = [json.loads(line[6:])["choices"][0] for line in reply.body.split(b"\n") if line.startswith(b"data: {")]
    finishes = [(choice["index"], choice["finish_reason"]) for choice in told if choice["finish_reason"]]
    assert finishes == [(1, "length"), (0, "stop"), (2, "stop")]


CALLERS = {
    "messages": ("/v1/messages", {"max_tokens": 500}),
    "responses": ("/v1/responses", {}),
    "ollama": ("/api/chat", {}),
    "completions": ("/v1/completions", {}),
}
"""Who is told a chat in another dialect."""
ODD = [chunk({"content": 5}), chunk({"tool_calls": [7]}), chunk({"content": "x"}, 5), chunk(5), ERROR]


def asked(caller: str) -> dict[str, Any]:
    """A question in this dialect, for a stream."""
    turns = {"responses": {"input": "hi"}, "completions": {"prompt": "hi"}}
    question = turns.get(caller, {"messages": [{"role": "user", "content": "hi"}]})
    return {"model": "cloud:m", "stream": True, **question, **CALLERS[caller][1]}


@pytest.mark.parametrize("caller", CALLERS)
def test_a_chunk_that_nobody_can_translate_takes_none_before_it_along(gateway, cloud, caller: str) -> None:
    path, body = CALLERS[caller][0], asked(caller)
    for bad in ODD:
        came = set()
        for blocks in blocks_of([*BEGIN["chat"], WORD["chat"], WORD["chat"]], bad):
            cloud.script(Stream(blocks, delay=0.02))
            reply = gateway.ask("POST", path, body)
            said, status = reply.body.count(b'"word "'), gateway.decision(reply)["outcome"]["status"]
            came.add((reply.status, said, b"error" in reply.body, status))
        assert came == {(200, 2, True, "error")}
    cloud.script(Stream([*BEGIN["chat"], WORD["chat"], ODD[0]]), Answer(text="and the rest"))
    reply = gateway.ask("POST", path, {**body, "model": "cloud:first"})
    assert gateway.decision(reply)["outcome"]["status"] == "ok", "another model goes on"


SEVERAL = chunk(choices=[{"index": at, "delta": {"content": "word "}} for at in (0, 1)])
STRANGE: dict[str, tuple[Sequence[bytes], int, int]] = {
    "no choices": ([chunk({"content": "word "}), b'data: {"id": "c"}\n\n', *END], 200, 1),
    "choices of null": ([b'data: {"id": "c", "choices": null}\n\n', WORD["chat"], *END], 200, 1),
    "several choices": ([BEGIN["chat"][0], SEVERAL, WORD["chat"], *END], 200, 2),
    "a role before an error": ([chunk({"role": "assistant"}), ERROR], 502, 0),
    "an error among good ones": ([WORD["chat"], ERROR, WORD["chat"], *END], 200, 1),
    "an error behind a bill": ([*BEGIN["chat"], WORD["chat"], *END, ERROR, WORD["chat"]], 200, 1),
    "no id": ([chunk({"content": "word "}, id=None), chunk({"content": "word "}, model=5, created="x"), *END], 200, 2),
    "odd log-probabilities": (
        [chunk(choices=[{"index": 0, "delta": {"content": "word "}, "logprobs": 5}]), *END],
        200,
        1,
    ),
}
"""Name → a chat's frames, the status, and how often a caller who asked for one answer is told the word in choice 0."""


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_chat_as_a_completion(gateway, cloud, name: str) -> None:
    frames, status, words = STRANGE[name]
    whole, came, chance = b"".join(frames), set(), random.Random(7)
    for at in (0, len(whole), -5, *(chance.randrange(1, len(whole)) for _ in range(3))):
        cloud.script(Stream([whole[:at], whole[at:]] if at else frames, delay=0.01))
        reply = gateway.ask("POST", "/v1/completions", asked("completions"))
        outcome = gateway.decision(reply)["outcome"]
        attempt = outcome["attempts"][0]
        told = tuple(line for line in reply.body.split(b"\n") if line.startswith(b'data: {"id"'))
        bill = (outcome["cost_micro_usd"], attempt["completion_tokens"], attempt["estimated"], outcome["answer_id"])
        came.add((reply.status, told, b'"error"' in reply.body, outcome["status"], outcome["finish_reason"], *bill))
    assert len(came) == 1, came
    ((code, told, failed, ended, *_),) = came
    choices = [choice for line in told for choice in json.loads(line[6:])["choices"] if choice["index"] == 0]
    assert (code, [choice["text"] for choice in choices].count("word ")) == (status, words)
    assert (ended == "error") is failed
