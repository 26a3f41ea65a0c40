"""The official clients before upstreams that misbehave: an answer, or the client's own typed error. Never a hang, and
never an error of some library beneath it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anthropic
import ollama
import openai
import pytest

from pointsman.testing import ScriptedUpstream

from .running import Gateway, running
from .upstreams_in_trouble import FAULTS, HELLO, SHOWS, STREAMS_ALONE, UPSTREAMS, ByWord, providers

pytestmark = pytest.mark.client

PATIENCE = 20.0
"""Seconds in which every call must have ended."""


@pytest.fixture(scope="module")
def upstream(background) -> Iterator[ScriptedUpstream]:
    upstream = ScriptedUpstream(default=ByWord(), models=tuple(SHOWS))
    upstream.shows = SHOWS
    background.run(upstream.__aenter__())
    yield upstream
    background.run(upstream.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def gateway(upstream: ScriptedUpstream, tmp_path_factory) -> Iterator[Gateway]:
    limits = {"first_byte_timeout": 0.5, "between_bytes_timeout": 0.5, "connect_timeout": 2.0}
    with running(
        tmp_path_factory.mktemp("clients"), {"providers": providers(upstream.root), "limits": limits}
    ) as gateway:
        yield gateway


class Clients:
    """One of each, without retries of their own."""

    def __init__(self, gateway: Gateway) -> None:
        self.openai = openai.AsyncOpenAI(base_url=gateway.base_url, api_key="x", max_retries=0, timeout=PATIENCE)
        self.claude = anthropic.AsyncAnthropic(base_url=gateway.url, api_key="x", max_retries=0, timeout=PATIENCE)
        self.ollama = ollama.AsyncClient(host=gateway.url, timeout=PATIENCE)


Ask = Callable[[Clients, str, str, bool], Awaitable[str]]


def said(text: str) -> Any:
    return [{"role": "user", "content": text}]


async def chat(clients: Clients, model: str, text: str, stream: bool) -> str:
    create = clients.openai.chat.completions
    if not stream:
        answer = await create.create(model=model, messages=said(text))
        return answer.choices[0].message.content or ""
    async with create.stream(model=model, messages=said(text)) as events:
        async for _ in events:
            pass
        return (await events.get_final_completion()).choices[0].message.content or ""


async def chat_chunks(clients: Clients, model: str, text: str, stream: bool) -> str:
    told = ""
    async for chunk in await clients.openai.chat.completions.create(model=model, messages=said(text), stream=True):
        told += "".join(choice.delta.content or "" for choice in chunk.choices)
    return told


async def responses(clients: Clients, model: str, text: str, stream: bool) -> str:
    if not stream:
        answer = await clients.openai.responses.create(model=model, input=text)
        return answer.output_text
    async with clients.openai.responses.stream(model=model, input=text) as events:
        async for event in events:
            if event.type == "response.failed":
                raise openai.APIError("the response failed", request=None, body=None)  # type: ignore[arg-type]
        return (await events.get_final_response()).output_text


async def completions(clients: Clients, model: str, text: str, stream: bool) -> str:
    if not stream:
        return (await clients.openai.completions.create(model=model, prompt=text)).choices[0].text
    told = ""
    async for chunk in await clients.openai.completions.create(model=model, prompt=text, stream=True):
        told += "".join(choice.text for choice in chunk.choices)
    return told


async def embeddings(clients: Clients, model: str, text: str, stream: bool) -> str:
    return "vector" if (await clients.openai.embeddings.create(model=model, input=text)).data[0].embedding else ""


async def messages(clients: Clients, model: str, text: str, stream: bool) -> str:
    if not stream:
        answer = await clients.claude.messages.create(model=model, max_tokens=50, messages=said(text))
        return "".join(block.text for block in answer.content if block.type == "text")
    async with clients.claude.messages.stream(model=model, max_tokens=50, messages=said(text)) as events:
        async for _ in events:
            pass
        return "".join(block.text for block in (await events.get_final_message()).content if block.type == "text")


async def ollama_chat(clients: Clients, model: str, text: str, stream: bool) -> str:
    if not stream:
        return (await clients.ollama.chat(model, said(text))).message.content or ""
    parts = [part async for part in await clients.ollama.chat(model, said(text), stream=True)]
    assert parts[-1].done
    return "".join(part.message.content or "" for part in parts)


async def ollama_generate(clients: Clients, model: str, text: str, stream: bool) -> str:
    if not stream:
        return (await clients.ollama.generate(model, text)).response
    parts = [part async for part in await clients.ollama.generate(model, text, stream=True)]
    assert parts[-1].done
    return "".join(part.response for part in parts)


async def ollama_embed(clients: Clients, model: str, text: str, stream: bool) -> str:
    return "vector" if (await clients.ollama.embed(model, text)).embeddings[0] else ""


BOTH, STREAM, WHOLE = (False, True), (True,), (False,)
CLIENTS: dict[str, tuple[Ask, str, tuple[bool, ...], tuple[type[Exception], ...]]] = {
    "chat": (chat, "chat", BOTH, (openai.APIError,)),
    "chat by chunks": (chat_chunks, "chat", STREAM, (openai.APIError,)),
    "responses": (responses, "chat", BOTH, (openai.APIError,)),
    "completions": (completions, "completion", BOTH, (openai.APIError,)),
    "embeddings": (embeddings, "embeddings", WHOLE, (openai.APIError,)),
    "messages": (messages, "chat", BOTH, (anthropic.APIError,)),
    "ollama chat": (ollama_chat, "chat", BOTH, (ollama.ResponseError,)),
    "ollama generate": (ollama_generate, "chat", BOTH, (ollama.ResponseError,)),
    "ollama embed": (ollama_embed, "embeddings", WHOLE, (ollama.ResponseError,)),
}
"""What is asked, of which kind of model, streamed or not, and the client's own errors."""

