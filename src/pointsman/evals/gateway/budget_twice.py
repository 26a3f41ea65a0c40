"""Whether a budget holds while requests cost money twice: hedged, escalated, or gone on with by another model.

As in `budget`, real gateways stand before an upstream that holds every answer until nothing moves any more. Then the
first models are slow, unconvincing or break off, as the way has it, so that a second model is asked beside what the
first has cost. Every call that reaches the upstream is billed its worst case, whatever becomes of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .budget import recorded
from .common import BenchError, gateways
from .counters import counters
from .wire import Reply, chunk, exchange, frame, whole

Way = Literal["hedge", "escalation", "splice"]

OUTPUT = 1_000
"""Tokens of every answer, and its bound."""
FIRST, SECOND = "gpt-4o-mini", "gpt-4o"
PRICES = {FIRST: 8.0, SECOND: 10.0}
"""US dollars per million tokens of answer; prompts cost nothing."""
EACH = round(OUTPUT * PRICES[SECOND])
"""Micro-dollars of the dearer call."""
WARM_UP = 24
"""Answers from which a gateway knows how long the first model takes to begin."""
STILL = 0.7
"""Seconds in which nothing happens when all is decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwiceReport:
    """What came of it. Sums are micro-dollars."""

    way: Way
    requests: int
    affordable: int
    processes: int
    streams: bool
    passed: int
    refused: int
    failed: int
    """Neither: other statuses and broken connections."""
    second_calls: int
    """Of the first wave; each for a request that had cost money already."""
    cap_micro_usd: int
    billed_micro_usd: int
    """What the upstream billed."""
    recorded_micro_usd: int
    """What the gateways count against the budget in the end."""
    overspent_micro_usd: int
    seconds: float

    @property
    def kept(self) -> bool:
        """Whether the promise was kept, and was put to the test."""
        return (
            self.overspent_micro_usd == 0
            and self.recorded_micro_usd >= self.billed_micro_usd
            and self.failed == 0
            and self.second_calls > 0
        )


