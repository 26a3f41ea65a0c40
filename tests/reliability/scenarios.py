"""A mix of everything that goes well and wrong between a client, the gateway and an upstream.

Each request carries a number. Upstream, `Stage` plays the part that the number stands for, so that requests in any
order, and fallbacks, meet the same fate with the same seed; every word of an answer carries the number.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pointsman.testing.answers import Answer, HangUp, Page, Raw, Reset, SeenRequest, Stall, Status, Step, Stream, Wire
from pointsman.testing.answers import Truncated as CutShort

PINNED, OTHER = "openai:gpt-4o-mini", "openai:gpt-4o"
_NUMBER = re.compile(rb"request-(\d+)-end")


USUAL = Answer(pieces=8, delay=0.002)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of request and how it may end.

    `statuses` are those that the log may hold for a client that stayed.
    """

    name: str
    statuses: frozenset[str]
    upstream: Callable[[Answer], Step] = lambda answer: answer
    model: str = PINNED
    leaves: bool = False
    whole: bool = False
    """Whether a client that stays gets the whole answer."""
    body: bytes | None = None
    prompt: str = ""
    weight: int = 2
    first_attempt_fails: bool = False
    answer: Answer = USUAL


def _frames(answer: Answer, tail: bytes) -> Step:
    """A stream that begins well and goes on with something else."""
    begun = b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
    return Stream([begun % answer.text.split(" ")[0].encode(), tail])


OK, ERROR, REFUSED = frozenset({"ok"}), frozenset({"error"}), frozenset({"refused"})
SLOW = Answer(pieces=40, delay=0.02)

SCENARIOS = (
    Scenario(name="well", statuses=OK, whole=True, weight=16),
    Scenario(name="auto", statuses=OK, whole=True, model="auto", weight=8),
    Scenario(name="one piece", statuses=OK, whole=True, answer=Answer(pieces=1), weight=4),
    Scenario(name="no usage", statuses=OK, whole=True, answer=Answer(pieces=4, usage=None)),
    Scenario(name="one JSON body for a stream", statuses=OK, whole=True, answer=Answer(unstreamed=True)),
    Scenario(name="leaves in mid-answer", statuses=OK, leaves=True, answer=SLOW, weight=8),
    Scenario(name="leaves before the answer", statuses=OK, leaves=True, answer=Answer(first_delay=0.4), weight=4),
    Scenario(name="leaves a stall", statuses=ERROR, leaves=True, upstream=lambda a: Stall(40, a), weight=2),
    Scenario(name="stall before the first byte", statuses=ERROR, upstream=lambda a: Stall(None, a), weight=1),
    Scenario(name="stall between bytes", statuses=ERROR, upstream=lambda a: Stall(200, a), weight=1),
    Scenario(name="reset before the first byte", statuses=ERROR, upstream=lambda a: Reset(None, a)),
    Scenario(name="reset after the first byte", statuses=ERROR, upstream=lambda a: Reset(300, a)),
    Scenario(name="hang-up before the first byte", statuses=ERROR, upstream=lambda a: HangUp(None, a)),
    Scenario(name="hang-up after the first byte", statuses=ERROR, upstream=lambda a: HangUp(150, a)),
    Scenario(name="half a frame", statuses=ERROR, upstream=lambda a: CutShort(170, a)),
    Scenario(name="rate limit", statuses=ERROR, upstream=lambda a: Status(429, retry_after=1)),
    Scenario(name="refused by the upstream", statuses=ERROR, upstream=lambda a: Status(400)),
    Scenario(name="internal error", statuses=ERROR, upstream=lambda a: Status(500)),
    Scenario(name="overloaded", statuses=ERROR, upstream=lambda a: Status(503, retry_after=2)),
    Scenario(name="captive portal", statuses=ERROR, upstream=lambda a: Page(b"<html>log in</html>")),
    Scenario(name="not HTTP", statuses=ERROR, upstream=lambda a: Raw(b"\x16\x03\x01 nonsense\r\n\r\n")),
    Scenario(name="error in the stream", statuses=ERROR,
             upstream=lambda a: _frames(a, b'data: {"error":{"message":"out of memory","code":500}}\n\n')),
    Scenario(name="fallback", statuses=OK, whole=True, model="auto", first_attempt_fails=True,
             upstream=lambda a: Status(503), weight=4),
    Scenario(name="fallback after a reset", statuses=OK, whole=True, model="auto", first_attempt_fails=True,
             upstream=lambda a: Reset(None, a), weight=4),
    Scenario(name="unknown model", statuses=REFUSED, model="openai:no-such-model"),
    Scenario(name="private", statuses=REFUSED, prompt="My token is ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2."),
    Scenario(name="no JSON", statuses=REFUSED, body=b'{"model": "auto", "messages": ['),
    Scenario(name="no messages", statuses=REFUSED, body=b'{"model": "auto"}'),
    Scenario(name="bad field", statuses=REFUSED, body=b'{"model":"auto","messages":[{"role":"user","content":7}]}'),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One request of the mix."""

    number: int
    scenario: Scenario
    stream: bool
    leave_after: float | None
    by_reset: bool

    @property
    def text(self) -> str:
        """The whole answer. Every word names its request and its place: nothing can be mixed up or said twice."""
        return " ".join(f"{self.number}.{place}" for place in range(30))

    @property
    def answer(self) -> Answer:
        base = self.scenario.answer
        return Answer(
            text=self.text, pieces=base.pieces, delay=base.delay if self.stream else 0.0, usage=base.usage,
            first_delay=base.first_delay if self.stream else base.first_delay + base.pieces * base.delay,
            unstreamed=base.unstreamed, id=f"chatcmpl-{self.number}",
        )  # fmt: skip

    @property
    def body(self) -> bytes:
        if self.scenario.body is not None:
            return self.scenario.body
        content = f"Say something. {self.scenario.prompt} request-{self.number}-end"
        messages = [{"role": "user", "content": content}]
        return json.dumps({"model": self.scenario.model, "messages": messages, "stream": self.stream}).encode()


def plans(count: int, *, seed: int, first: int = 0) -> list[Plan]:
    rng = random.Random(seed)
    weights = [scenario.weight for scenario in SCENARIOS]
    return [
        Plan(
            number=first + index,
            scenario=scenario,
            stream=rng.random() < 0.6,
            leave_after=rng.uniform(0.0, 0.4) if scenario.leaves else None,
            by_reset=rng.random() < 0.5,
        )
        for index, scenario in enumerate(rng.choices(SCENARIOS, weights, k=count))
    ]


class Stage:
    """The upstream's side of the plans: a step that looks up which part to play."""

    def __init__(self) -> None:
        self.plans: dict[int, Plan] = {}
        self.attempts: Counter[int] = Counter()

    def expect(self, plans: list[Plan]) -> None:
        self.plans |= {plan.number: plan for plan in plans}

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        found = _NUMBER.search(request.body)
        assert found is not None, request.body
        plan = self.plans[int(found.group(1))]
        self.attempts[plan.number] += 1
        if plan.scenario.first_attempt_fails and self.attempts[plan.number] > 1:
            await plan.answer.play(request, wire)
        else:
            await plan.scenario.upstream(plan.answer).play(request, wire)