ODD_FIELDS = frozenset(fault for fault in FAULTS if fault.startswith("odd-"))


PAIRS = [
    *(("chat", "openai"), ("chat", "anthropic"), ("chat by chunks", "openai"), ("chat by chunks", "ollama")),
    *(("responses", "openai"), ("responses", "ollama"), ("completions", "openai"), ("completions", "anthropic")),
    *(("messages", "anthropic"), ("messages", "openai"), ("ollama chat", "ollama"), ("ollama chat", "anthropic")),
    *(("ollama generate", "openai"), ("embeddings", "openai"), ("ollama embed", "ollama")),
]
"""Each client before an upstream whose bytes it is given and before one whose answers are translated for it."""


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_every_client(gateway: Gateway, name: str, kind: str):
    ask, wanted, streams, errors = CLIENTS[name]
    model = UPSTREAMS[kind].model(wanted)
    assert model
    passed_on = (kind == "openai" and wanted != "embeddings") or (kind == "anthropic" and name == "messages")
    cases = [
        (fault, stream)
        for fault in FAULTS
        for stream in streams
        if (stream or fault not in STREAMS_ALONE) and not (passed_on and fault in ODD_FIELDS)
    ]

    async def one(clients: Clients, fault: str, stream: bool, turn: asyncio.Semaphore) -> str | None:
        expected, _ = FAULTS[fault]
        try:
            async with turn, asyncio.timeout(PATIENCE):
                told = await ask(clients, model, f"fault={fault}", stream)
        except errors as error:
            return f"{fault}, stream={stream}: {error}" if expected == "answer" else None
        except Exception as error:
            return f"{fault}, stream={stream}: {type(error).__name__}: {str(error)[:300]}"
        if expected == "error":
            return f"{fault}, stream={stream}: answered {told!r}"
        return None if expected == "either" or told in (HELLO, "vector") else f"{fault}, stream={stream}: {told!r}"

    async def all_of_them() -> list[str]:
        clients, turn = Clients(gateway), asyncio.Semaphore(12)
        async with clients.openai, clients.claude, clients.ollama:
            ended = await asyncio.gather(*(one(clients, *case, turn) for case in cases))
        return [told for told in ended if told is not None]

    wrong = asyncio.run(all_of_them())
    assert not wrong, "\n".join(wrong)
