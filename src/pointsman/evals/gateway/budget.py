"""Whether a budget holds: many requests at once against a cap that allows exactly some of them.

Real gateways in processes of their own stand before an upstream that holds every answer until all requests are
decided, so that nothing is settled before. Every call that reaches the upstream is billed its worst case, whether its
answer is read to the end or not. A second wave, of requests that are answered at once, follows when everything is
settled: nothing may be left for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .common import BenchError, gateways
from .counters import counters
from .wire import LEAVE, Reply, chunk, exchange, frame, whole

OUTPUT = 1_000
"""Tokens of every answer, and its bound: the upstream bills the worst case."""
PRICE = 10.0
"""US dollars per million tokens of answer; prompts cost nothing, so the worst case is known to the micro-dollar."""
EACH = round(OUTPUT * PRICE)
"""Micro-dollars of a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetReport:
    """What came of it. Sums are micro-dollars."""

    requests: int
    affordable: int
    processes: int
    streams: bool
    cancelled: int
    passed: int
    """Of the first wave, before anything was settled."""
    refused: int
    failed: int
    """Neither: other statuses and broken connections."""
    late_passed: int
    """Of the second wave."""
    cap_micro_usd: int
    billed_micro_usd: int
    """What the upstream billed."""
    recorded_micro_usd: int
    """What the gateways count against the budget in the end."""
    overspent_micro_usd: int
    seconds: float

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        return (
            self.passed == min(self.affordable, self.requests)
            and self.refused == self.requests - self.passed
            and self.failed == 0
            and self.overspent_micro_usd == 0
            and self.recorded_micro_usd >= self.billed_micro_usd
        )


