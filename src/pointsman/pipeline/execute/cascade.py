"""A cascade: the cheap model answers first, and a stronger one takes over where that answer is not convincing.

Of a stream the first tokens are held back while they are judged, so many and for so long at most; what has gone out
is no longer judged. Of an answer that is not streamed the whole is judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import msgspec

from pointsman.core.decision import Decision
from pointsman.core.errors import PointsmanError, UpstreamLacks, UpstreamStatus
from pointsman.core.events import Body, Event, Frames
from pointsman.core.ports import Clock
from pointsman.core.request import ChatRequest, Priority

from .confidence import Model, Verifier, load, threshold_for

MARGIN = 0.02
"""How much likelier to succeed a model must be, to be asked in another's place."""
TOP_LOGPROBS = 5
"""Alternatives asked for beside each token, for the entropy."""


class Escalation(msgspec.Struct, frozen=True, kw_only=True):
    """When answers are judged, and how strictly."""

    enabled: bool = False
    priorities: frozenset[Priority] = frozenset()
    """Requests of these are judged although it is not enabled."""
    share: float = 0.3
    """Of the answers, at most, as the model of confidence saw answers: what lies below the threshold for it is
    escalated."""
    threshold: float | None = None
    """The probability of a good answer below which a stronger model is asked, in place of `share`."""
    hold_tokens: int = 48
    """Tokens of a stream that are held back at most."""
    hold_seconds: float = 4.0
    """Seconds for which they are held back at most, from the first."""
    model: Model | None = None
    """By which answers are judged; None: the one that comes with the package."""

    def below(self, *, whole: bool, expected: float) -> float:
        """The probability below which an answer, or its beginning, is not convincing."""
        if self.threshold is not None:
            return self.threshold
        threshold = threshold_for if self.model is None else self.model.threshold_for
        return threshold(share=self.share, whole=whole, prior=expected)


