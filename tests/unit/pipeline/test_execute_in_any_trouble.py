"""Whatever upstreams and callers do to a request that may be retried, hedged, escalated, queued and gone on with: each
thing that is taken is given back once, nothing is charged less than was done, and nothing private leaves."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec
import pytest
from splicing import Told, begun, streamed
from test_execute_and_record import Log, decision

from pointsman.core.budget import charges
from pointsman.core.catalog import Catalog, ModelCard, Prefill
from pointsman.core.decision import Candidate
from pointsman.core.errors import (
    Overloaded,
    PointsmanError,
    ProviderShort,
    UpstreamBroken,
    UpstreamConnectError,
    UpstreamProtocolError,
    UpstreamStatus,
    UpstreamTimeout,
)
from pointsman.core.events import Body, Event, Usage
from pointsman.core.mask import Mask, Original
from pointsman.core.ports import ChatCall, SystemClock, Timeouts
from pointsman.core.request import ChatRequest
from pointsman.core.shared import StateUnavailable
from pointsman.core.trail import Trail
from pointsman.pipeline.admit.purse import Grant
from pointsman.pipeline.answer import settling
from pointsman.pipeline.execute import Escalation, Execute, ExecutionRules, Hedging
from pointsman.pipeline.execute.hedge import ENOUGH
from pointsman.pipeline.execute.order import Retries
from pointsman.pipeline.execute.queueing import LineRules
from pointsman.pipeline.execute.queues import EngineQueues
from pointsman.pipeline.execute.splice.seam import anchor_of
from pointsman.pipeline.record import Record
from pointsman.pipeline.record.meter import NOTHING_UNDERSTOOD

SECRET = "ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"
NAME = "REDACTED_SECRET_1_K7Q2M9"
CLEAR = " ".join(f"word{number}" if number % 7 else f"word{number} {SECRET}" for number in range(1, 22))
MASKED = CLEAR.replace(SECRET, NAME)

NEAR = ModelCard(id="near:one", provider="near", name="one", local=True, prefill=Prefill(), price_input=0,
                 price_output=0)  # fmt: skip
CHEAP = ModelCard(id="far:cheap", provider="far", name="cheap", price_input=1_000_000, price_output=2_000_000)
STRONG = ModelCard(id="off:strong", provider="off", name="strong", price_input=9_000_000, price_output=20_000_000)
CARDS = [NEAR, CHEAP, STRONG]
CATALOG = Catalog(CARDS)
QUALITY = {"near:one": 0.5, "far:cheap": 0.6, "off:strong": 0.9}
NEEDS = msgspec.structs.replace(NOTHING_UNDERSTOOD.needs, prompt_tokens_most=50, max_output=2000)

PLAYS = 150


def asking(secret: str, *, stream: bool) -> ChatRequest:
    said = [{"role": "user", "content": f"My token is {secret}"}]
    return ChatRequest.build({"model": "auto", "stream": stream, "max_tokens": 2000, "messages": said})


class Trouble:
    """A provider that does anything."""

    def __init__(self, card: ModelCard, play: Play) -> None:
        self.name, self.card, self.play = card.provider, card, play

    async def chat(self, call: ChatCall) -> AsyncIterator[Event]:
        play, chance = self.play, self.play.chance
        assert call.timeouts.total > 0
        assert call.local_only == play.private
        body = call.request.render({})
        if not call.card.local and play.private:
            assert SECRET.encode() not in body
            assert call.clears is not None
        play.asked.append(self.card.id)
        play.open += 1
        try:
            await asyncio.sleep(chance.choice((0, 0, 0.002, 0.02, 0.08)))
            fate = chance.random()
            if fate < 0.35:
                raise chance.choice(
                    (
                        UpstreamConnectError(), UpstreamStatus(500, b""), UpstreamStatus(429, b"", retry_after=0.02),
                        UpstreamStatus(503, b"", retry_after=5.0), UpstreamTimeout("first_byte", 0.1), Overloaded(),
                        UpstreamStatus(400, b"{}"), UpstreamProtocolError(), UpstreamStatus(401, b""),
                    )
                )  # fmt: skip
            whole = CLEAR if call.card.local or not play.private else MASKED
            if not call.request.stream:
                play.bills(self.card, 40, 500)
                answer = {"id": "x", "choices": [{"index": 0, "message": {"role": "assistant", "content": whole}}]}
                yield Body(msgspec.json.encode(answer), usage=Usage(40, 500), finish_reason="stop")
                return
            said = begun(call.request) if len(call.request.params.messages) > 1 else ""
            repeats = said and call.card.prefill is None
            rest = (anchor_of(said) if repeats else "") + whole[len(said) :]
            events = streamed(rest, model=self.card.name)
            breaks = chance.randrange(len(events)) if fate < 0.7 else None
            play.bills(self.card, 7, 0)
            for number, event in enumerate(events):
                if number == breaks:
                    raise chance.choice((UpstreamBroken(), UpstreamTimeout("between_bytes", 0.1)))
                if chance.random() < 0.05:
                    await asyncio.sleep(0.005)
                one = Told()
                one.see(event)
                play.bills(self.card, 0, len(one.text))
                yield event
        finally:
            play.open -= 1


class Play:
    """One request, with everything that it takes counted."""

    def __init__(self, seed: int, queues: EngineQueues) -> None:
        self.seed, self.queues = seed, queues
        self.chance = chance = random.Random(seed)
        self.private = chance.random() < 0.5
        self.stream = chance.random() < 0.7
        self.leaves = chance.choice((None, None, None, 0.01, 0.05, 0.1))
        self.useless = chance.randrange(30) if chance.random() < 0.1 else None
        self.total = chance.choice((5.0, 5.0, 0.05, 0.15))
        self.asked: list[str] = []
        self.open = self.taken = self.told_of = self.settled = 0
        self.billed: Counter[str] = Counter()
        self.given_back: Counter[int] = Counter()

    def bills(self, card: ModelCard, prompt: int, output: int) -> None:
        self.billed[card.id] += prompt * (card.price_input or 0) + output * (card.price_output or 0)

    # The throttle
    async def take(self, card, needs, tier):
        if self.chance.random() < 0.1:
            await asyncio.sleep(0.002)
        if self.chance.random() < 0.1:
            raise self.chance.choice((ProviderShort(card.provider, "short", retry_after=0.02), StateUnavailable()))
        self.taken += 1
        return self.taken

    def settle(self, share, *, sent, tokens) -> None:
        if isinstance(share, int):
            self.given_back[share] += 1
        else:  # the bank's word for the other thing
            self.settled += 1

    def wait(self, card, seconds) -> None:
        pass

    def waiting(self, card) -> float:
        return self.seed % 5 == 0 and card is STRONG

    # The breakers
    def admit(self, card) -> float:
        refuses = self.chance.random() < 0.05
        self.told_of += not refuses
        return float(refuses)

    def told(self, card, error, seconds) -> None:
        self.told_of -= 1

    def opened(self):
        return {}

    async def __call__(self) -> None:
        chance = self.chance
        plan = chance.sample(CARDS, chance.randrange(1, 4))
        execute = Execute(
            provider_for=lambda card: Trouble(card, self),
            timeouts=Timeouts(),
            clock=SystemClock(),
            throttle=self,
            breakers=self,
            queues=self.queues,
            rules=ExecutionRules(
                retries=Retries(most=chance.randrange(3), pause=0.004),
                escalation=Escalation(
                    enabled=True, threshold=chance.choice((0.0, 0.5, 1.0)), hold_tokens=10, hold_seconds=0.01
                ),
                hedging=Hedging(enabled=chance.random() < 0.7, share=1.0, most_micro_usd=10**6),
            ),
        )
        for card in CARDS:
            for _ in range(ENOUGH):
                execute._hedges.first_bytes.told(card.id, 0.003)
        mask = None
        if self.private:
            mask = Mask(
                request=asking(NAME, stream=self.stream),
                originals={NAME: Original(SECRET, SECRET)},
                tag="K7Q2M9",
                clears=lambda body: SECRET.encode() not in body,
            )
        chosen = decision(
            *(card.id for card in plan),
            candidates=tuple(
                Candidate(model=name, quality=quality, cost_micro_usd=10, latency_seconds=1.0, utility=quality)
                for name, quality in QUALITY.items()
            ),
            signals=msgspec.structs.replace(NOTHING_UNDERSTOOD, needs=NEEDS),
        )
        grant = Grant(Bank(self), chosen, key_id=None, at=0.0, reserved=0, models={}, budgets=(), default_output=None)
        trail, log, request = Trail(SystemClock()), Log(), asking(SECRET, stream=self.stream)
        attempts = execute(chosen, request, catalog=CATALOG, trail=trail, mask=mask, purse=grant, timeout=self.total)
        record = Record(log=log, clock=SystemClock())
        events = settling(grant, trail, record.watch(chosen, request, trail, attempts))
        seen: list[Event] = []
        ended = False

        async def listen() -> None:
            nonlocal ended
            async with aclosing(events):
                async for event in events:
                    seen.append(event)
                    if len(seen) == self.useless:
                        await events.athrow(UpstreamProtocolError("of no use"))
            ended = True

        left = False
        try:
            async with asyncio.timeout(self.leaves):
                await listen()
        except TimeoutError:
            left = True
        except PointsmanError:
            pass  # as the log says, which is looked at
        self.check(trail, log, grant, seen, ended=ended, left=left)

    def check(self, trail: Trail, log: Log, grant: Grant, seen: list[Event], *, ended: bool, left: bool) -> None:
        assert self.open == 0, "every call is closed"
        assert self.told_of == 0, "the breakers hear of every attempt that they admitted"
        assert self.given_back == dict.fromkeys(range(1, self.taken + 1), 1), "each share is settled once"
        assert self.settled == 1, "so is the money"
        assert len(log.outcomes) == 1
        outcome = log.outcomes[0][1]
        assert outcome.seconds < self.total + 10
        assert outcome.status == ("ok" if ended else "cancelled" if left else outcome.status)
        assert ended == (outcome.status == "ok")
        assert len(self.asked) <= len([one for one in outcome.attempts if one.status != "refused"])
        found = charges(trail, NEEDS)
        for model, billed in self.billed.items():
            charged = sum(charge.micro_usd for charge in found if charge.model == model)
            assert charged >= billed // 1_000_000, "never less than may be billed"
        assert sum(charge.micro_usd for charge in found) <= grant.reserved, "never more than was reserved"
        if not ended:
            return
        assert outcome.model == outcome.attempts[-1].model
        if self.stream:
            told = Told()
            for event in seen:
                told.see(event)
            told.check()
            assert told.text == CLEAR
        else:
            assert len(seen) == 1
            assert msgspec.json.decode(seen[0].raw)["choices"][0]["message"]["content"] == CLEAR


class Bank:
    """Whose money is not always enough."""

    def __init__(self, play: Play) -> None:
        self._play = play

    async def top_up(self, grant: Grant, reserved: int, models) -> bool:
        if self._play.chance.random() < 0.2:
            await asyncio.sleep(0.01)
        if self._play.chance.random() < 0.05:
            return False
        grant.reserved = reserved
        grant.models.update(models)
        return True

    def settle(self, grant: Grant, found) -> None:
        self._play.settle(grant, sent=True, tokens=None)


@pytest.mark.parametrize("batch", range(2))
async def test_each_thing_that_is_taken_is_given_back_once(batch):
    queues = EngineQueues(clock=SystemClock())
    queues.put("near", LineRules(slots=8, queue=8, seconds=0.05))
    before = asyncio.all_tasks()
    plays = [Play(batch * PLAYS + number, queues) for number in range(PLAYS)]
    told = await asyncio.gather(*(play() for play in plays), return_exceptions=True)
    failed = [(play.seed, error) for play, error in zip(plays, told, strict=True) if error is not None]
    assert not failed, failed[0]
    assert asyncio.all_tasks() == before
    (standing,) = queues.standings()
    assert (standing.running, standing.waiting) == (0, 0)
