"""The upstreams of the bench: one scripted server for each dialect, and addresses where no connection is ever made."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import re
import socket
import ssl
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointsman.testing import Answer, ScriptedUpstream, ToolUse
from pointsman.testing.answers import SeenRequest, Wire

from .faults import FAULTS
from .good import caught
from .traffic import TOOL, Ask, Routes

_NUMBER = re.compile(rb"request-(\d+)-end")
MODEL, ALONE, WRITER = "talker", "loner", "writer"
"""A chat model with others behind it, one without, and a model that completes plain text."""
PIECES = 12
"""Frames of a streamed text."""


class Stage:
    """The upstreams' side of the requests: each attempt meets the fate that was drawn for it."""

    def __init__(self) -> None:
        self.asks: dict[int, Ask] = {}
        self.attempts: Counter[int] = Counter()
        self.played: Counter[str] = Counter()
        """Faults that were really met, by name."""
        self.said: defaultdict[int, set[str]] = defaultdict(set)
        """The texts of a request that an upstream really said where they are not the request's own."""
        self.continued: Counter[int] = Counter()
        """Attempts that went on from a part of the text."""
        self.playing: Counter[str] = Counter()
        """Answers under way: of which request, at which provider."""
        self.storms: dict[str, str] = {}
        """Provider → the fault that all of its answers have now, in place of what was drawn for them."""
        self.pace = 0.0
        """Seconds before each frame of an answer."""
        self.unfit: list[str] = []
        """Why an upstream would not take what the gateway asked."""

    def expect(self, asks: Sequence[Ask]) -> None:
        self.asks |= {ask.number: ask for ask in asks}

    async def play(self, provider: str, request: SeenRequest, wire: Wire) -> None:
        """Answer as `provider`, which is the only one to play what the gateway remembers of it if it is one of those
        apart."""
        found = _NUMBER.search(request.body)
        if found is None or (ask := self.asks.get(int(found[1]))) is None:
            self.unfit.append(f"a request of no number at {request.path}")
            wire.hang_up()
            return
        name = f"request {ask.number} at {provider}"
        self.playing[name] += 1
        try:
            await self._answer(ask, provider, request, wire)
        finally:
            self.playing[name] -= 1

    async def _answer(self, ask: Ask, provider: str, request: SeenRequest, wire: Wire) -> None:
        attempt = self.attempts[ask.number]
        self.attempts[ask.number] += 1
        before = _told_before(ask, request)
        if before:
            self.continued[ask.number] += 1
        calls = [ToolUse(TOOL, ask.call, id=f"call_{ask.number}")] if ask.call is not None else []
        said = _goes_on(ask, request.json, before) if before else ask.text
        rest = Answer(text=said, tool_calls=calls, pieces=PIECES, id=f"answer-{ask.number}")
        good = await caught(rest, request)
        if good.status != 200:
            self.unfit.append(f"{request.path}: {b''.join(good.blocks).decode(errors='replace')[:300]}")
        fate = ask.fates[attempt] if attempt < len(ask.fates) else "none"
        storm = self.storms.get(provider)
        fault = FAULTS[storm or fate]
        if good.streamed:
            good.pace = self.pace
        else:
            await asyncio.sleep(self.pace * PIECES)
        if fault.retold and before:  # a seam is looked for there, and a word more tells another one
            fate = "none"
        elif storm is not None and not (fault.streams_only and not good.streamed):
            fate = storm
        elif (
            good.status != 200 or (fault.streams_only and not good.streamed) or (fault.apart and provider not in APART)
        ):
            fate = "none"
        self.played[fate] += 1
        text = good.text
        await FAULTS[fate].play(good, wire, ask.places[attempt] if attempt < len(ask.places) else 0.0)
        if good.text != text and not before:
            self.said[ask.number].add(good.text)


def _told_before(ask: Ask, request: SeenRequest) -> str:
    """How much of the request's text an upstream is asked to go on from: the longest beginning that it holds."""
    asked = "\n".join(_strings(request.json))
    text = ask.text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text[:middle] in asked else (low, middle - 1)
    first = len(text.split(" ", 1)[0])
    return text[:low] if low >= first else ""


def _goes_on(ask: Ask, asked: Mapping[str, Any], before: str) -> str:
    """What a model says that is to go on: the rest, where its own words stand last. Else the last words once more, as
    it is asked to, and the rest; of ten models one begins further back, and one with a phrase of its own."""
    turns = asked.get("messages") or asked.get("input")
    last = turns[-1] if isinstance(turns, list) else {"role": "assistant"}
    if last.get("role") == "assistant":
        return ask.text[len(before) :]
    wish = "\n".join(_strings(last)).rstrip()
    told = before.rstrip()
    again = next((length for length in range(len(told), 0, -1) if wish.endswith(told[-length:])), 0)
    start = len(told) - again
    how = ask.number % 10
    if how == 1:
        start = ask.text.rfind(" ", 0, max(start - 12, 0)) + 1
    return ("Sure, here is the rest:\n" if how == 2 else "") + ask.text[start:]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


POOL = ("left", "right")
"""The servers of the provider that has two."""
PLAIN = ("openai", "anthropic", "gemini", "ollama", "hosted")
"""Providers whose faults are each attempt's own. `hosted` speaks Responses."""
APART = ("short", "busy")
"""Providers that ask to be left alone."""
NOWHERE = {
    "refused connection": "refusing",
    "unknown host": "unknown",
    "bad certificate": "impostor",
    "plain text on a TLS port": "plain",
    "silent TLS port": "silent",
}
"""Fault of a connection → the provider that has it."""


