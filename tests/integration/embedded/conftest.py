"""One real engine for a file of tests, behind the provider and the pool."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pointsman.core.catalog import ModelCard
from pointsman.core.events import Body, Event, Finish, Frames, Text, ToolCallDelta, Usage, deltas, payloads
from pointsman.core.ports import ChatCall, Timeouts
from pointsman.core.request import ChatRequest
from pointsman.providers.llamacpp.engine import Engine
from pointsman.providers.llamacpp.process import EngineSpec
from pointsman.providers.llamacpp.provider import LlamaCppProvider
from pointsman.providers.llamacpp.weights import ensure
from pointsman.settings import child_environment, load
from pointsman.transport.pool import Pool

SLOTS, CONTEXT, SMALL_CONTEXT = 2, 2048, 256
TOOLS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "data" / "tool_prompts.json").read_text(encoding="utf-8")
)["tools"]


def tools(*names: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name, **TOOLS[name]}} for name in names]


@dataclass
class Heard:
    """What an answer said."""

    events: list[Event] = field(default_factory=list)
    texts: dict[int, str] = field(default_factory=dict)
    calls: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    """Per choice: name and arguments."""
    finishes: dict[int, str] = field(default_factory=dict)
    usage: Usage | None = None

    @property
    def text(self) -> str:
        return self.texts.get(0, "")

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [json.loads(data) for event in self.events if isinstance(event, Frames) for data in payloads(event.raw)]

    @property
    def body(self) -> dict[str, Any]:
        (event,) = self.events
        assert isinstance(event, Body)
        body: dict[str, Any] = json.loads(event.raw)
        return body

    def add(self, event: Event) -> None:
        self.events.append(event)
        self.usage = event.usage or self.usage
        for delta in deltas(event):
            match delta:
                case Text(text, choice):
                    self.texts[choice] = self.texts.get(choice, "") + text
                case ToolCallDelta(index, _, name, arguments, choice):
                    calls = self.calls.setdefault(choice, [])
                    if name is not None:
                        assert index == len(calls)
                        calls.append((name, arguments))
                    else:
                        calls[index] = (calls[index][0], calls[index][1] + arguments)
                case Finish(reason, choice):
                    self.finishes[choice] = reason


@dataclass
class Bench:
    """A provider with one running model."""

    provider: LlamaCppProvider
    engine: Engine
    card: ModelCard

    def call(self, content: str | list[dict[str, Any]], *, timeouts: Timeouts | None = None, **fields: Any) -> ChatCall:
        messages = [{"role": "user", "content": content}] if isinstance(content, str) else content
        fields = {"temperature": 0, "max_tokens": 48, **fields}
        return ChatCall(
            card=self.card,
            request=ChatRequest.build({"model": "auto", "messages": messages, **fields}),
            local_only=True,
            timeouts=timeouts or Timeouts(),
        )

    async def ask(self, content: str | list[dict[str, Any]], **fields: Any) -> Heard:
        heard = Heard()
        async for event in self.provider.chat(self.call(content, **fields)):
            heard.add(event)
        return heard


@asynccontextmanager
async def running(name: str, context: int, data_dir: Path) -> AsyncIterator[Bench]:
    settings, environment = load(), child_environment({})
    path = await ensure(name, cache_dir=settings.cache_dir, environment=environment)
    pool = Pool()
    provider = LlamaCppProvider(outbound=pool)
    engine = Engine(
        EngineSpec(name=name, path=path, context_per_slot=context, slots=SLOTS, threads=2),
        environment=environment,
        data_dir=data_dir,
        outbound=pool,
    )
    provider.add(engine)
    (card,) = await provider.discover()
    yield Bench(provider, engine, card)
    await provider.close()
    await pool.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """A model that can call tools."""
    async with running("qwen2.5-coder:0.5b", CONTEXT, tmp_path_factory.mktemp("engine")) as bench:
        yield bench


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """The smallest model, with a context that is soon full."""
    async with running("smollm2:135m", SMALL_CONTEXT, tmp_path_factory.mktemp("engine")) as bench:
        yield bench