def run(
    *,
    requests: int,
    affordable: int,
    processes: int = 1,
    redis: str | None = None,
    cancel: float = 0.0,
    streams: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> BudgetReport:
    """Measure.

    Args:
        cancel: share of the passing requests whose client leaves after the first piece of the answer.

    Raises:
        BenchError: it cannot run here.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pointsman-bench-")))
        state = stack.enter_context(counters(redis)) if processes > 1 else None
        return asyncio.run(
            _run(stack, folder, state, requests, affordable, processes, cancel, streams or cancel > 0, progress)
        )


async def _run(
    stack: contextlib.ExitStack,
    folder: Path,
    state: str | None,
    requests: int,
    affordable: int,
    processes: int,
    cancel: float,
    streams: bool,
    progress: Callable[[str], None],
) -> BudgetReport:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, backlog=1024)
    address = server.sockets[0].getsockname()[1]
    cap = affordable * EACH
    ports = await gateways(stack, folder, processes, cap=cap, state=state, settings=_settings(address))
    progress(f"{processes} gateway{'s' if processes > 1 else ''}, a cap of {cap} micro-dollars, {EACH} a request")
    started = time.perf_counter()
    wave = [asyncio.create_task(_ask(ports[index % processes], streams)) for index in range(requests)]
    decided = await _decided(wave, upstream, requests)
    passed = upstream.accepted
    progress(f"all decided: {passed} passed, {decided} refused, nothing settled yet")
    leaving = round(cancel * passed)
    upstream.begin(leaving)
    answers = await asyncio.gather(*wave)
    refused = sum(_refused(answer) for answer in answers)
    answered = sum(answer.status == 200 for answer in answers)
    other = [answer for answer in answers if answer.status != 200 and not _refused(answer)]
    if other:
        said = other[0].body.decode(errors="replace")[:500]
        progress(f"{len(other)} ended otherwise, the first with status {other[0].status}: {said}")
    recorded_sum = await recorded(ports[0], answered * EACH)
    progress("settled; the second wave")
    late = await asyncio.gather(*(_ask(ports[index % processes], streams) for index in range(min(requests, 100))))
    seconds = time.perf_counter() - started
    server.close()
    return BudgetReport(
        requests=requests,
        affordable=affordable,
        processes=processes,
        streams=streams,
        cancelled=leaving,
        passed=passed,
        refused=refused,
        failed=requests - refused - answered,
        late_passed=sum(answer.status == 200 for answer in late),
        cap_micro_usd=cap,
        billed_micro_usd=upstream.accepted * EACH,
        recorded_micro_usd=recorded_sum,
        overspent_micro_usd=max(0, upstream.accepted * EACH - cap),
        seconds=round(seconds, 3),
    )


def _refused(answer: Reply) -> bool:
    return answer.status == 429 and b'"budget_exceeded"' in answer.body


def _settings(upstream: int) -> dict[str, object]:
    return {
        "providers": {
            "ollama": {"enabled": False},
            "scripted": {
                "base_url": f"http://127.0.0.1:{upstream}/v1",
                "models": ["model"],
                "prices": {"model": {"input": 0, "output": PRICE}},
            },
        },
    }


async def _decided(wave: Sequence[asyncio.Task[Reply]], upstream: Upstream, requests: int) -> int:
    """Wait until every request has been refused or has reached the upstream; returns how many were refused."""
    until = time.monotonic() + 120
    while True:
        done = sum(task.done() for task in wave)
        if done + upstream.accepted >= requests:
            return done
        if time.monotonic() > until:
            raise BenchError(f"{requests - done - upstream.accepted} requests were neither refused nor passed on.")
        await asyncio.sleep(0.02)


async def recorded(port: int, least: int) -> int:
    """What counts against the budget once everything is settled."""
    until = time.monotonic() + 60
    while True:
        body = (await exchange(port, "GET", "/api/v1/budgets", b"")).body
        [budget] = [row for row in json.loads(body)["budgets"] if row["scope"] == "global"]
        used: int = budget["used_micro_usd"]
        if budget["reserved_micro_usd"] == 0 and used >= least:
            return used
        if time.monotonic() > until:
            raise BenchError(f"the reservations are not settled: {budget}")
        await asyncio.sleep(0.1)


async def _ask(port: int, streams: bool) -> Reply:
    body = {
        "model": "scripted:model",
        "max_tokens": OUTPUT,
        "messages": [{"role": "user", "content": "Say something."}],
        "stream": streams,
    }
    return await exchange(port, "POST", "/v1/chat/completions", json.dumps(body).encode())


class Upstream:
    """Accepts every call, and answers once it is told to begin."""

    def __init__(self) -> None:
        self.accepted = 0
        self._begun = asyncio.Event()
        self._leaving = 0

    def begin(self, leaving: int) -> None:
        """Answer all; `leaving` of them ask their client to leave in the middle."""
        self._leaving = leaving
        self._begun.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled when the measurement is over; nothing is left to be cancelled above it.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                at = head.find(b"content-length:")
                length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
                body = await reader.readexactly(length)
                if head.startswith(b"post "):
                    self.accepted += 1
                    await self._begun.wait()
                    await self._answer(json.loads(body), writer)
                else:
                    writer.write(whole({"object": "list", "data": [{"id": "model"}]}))
                await writer.drain()
        writer.close()

    async def _answer(self, request: dict[str, object], writer: asyncio.StreamWriter) -> None:
        usage = {"prompt_tokens": 20, "completion_tokens": OUTPUT, "total_tokens": OUTPUT + 20}
        common = {"id": "chatcmpl-bench", "created": 1, "model": "model"}
        if not request.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": "words"}, "finish_reason": "stop"}
            writer.write(whole({**common, "object": "chat.completion", "choices": [choice], "usage": usage}))
            return
        leaves, self._leaving = self._leaving > 0, max(0, self._leaving - 1)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = {**common, "object": "chat.completion.chunk"}
        word = LEAVE.decode() if leaves else "word "
        for _ in range(5):
            delta = {"index": 0, "delta": {"content": word}, "finish_reason": None}
            writer.write(frame({**piece, "choices": [delta]}))
            await writer.drain()
            if leaves:  # the client goes now; the call is billed all the same
                await asyncio.sleep(30)
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
        writer.write(frame({**piece, "choices": [last]}) + frame({**piece, "choices": [], "usage": usage}))
        writer.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