@dataclass(frozen=True, slots=True)
class _Door:
    """The stage, as a provider's server knows it."""

    stage: Stage
    provider: str

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await self.stage.play(self.provider, request, wire)


QUALITIES = {"anthropic": 0.85, "hosted": 0.8, "gemini": 0.75}
"""Provider → the quality of its models, where it is not `USUAL`: what is judged needs somebody better to go to."""
USUAL = 0.7


def spoken(name: str, *capabilities: str, quality: float = USUAL) -> dict[str, Any]:
    """The settings of a model; a chat model with tools where nothing else is said."""
    price = {"input": 0.1, "output": 0.4} if quality == USUAL else {"input": 20.0, "output": 80.0}
    can = list(capabilities) or ["chat", "tools", "json_object"]
    return {"name": name, "capabilities": can, "context_window": 32_768, "price": price, "quality": quality}


class Upstreams:
    """All of them, on loopback ports; an async context manager."""

    def __init__(self, folder: Path) -> None:
        self.stage = Stage()
        self.servers = {name: ScriptedUpstream(default=_Door(self.stage, name)) for name in (*PLAIN, *APART, *POOL)}
        self._folder = folder
        self._stack = contextlib.AsyncExitStack()
        self._ports: dict[str, int] = {}

    async def __aenter__(self) -> Upstreams:
        for name, server in self.servers.items():
            server.models = (MODEL, ALONE, WRITER)
            server.shows = {
                model: {"capabilities": ["completion", "tools"], "model_info": {"llama.context_length": 32_768}}
                for model in server.models
            }
            await self._stack.enter_async_context(server)
            self._ports[name] = server.port
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own_certificate(self._folder / "impostor.pem"))
        impostor = await asyncio.start_server(_answer_plainly, "127.0.0.1", 0, ssl=context)
        plain = await asyncio.start_server(_answer_plainly, "127.0.0.1", 0)
        for name, listener in (("impostor", impostor), ("plain", plain)):
            self._stack.callback(listener.close)
            self._ports[name] = listener.sockets[0].getsockname()[1]
        for name, listens in (("refusing", False), ("silent", True)):
            bound = self._stack.enter_context(socket.socket())
            bound.bind(("127.0.0.1", 0))
            if listens:  # whoever connects waits in the kernel's queue, and nobody greets
                bound.listen(1024)
            self._ports[name] = bound.getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    @property
    def open_connections(self) -> int:
        return sum(server.open_connections for server in self.servers.values())

    @property
    def ports(self) -> set[int]:
        return {server.port for server in self.servers.values()}

    async def all_listen(self) -> None:
        """Start again those servers that were killed."""
        for server in self.servers.values():
            if not server.listening:
                await server.listen()

    def routes(self) -> Routes:
        """What may be asked for."""
        return Routes(
            plain={"": [f"{name}:{MODEL}" for name in PLAIN], "completions": [f"openai:{WRITER}"]},
            alone={"": [f"{name}:{ALONE}" for name in PLAIN]},
            apart=[f"{name}:{MODEL}" for name in APART],
            connections={fault: [f"{name}:{MODEL}", f"{name}:{ALONE}"] for fault, name in NOWHERE.items()},
        )

    def providers(self) -> dict[str, Any]:
        """Their settings."""
        at = {name: f"http://127.0.0.1:{port}" for name, port in self._ports.items()}
        both = [spoken(MODEL), spoken(ALONE)]
        common: dict[str, Any] = {"api_key": "none", "models": both}
        openai = {"type": "openai", **common}
        known: dict[str, Any] = {
            "openai": {
                **common,
                "base_url": f"{at['openai']}/v1",
                "models": [*both, spoken(WRITER, "completion")],
                "responses": False,
            },
            "anthropic": {**common, "base_url": at["anthropic"]},
            "gemini": {**common, "base_url": f"{at['gemini']}/v1beta/openai"},
            "ollama": {"base_url": at["ollama"], "models": both},
            "hosted": {**openai, "base_url": f"{at['hosted']}/v1", "responses": True},
            "short": {**openai, "base_url": f"{at['short']}/v1"},
            "busy": {"type": "anthropic", **common, "base_url": at["busy"]},
            "refusing": {**openai, "base_url": f"{at['refusing']}/v1"},
            "unknown": {**openai, "base_url": "http://no-such-host.invalid/v1"},
            "impostor": {**openai, "base_url": f"https://localhost:{self._ports['impostor']}/v1"},
            "plain": {**openai, "base_url": f"https://127.0.0.1:{self._ports['plain']}/v1"},
            "silent": {**openai, "base_url": f"https://127.0.0.1:{self._ports['silent']}/v1"},
        }
        for name, quality in QUALITIES.items():
            known[name]["models"] = [spoken(MODEL, quality=quality), spoken(ALONE, quality=quality)]
        return known

    def fallbacks(self) -> dict[str, list[str]]:
        """Who follows: two models of other dialects each."""
        ring = {
            f"{name}:{MODEL}": [f"{PLAIN[(place + step) % len(PLAIN)]}:{MODEL}" for step in (1, 2)]
            for place, name in enumerate(PLAIN)
        }
        others = [f"{name}:{MODEL}" for name in (*APART, *NOWHERE.values())]
        ring |= {
            model: [f"{PLAIN[(place + step) % len(PLAIN)]}:{MODEL}" for step in (0, 1)]
            for place, model in enumerate(others)
        }
        return ring


async def _answer_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What a server that expects plain HTTP does with a TLS greeting."""
    await reader.read(4096)
    writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    writer.close()


def own_certificate(path: Path) -> Path:
    """A certificate for localhost that nobody has signed but itself, with its key, written to a file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    path.chmod(0o600)
    return path