def run(
    way: Way,
    *,
    requests: int,
    affordable: int,
    processes: int = 1,
    redis: str | None = None,
    streams: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> TwiceReport:
    """Measure.

    Args:
        affordable: calls of the dearer model that the cap allows.

    Raises:
        BenchError: it cannot run here.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pointsman-bench-")))
        state = stack.enter_context(counters(redis)) if processes > 1 else None
        measure = _run(stack, folder, state, way, requests, affordable, processes, streams or way == "splice", progress)
        return asyncio.run(measure)


async def _run(
    stack: contextlib.ExitStack,
    folder: Path,
    state: str | None,
    way: Way,
    requests: int,
    affordable: int,
    processes: int,
    streams: bool,
    progress: Callable[[str], None],
) -> TwiceReport:
    upstream = Upstream(way)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, backlog=1024)
    address = server.sockets[0].getsockname()[1]
    warm_up = WARM_UP * processes if way == "hedge" else 0
    cap = affordable * EACH + round(warm_up * PRICES[FIRST])
    ports = await gateways(stack, folder, processes, cap=cap, state=state, settings=_settings(address, way))
    progress(f"{processes} gateway{'s' if processes > 1 else ''}, a cap of {cap} micro-dollars, up to {EACH} a call")
    started = time.perf_counter()
    for number in range(warm_up):
        if (await _ask(ports[number % processes], streams, model=f"openai:{FIRST}", tokens=1)).status != 200:
            raise BenchError("the first model was not answered before the measurement began.")
    wave = [asyncio.create_task(_ask(ports[index % processes], streams)) for index in range(requests)]
    await _still(wave, upstream, requests)
    progress(f"nothing moves any more: {upstream.first - warm_up} first and {upstream.second} second calls are held")
    upstream.begin()
    answers = await asyncio.gather(*wave)
    second = upstream.second
    await recorded(ports[0], 0)
    progress("settled; the second wave")
    late = min(requests, 100)
    answers += await asyncio.gather(*(_ask(ports[index % processes], streams) for index in range(late)))
    counted = await recorded(ports[0], upstream.billed)
    seconds = time.perf_counter() - started
    server.close()
    passed = sum(answer.status == 200 for answer in answers)
    refused = sum(answer.status == 429 and b'"budget_exceeded"' in answer.body for answer in answers)
    return TwiceReport(
        way=way,
        requests=requests + late,
        affordable=affordable,
        processes=processes,
        streams=streams,
        passed=passed,
        refused=refused,
        failed=requests + late - passed - refused,
        second_calls=second,
        cap_micro_usd=cap,
        billed_micro_usd=upstream.billed,
        recorded_micro_usd=counted,
        overspent_micro_usd=max(0, upstream.billed - cap),
        seconds=round(seconds, 3),
    )


def _settings(upstream: int, way: Way) -> dict[str, object]:
    return {
        "routing": {"priority": "cost", "exploration": {"share": 0}},
        "execution": {
            "retries": 0,
            "breaker": {"enabled": False},
            "splice": way == "splice",
            "escalation": {"enabled": way == "escalation", "threshold": 1.0},
            "hedging": {"enabled": way == "hedge", "share": 1.0, "most_micro_usd": EACH},
        },
        "providers": {
            "ollama": {"enabled": False},
            "openai": {
                "base_url": f"http://127.0.0.1:{upstream}/v1",
                "api_key": "sk-bench",
                "models": [FIRST, SECOND],
                "prices": {model: {"input": 0, "output": price} for model, price in PRICES.items()},
            },
        },
    }


async def _still(wave: list[asyncio.Task[Reply]], upstream: Upstream, requests: int) -> None:
    """Wait until every request was refused or has reached the upstream, and nothing more is asked."""
    until, seen, since = time.monotonic() + 120, (-1, -1, -1), time.monotonic()
    while True:
        done = sum(task.done() for task in wave)
        now = (done, upstream.first, upstream.second)
        if now != seen:
            seen, since = now, time.monotonic()
        elif done + upstream.held >= requests and time.monotonic() - since > STILL:
            return
        if time.monotonic() > until:
            raise BenchError(f"{requests - done - upstream.held} requests were neither refused nor passed on.")
        await asyncio.sleep(0.02)


async def _ask(port: int, streams: bool, *, model: str = "auto", tokens: int = OUTPUT) -> Reply:
    messages = [{"role": "user", "content": "Say something."}]
    body = {"model": model, "max_tokens": tokens, "messages": messages, "stream": streams}
    return await exchange(port, "POST", "/v1/chat/completions", json.dumps(body).encode())


class Upstream:
    """Accepts and bills every call, and answers once it is told to begin; warm-ups at once."""

    def __init__(self, way: Way) -> None:
        self.first = self.second = 0
        """Calls so far."""
        self.held = 0
        """Calls of the first model that wait for an answer."""
        self.billed = 0
        self._way = way
        self._begun = asyncio.Event()

    def begin(self) -> None:
        self._begun.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled when the measurement is over; nothing is left to be cancelled above it.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                at = head.find(b"content-length:")
                length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
                body = await reader.readexactly(length)
                if not head.startswith(b"post "):
                    writer.write(whole({"object": "list", "data": [{"id": FIRST}, {"id": SECOND}]}))
                elif not await self._answer(json.loads(body), writer):
                    break
                await writer.drain()
        writer.close()

    async def _answer(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        model, tokens = request["model"], request.get("max_tokens") or request["max_completion_tokens"]
        first = model == FIRST
        self.billed += round(tokens * PRICES[model])
        self.first, self.second = self.first + first, self.second + (not first)
        if tokens > 1:
            self.held += first
            await self._begun.wait()
            self.held -= first
            await asyncio.sleep(0 if first else 0.05)  # so that several are under way at once
        usage = {"prompt_tokens": 20, "completion_tokens": tokens, "total_tokens": tokens + 20}
        common = {"id": f"chatcmpl-{model}", "created": 1, "model": model}
        if not request.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": "words"}, "finish_reason": "stop"}
            writer.write(whole({**common, "object": "chat.completion", "choices": [choice], "usage": usage}))
            return True
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = {**common, "object": "chat.completion.chunk"}
        for word in ("Some ", "words ", "that ", "follow ", "one another. "):
            delta = {"index": 0, "delta": {"content": word}, "finish_reason": None}
            writer.write(frame({**piece, "choices": [delta]}))
            await writer.drain()
        if first and self._way == "splice":
            return False
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
        writer.write(frame({**piece, "choices": [last]}) + frame({**piece, "choices": [], "usage": usage}))
        writer.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        return True
