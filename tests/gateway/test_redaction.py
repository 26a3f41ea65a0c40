"""What becomes of each class at each level, with redaction off and on, through real gateways; and answers unmasked."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pointsman.core.signals import PrivacyClass
from pointsman.evals.privacy.cases import cases
from pointsman.pipeline.understand.detectors import Detectors
from pointsman.pipeline.understand.privacy import LEVELS, fate
from pointsman.testing.answers import Answer, HangUp, Page, Raw, SeenRequest, Status, Stream, Wire

from .running import Gateway, running

TOKEN = "ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"
CARD = "4539 5787 6362 1486"
CANARIES = {
    PrivacyClass.SECRET: TOKEN,
    PrivacyClass.IDENTITY: CARD,
    PrivacyClass.CONTACT: "greta.canary@pointsman-customer.de",
    PrivacyClass.INTERNAL: "10.20.30.40",
    None: "the weather in Lisbon",
}
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module", params=["native"])
def data_plane(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def masking(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with redaction on."""
    tree = {**settings, "privacy": {"redaction": True, "store_prompts": "public"}, "log": {"level": "debug"}}
    with running(tmp_path_factory.mktemp("masking"), tree) as gateway:
        yield gateway


@pytest.mark.parametrize("redaction", [False, True])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", CANARIES)
def test_every_cell_of_the_table(gateway, masking, cloud, lan, kind, level, redaction):
    asked = masking if redaction else gateway
    canary = CANARIES[kind]
    expected = fate(level, kind, redaction=redaction)
    headers = {"x-pointsman-privacy": level}
    cloud.script(Answer(text="ok"))
    reply = asked.chat(f"Look at {canary} please", model="openai:gpt-4o-mini", headers=headers)
    if expected == "local only":
        assert (reply.status, reply.json["error"]["code"]) == (403, "privacy_local_only")
        assert not cloud.chats
    else:
        assert reply.status == 200, reply.body
        assert (canary in cloud.chats[0].body.decode()) == (expected != "redacted")
        assert reply.headers.get("x-pointsman-redacted") == ("1" if expected == "redacted" else None)
        privacy = asked.decision(reply)["signals"]["privacy"]
        assert privacy["classes"] == ([kind] if kind else [])
        assert (privacy["redacted"], privacy["placeholders"]) == ((True, 1) if expected == "redacted" else (False, 0))
        assert not privacy["local_only"]
    local = asked.chat(f"Look at {canary} please", model="lan:llama3.1:8b", headers=headers)
    assert local.status == 200
    assert "x-pointsman-redacted" not in local.headers
    assert canary in lan.chats[0].body.decode()


def test_the_table_in_the_docs_is_this_one():
    rows = []
    for level in LEVELS:
        for redaction in (False, True):
            cells = [fate(level, kind, redaction=redaction) for kind in (*PrivacyClass, None)]
            rows.append(f"| `{level}` | {'on' if redaction else 'off'} | {' | '.join(cells)} |")
    head = f"| level | redaction | {' | '.join(PrivacyClass)} | nothing found |"
    table = "\n".join([head, "|---" * 7 + "|", *rows])
    assert table in (DOCS / "how-to/privacy.md").read_text(), table


def asked_for(cloud) -> str:
    """The placeholder in what the cloud got last."""
    found = re.search(r"REDACTED_[A-Z]+_1_\w{6}", cloud.chats[-1].body.decode())
    assert found is not None
    return found[0]


def learn(gateway, cloud, **fields) -> str:
    """The placeholder of a conversation: it is the same with every turn."""
    cloud.script(Answer(text="ok"))
    assert gateway.chat(f"My token is {TOKEN}", model="openai:gpt-4o-mini", **fields).status == 200
    return asked_for(cloud)


@pytest.mark.parametrize("stream", [False, True])
def test_the_answer_gets_the_originals_back(masking, cloud, stream):
    name = learn(masking, cloud)
    cloud.script(Answer(text=f"Use {name} or `{name.lower()}`; R.", reasoning=f"hm {name}"))
    reply = masking.chat(f"My token is {TOKEN}", model="openai:gpt-4o-mini", stream=stream)
    assert reply.headers["x-pointsman-redacted"] == "1"
    assert said(reply, stream, "content") == f"Use {TOKEN} or `{TOKEN}`; R."
    assert name not in reply.body.decode()
    assert TOKEN not in cloud.chats[-1].body.decode()


def said(reply, stream: bool, field: str) -> str:
    if not stream:
        return reply.json["choices"][0]["message"][field]
    chunks = [json.loads(line[6:]) for line in reply.body.decode().split("\n\n") if line.startswith("data: {")]
    return "".join(choice["delta"].get(field) or "" for chunk in chunks for choice in chunk["choices"])


