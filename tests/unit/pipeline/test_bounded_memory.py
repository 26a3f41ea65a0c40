"""What is remembered of prompts, conversations, callers and outcomes stops growing, however many new ones come."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from deciding import signals
from msgspec import Raw

from pointsman.core.caller import Caller
from pointsman.core.decision import Decision
from pointsman.core.outcome import Outcome
from pointsman.core.ports import SystemClock
from pointsman.core.request import ChatRequest
from pointsman.pipeline.admit import limits
from pointsman.pipeline.admit.limits import BucketRule, Limits
from pointsman.pipeline.admit.tiers import Tier, Tiers
from pointsman.pipeline.decide.threads import Threads
from pointsman.pipeline.execute import hedge
from pointsman.pipeline.execute.hedge import FirstBytes
from pointsman.pipeline.record.implicit import ImplicitSignals
from pointsman.pipeline.record.shares import KeyShares
from pointsman.pipeline.understand import ComplexityRules, PrivacyRules, Understand
from pointsman.pipeline.understand import stage as understanding
from pointsman.pipeline.understand.memo import Memo
from pointsman.pipeline.understand.people import People
from pointsman.providers.static_embedding import pieces
from pointsman.providers.static_embedding.pieces import WordPieces
from pointsman.stores.memory_state import MemoryState

BOUND = 40
"""Of entries, in place of thousands."""
FULL, MORE = 3 * BOUND, 15 * BOUND
"""New ones until a memory is full, and then."""
LEFT_BEHIND = 60.0
"""Bytes that a new one may make a full memory larger; the smallest entry has 200."""

Feed = Callable[[int], Any]
"""Has something remember its n-th new thing."""


def said(content: str, **fields: Any) -> ChatRequest:
    return ChatRequest.build({"messages": [{"role": "user", "content": content}], **fields})


def understand(**changes: Any) -> Understand:
    rules: dict[str, Any] = {"windows": lambda: (), "memo_size": BOUND, **changes}
    return Understand(privacy=PrivacyRules(), complexity=ComplexityRules(), hash_key=b"k", **rules)


def decided(number: int) -> Decision:
    digest = hashlib.sha256(b"%d" % number).digest()
    what = msgspec.structs.replace(signals(), prefixes=digest[:16], prompt_hash=digest.hex())
    return Decision(
        id=f"dec_{number}", created_at=1.0, model="m", plan=("m",), mode="auto", requested_model="auto", candidates=(),
        dropped=(), propensity=1.0, policy="p@1", reasons=(), signals=what, estimated_cost_micro_usd=None,
        conversation=digest[:8].hex(), key_id=f"key_{number}",
    )  # fmt: skip


def prompts() -> Feed:
    ask = understand()
    return lambda number: ask(said(f"What is number {number} of the list?", user=f"user-{number:09}"))


def counted_prompts() -> Feed:
    """Prompts that may be just too long for a model are counted exactly, and that is remembered too."""
    ask = understand(windows=lambda: range(1, 2_000, 3))
    return lambda number: ask(said(f"What is number {number} of the list?"))


def tool_calls() -> Feed:
    ask = understand(memo_size=10_000)

    def call(number: int, place: int) -> Any:
        return {"id": "c", "type": "function", "function": {"name": "read", "arguments": f"{number} {place}"}}

    def feed(number: int) -> None:
        calls = [call(number, place) for place in range(20)]
        messages = [{"role": "user", "content": "go"}, {"role": "assistant", "tool_calls": calls}]
        ask(ChatRequest.build({"messages": messages}))

    return feed


def names() -> Feed:
    people = People(lambda texts: [[] for _ in texts], classes={}, hash_key=b"k", skipped=frozenset(), memo_size=BOUND)
    what = signals()

    def feed(number: int) -> None:
        people.judge(ChatRequest.build({"messages": [Raw(b'{"role":"user","content":"%d"}' % number)]}), what)

    return feed


def words() -> Feed:
    read = WordPieces(["a", "##a"])
    return lambda number: read(f"a{number} b{number:09}")


def long_words() -> Feed:
    read = WordPieces(["a", "##a"])
    return lambda number: read(f"a{number:05000}")


def threads() -> Feed:
    kept = Threads(most=BOUND)
    return lambda number: kept.keep(decided(number), number)


def implicit() -> Feed:
    noted = ImplicitSignals(lambda signal: None, SystemClock(), most=BOUND)
    return lambda number: noted.answered(decided(number), Outcome(status="ok"))


def shares() -> Feed:
    held = KeyShares(share=0.5, most=BOUND)

    def feed(number: int) -> None:
        held.put(f"dec_{number}", ("m", f"key_{number}"), weight=1.0, at=number)
        list(held.settle({"m"}))
        held.trim(0.0)

    return feed


def first_bytes() -> Feed:
    kept = FirstBytes()
    return lambda number: kept.told(f"model-{number}", 0.5)


def callers() -> Feed:
    """With a bucket that is full again at once, so that the state has nothing to keep."""
    limited = Limits(
        state=MemoryState(),
        tiers=Tiers({"standard": Tier()}, "standard"),
        buckets={"chat": BucketRule(burst=10**6, per_minute=1e12)},
        open_when_away=False,
    )
    return lambda number: limited(Caller(key_id=f"key_{number}", admin=False), "chat")


def nonces() -> Feed:
    class Hand:
        at = 0.0

        def now(self) -> float:
            return self.at

        monotonic = now

    clock = Hand()
    state = MemoryState(clock)

    def feed(number: int) -> Any:
        clock.at = float(number)
        return state.once_of("key", f"{number:032}", at=number, seconds=float(BOUND), most=10 * BOUND)

    return feed


def many_nonces() -> Feed:
    state = MemoryState()

    def feed(number: int) -> Any:  # all at one time
        return state.once_of("key", f"{number:032}", at=10**10, seconds=300.0, most=BOUND)

    return feed


FEEDS = (
    *(prompts, counted_prompts, tool_calls, names, words, long_words, threads, implicit, shares, first_bytes),
    *(callers, nonces, many_nonces),
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MOST_REMEMBERED", BOUND)
    monkeypatch.setattr(hedge, "MOST_MODELS", BOUND)
    monkeypatch.setattr(limits, "MOST_PLANS", BOUND)
    monkeypatch.setattr(understanding, "MOST_STEPS", 20 * BOUND)


@pytest.mark.parametrize("made", FEEDS, ids=lambda made: made.__name__)
async def test_a_full_memory_grows_no_more(made: Callable[[], Feed], small: None):
    feed = made()

    async def new(numbers: range) -> int:
        """Bytes that are held when these have come."""
        for number in numbers:
            found = feed(number)
            if asyncio.iscoroutine(found):
                await found
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    await new(range(FULL))  # tables that are read once are not counted
    tracemalloc.start()
    try:
        before = await new(range(FULL, 2 * FULL))
        after = await new(range(2 * FULL, 2 * FULL + MORE))
    finally:
        tracemalloc.stop()
    assert (after - before) / MORE < LEFT_BEHIND


def test_a_memo_is_bounded_by_what_its_values_weigh():
    memo: Memo[str] = Memo(1_000, most=160)
    for number in range(50):
        memo.keep(b"%d" % number, "x" * 10, 10)
    assert len(memo) == 16
    assert memo.peek(b"49") is not None
    assert memo.peek(b"0") is None
    memo.keep(b"too heavy", "x" * 11, 11)
    assert (len(memo), memo.peek(b"too heavy")) == (16, None)
    for number in range(2_000):
        memo.keep(b"light %d" % number, "")
    assert (len(memo), memo.weight) == (1_000, 0)