class Unconvincing(Exception):
    """An answer is not good enough to be told.

    Args:
        reason: in words without any of the answer's own.
        kept: the answer where it had come whole, in case that no other model answers.
    """

    def __init__(self, reason: str, kept: list[Event] | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kept = kept


def stronger(decision: Decision, plan: tuple[str, ...]) -> tuple[str, ...]:
    """The plan's models that are likelier to succeed than the first, the best first; empty: nobody can take over.

    A choice by chance is left alone: what it teaches is how that model fares.
    """
    if decision.mode == "forced" or decision.explored or len(plan) < 2:
        return ()
    if decision.signals.needs.kind != "chat" or decision.signals.needs.choices != 1:
        return ()
    quality = qualities(decision)
    if plan[0] not in quality:
        return ()
    least = quality[plan[0]] + MARGIN
    better = [model for model in plan[1:] if quality.get(model, 0.0) >= least]
    return tuple(sorted(better, key=lambda model: -quality[model]))


def qualities(decision: Decision) -> dict[str, float]:
    """How likely each candidate was to succeed; of a model with several efforts the likeliest."""
    quality: dict[str, float] = {}
    for candidate in decision.candidates:
        quality[candidate.model] = max(candidate.quality, quality.get(candidate.model, 0.0))
    return quality


class Watch:
    """Judges one attempt. Log-probabilities are asked for, and taken out again where the caller did not.

    Args:
        expected: how likely the model's answer was to be good, as the decision saw it.
        covered: whether a stronger model can be paid for. Asked before a stream is cut, which cannot be taken back.
        mute: the model is known to refuse log-probabilities.
    """

    def __init__(
        self,
        rules: Escalation,
        clock: Clock,
        expected: float,
        covered: Callable[[], Awaitable[bool]],
        *,
        mute: bool = False,
    ) -> None:
        self._covered = covered
        self._rules = rules
        self._expected = expected
        self._clock = clock
        self.mute = mute
        self._verifier: Verifier | None = None
        self._strips = False
        self._judged = False
        self.confidence: float | None = None
        """The probability of a good answer that it came to; None: it has not judged."""

    def asks(self, asked: ChatRequest, *, logprobs: bool) -> ChatRequest:
        """What the model is asked: the same, in the inner dialect, with log-probabilities where it can give them."""
        if asked.dialect != "chat":  # a relayed answer cannot be read here
            asked = asked.redacted(asked.fields)
        if logprobs and not self.mute and not asked.params.logprobs:
            self._strips = True
            asked = asked.redacted({**asked.fields, "logprobs": True, "top_logprobs": TOP_LOGPROBS})
        self._verifier = Verifier(asked, self._rules.model)
        return asked

    def takes(self, event: Event) -> Event:
        """Hear an event of the model's, and return it as the caller asked for it."""
        if not self._judged and self._verifier is not None:
            self._verifier.feed(event)
        return without_logprobs(event) if self._strips else event

    def refused(self, error: PointsmanError) -> bool:
        """Whether the model refused the request: for the log-probabilities, it may be, which the caller did not ask
        for; where they were left out (`mute`), for something else."""
        if not (self._strips or self.mute):
            return False
        return isinstance(error, UpstreamLacks) or (isinstance(error, UpstreamStatus) and not error.retryable)

    async def convincing(self, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        """The events, once what has come is convincing.

        Raises:
            Unconvincing: another model should answer.
        """
        loading = None
        if not load.cache_info().currsize:  # while the model is thinking
            loading = asyncio.get_running_loop().run_in_executor(None, load)
        held: list[Event] = []
        until: float | None = None
        coming: asyncio.Task[Event | None] | None = None
        try:
            while True:
                if until is None:
                    event = await anext(events, None)
                else:  # the wait for the next token must not outlast the holding back
                    coming = coming or asyncio.create_task(_following(events))
                    await asyncio.wait({coming}, timeout=max(0.0, until - self._clock.monotonic()))
                    if not coming.done():
                        break
                    event, coming = coming.result(), None
                verifier = self._verifier
                assert verifier is not None, "the attempt has begun, and so was altered"
                if event is None:
                    if loading is not None:
                        await loading
                    if (doubt := self._doubt(verifier, held, whole=True)) is not None:
                        raise doubt
                    for one in held:
                        yield one
                    return
                held.append(event)
                if isinstance(event, Frames) and until is None:
                    until = self._clock.monotonic() + self._rules.hold_seconds
                if isinstance(event, Frames) and verifier.tokens >= self._rules.hold_tokens:
                    break
            assert self._verifier is not None
            if loading is not None:
                await loading
            doubt = self._doubt(self._verifier, held, whole=False)
            if doubt is not None and await self._covered():
                raise doubt
            for one in held:
                yield one
            if coming is not None:
                event, coming = await coming, None
                if event is None:
                    return
                yield event
            async for event in events:
                yield event
        finally:
            # Whoever waits for the next event must have let go before the attempt can be closed.
            if coming is not None:
                coming.cancel()
                await asyncio.wait({coming})
                if not coming.cancelled():
                    coming.exception()  # the attempt has noted it
            await events.aclose()

    def _doubt(self, verifier: Verifier, held: list[Event], *, whole: bool) -> Unconvincing | None:
        confidence = verifier.confidence(whole=whole, prior=self._expected)
        self.confidence = confidence.probability
        self._judged = True
        if confidence.probability >= self._rules.below(whole=whole, expected=self._expected):
            return None
        said = f" ({'; '.join(confidence.reasons[:3])})" if confidence.reasons else ""
        what = "answer" if whole else "beginning"
        return Unconvincing(
            f"Its {what} was likely good with {confidence.probability:.0%} only{said}.",
            held if whole else None,
        )


async def _following(events: AsyncGenerator[Event, None]) -> Event | None:
    return await anext(events, None)


def without_logprobs(event: Event) -> Event:
    """The event without log-probabilities that the caller did not ask for."""
    if b'"logprobs"' not in event.raw:
        return event
    if isinstance(event, Body):
        return msgspec.structs.replace(event, raw=msgspec.json.encode(_stripped(msgspec.json.decode(event.raw))))
    frames = []
    for frame in event.raw.replace(b"\r\n", b"\n").split(b"\n\n"):
        if not frame.startswith(b"data:") or b'"logprobs"' not in frame:
            frames.append(frame)
            continue
        try:
            chunk = msgspec.json.decode(frame[5:])
        except msgspec.MsgspecError:
            frames.append(frame)
            continue
        frames.append(b"data: " + msgspec.json.encode(_stripped(chunk)))
    return msgspec.structs.replace(event, raw=b"\n\n".join(frames))


def _stripped(answer: Any) -> Any:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            choice.pop("logprobs", None)
    return answer