def test_a_stream_cut_at_every_byte(masking, cloud):
    name = learn(masking, cloud)
    call = '{"token": "' + name + '"}'

    def chunk(delta: dict, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return (
            b"data: "
            + json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [choice]}).encode()
            + b"\n\n"
        )

    frames = [chunk({"content": letter}) for letter in f"a {name}!"]
    frames += [
        chunk({"tool_calls": [{"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": ""}}]})
    ]
    frames += [chunk({"tool_calls": [{"index": 0, "function": {"arguments": letter}}]}) for letter in call]
    raw = b"".join([*frames, chunk({}, "tool_calls"), b"data: [DONE]\n\n"])
    cloud.script(Stream([raw[start : start + 11] for start in range(0, len(raw), 11)]))
    reply = masking.chat(f"My token is {TOKEN}", model="openai:gpt-4o-mini", stream=True)
    assert said(reply, True, "content") == f"a {TOKEN}!"
    chunks = [json.loads(line[6:]) for line in reply.body.decode().split("\n\n") if line.startswith("data: {")]
    calls = [call for c in chunks for choice in c["choices"] for call in choice["delta"].get("tool_calls") or ()]
    assert json.loads("".join(call["function"].get("arguments", "") for call in calls)) == {"token": TOKEN}


def test_fallbacks_between_here_and_there_each_get_their_own(tmp_path, settings, cloud, lan):
    """Remote attempts get the copy, local ones the original, in whichever order, after whatever failure."""
    chain = {"openai:gpt-4o": ["lan:llama3.1:8b", "openai:gpt-4o-mini"], "lan:llama3.1:8b": ["openai:gpt-4o"]}
    tree = {**settings, "privacy": {"redaction": True}, "routing": {"fallbacks": chain}}
    with running(tmp_path, tree) as gateway:
        for fault in (Status(500), Raw(b"HTTP/1.1 999 \r\n\r\n"), Page(b"<html>"), Status(404)):
            cloud.reset()
            lan.reset()
            cloud.script(fault, Answer())
            lan.script(Answer(text=f"here: {TOKEN}"))
            reply = gateway.chat(f"My token is {TOKEN}", model="openai:gpt-4o")
            assert (reply.status, reply.headers["x-pointsman-provider"]) == (200, "lan")
            assert "x-pointsman-redacted" not in reply.headers
            assert TOKEN in lan.chats[0].body.decode()
            cloud.reset()
            lan.reset()
            lan.script(fault)
            reply = gateway.chat(f"My token is {TOKEN}", model="lan:llama3.1:8b")
            assert (reply.status, reply.headers["x-pointsman-redacted"]) == (200, "1")
            assert TOKEN in lan.chats[0].body.decode()
            assert all(TOKEN not in request.body.decode() for request in cloud.requests)
            assert cloud.chats


def test_an_answer_that_may_not_leave_is_gone_on_with_here(tmp_path, settings, cloud, lan):
    """A remote model wrote what has the form of a secret, and broke off: the next remote one is passed over."""
    chain = {"openai:gpt-4o": ["openai:gpt-4o-mini", "lan:llama3.1:8b"]}
    tree = {**settings, "privacy": {"redaction": True}, "routing": {"fallbacks": chain}}
    wrote = "A token looks like ghp_Qk9vW3sR5xT2yC8nN4cS6dG1gJ7jM3pFaVi9, as you can see, and so on, and so forth."
    with running(tmp_path, tree) as gateway:
        cloud.script(HangUp(after_bytes=4000, answer=Answer(text=wrote, pieces=30)))
        lan.script(Answer(text="!", id="second"))
        reply = gateway.chat(f"My token is {TOKEN}", model="openai:gpt-4o", stream=True)
        told = said(reply, True, "content")
        assert wrote.startswith(told[:-1]), told
        assert told.endswith("!"), told
        assert b"error" not in reply.body
        assert len(cloud.chats) == 1
        assert TOKEN in lan.chats[0].body.decode()
        outcome = gateway.decision(reply)["outcome"]
        assert outcome["status"] == "ok"
        assert [attempt["status"] for attempt in outcome["attempts"]] == ["error", "error", "ok"]


def test_what_cannot_be_replaced_is_refused_for_remote_models(masking, cloud, lan):
    metadata = {"metadata": {"card": 4539578763621486}}
    reply = masking.chat("hi", model="openai:gpt-4o", **metadata)
    assert (reply.status, reply.json["error"]["code"]) == (403, "privacy_local_only")
    assert masking.chat("hi", **metadata).headers["x-pointsman-provider"] == "lan"
    assert not cloud.chats


def test_a_preview_and_the_record_say_so_without_values(masking, cloud):
    body = {"model": "openai:gpt-4o", "messages": [{"role": "user", "content": f"{TOKEN} and {CARD}"}]}
    preview = masking.ask("POST", "/api/v1/route", body)
    assert preview.status == 200
    assert preview.json["signals"]["privacy"]["placeholders"] == 2
    reply = masking.ask("POST", "/v1/chat/completions", body)
    record = json.dumps(masking.decision(reply))
    assert "placeholders for 2 private values" in record
    for text in (preview.body.decode(), record, reply.headers["x-pointsman-reason"], masking.log_text):
        assert TOKEN not in text
        assert CARD not in text
    for file in (masking.folder / "data").rglob("*"):
        if file.is_file():
            assert TOKEN.encode() not in file.read_bytes()


def test_an_upstream_that_sends_the_prompt_back_gives_nothing_away(masking, cloud):
    """An error that quotes what it got quotes placeholders."""
    name = learn(masking, cloud)
    error = json.dumps({"error": {"message": f"bad prompt: {name}", "type": "x", "code": "400"}}).encode()
    cloud.script(Status(400, error))
    reply = masking.chat(f"My token is {TOKEN}", model="openai:gpt-4o-mini")
    assert reply.status == 400
    assert TOKEN not in masking.log_text


class Echo:
    """A model that says again what it was told: as text, as reasoning, as a tool's argument, in pieces of any size."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        asked = request.json
        text = asked["messages"][0]["content"]
        arguments = asked["messages"][1]["tool_calls"][0]["function"]["arguments"]
        call = {"index": 0, "id": "t", "type": "function", "function": {"name": "run", "arguments": arguments}}
        if not asked["stream"]:
            message = {"role": "assistant", "content": text, "reasoning_content": text, "tool_calls": [call]}
            choices = [{"index": index, "message": message, "finish_reason": "stop"} for index in range(asked["n"])]
            body = json.dumps({"id": "c", "object": "chat.completion", "choices": choices}).encode()
            await wire.head(200, {"content-type": "application/json"}, length=len(body))
            await wire.body(body)
            return
        queues = [self._choice(index, text, arguments) for index in range(asked["n"])]
        raw = b""
        while any(queues):
            raw += self._random.choice([queue for queue in queues if queue]).pop(0)
        await wire.head(200, {"content-type": "text/event-stream"}, length=None)
        for piece in self._cut(raw + b"data: [DONE]\n\n", 2000):
            await wire.body(piece)
        await wire.end()

    def _cut(self, whole, most: int) -> list:
        pieces = []
        while whole:
            size = self._random.randint(1, most)
            pieces.append(whole[:size])
            whole = whole[size:]
        return pieces

    def _choice(self, index: int, text: str, arguments: str) -> list[bytes]:
        as_parts = self._random.random() < 0.3  # as some providers stream their text
        deltas: list[dict[str, Any]] = [{"content": None, "reasoning_content": piece} for piece in self._cut(text, 9)]
        deltas += [
            {"content": [{"type": "text", "text": piece}] if as_parts else piece} for piece in self._cut(text, 9)
        ]
        deltas += [
            {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in self._cut(arguments, 9)
        ]
        choices = [{"index": index, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": index, "delta": {}, "finish_reason": "tool_calls"})
        ascii_alone = self._random.random() < 0.5
        return [
            b"data: "
            + json.dumps({"object": "chat.completion.chunk", "choices": [choice]}, ensure_ascii=ascii_alone).encode()
            + b"\n\n"
            for choice in choices
        ]


def test_an_echo_comes_back_as_it_was_sent(masking, cloud):
    """Every kind of value, twice over in JSON too, through streams cut anywhere and choices in turns."""
    classes = Detectors().classes
    texts = [
        case.text
        for case in cases("heldout", variants=1)
        if case.detector is not None and classes[case.detector] in ("secret", "identity")
    ]
    chosen = random.Random(3)
    redacted = 0
    for number, text in enumerate(texts):
        cloud.script(Echo(number))
        arguments = json.dumps({"text": text, "deeper": json.dumps([text])})
        call = {"id": "t", "type": "function", "function": {"name": "run", "arguments": arguments}}
        messages = [
            {"role": "user", "content": text},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t", "content": text},
        ]
        stream, n = chosen.random() < 0.7, chosen.choice([1, 2])
        body = {"model": "openai:gpt-4o", "stream": stream, "n": n, "messages": messages}
        reply = masking.ask("POST", "/v1/chat/completions", body)
        assert reply.status == 200, reply.body
        redacted += "x-pointsman-redacted" in reply.headers
        assert text not in json.loads(cloud.chats[-1].body)["messages"][0]["content"]
        for index in range(n):
            assert heard(reply, stream, index) == (text, text, arguments), (number, text)
    assert redacted == len(texts)


def heard(reply, stream: bool, index: int) -> tuple[str, str, str]:
    """Text, reasoning and arguments of one choice."""
    if not stream:
        message = reply.json["choices"][index]["message"]
        return message["content"], message["reasoning_content"], message["tool_calls"][0]["function"]["arguments"]
    content = reasoning = arguments = ""
    for line in reply.body.decode().split("\n\n"):
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                if choice["index"] == index:
                    delta = choice["delta"]
                    told = delta.get("content") or ""
                    content += told if isinstance(told, str) else "".join(part["text"] for part in told)
                    reasoning += delta.get("reasoning_content") or ""
                    arguments += "".join(call["function"]["arguments"] for call in delta.get("tool_calls") or ())
    return content, reasoning, arguments
