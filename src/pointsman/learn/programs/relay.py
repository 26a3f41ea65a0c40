"""The worker's only way to a model: a call is a line on a pipe, and so is its answer."""

from __future__ import annotations

import threading
from typing import Any, BinaryIO

import dspy
import msgspec
from dspy.lm15 import InvalidRequestError, Message, Request, Response, Usage

from .job import Answer, Ask, Event

_answers = msgspec.json.Decoder(Answer)


class CallsSpent(InvalidRequestError):
    """No more calls may be made in this phase."""


class Relay:
    """An engine of `dspy.LM` that asks the process at the other end of the pipe.

    `limit` is how many calls may have been made in all; beyond it every call fails at once, so that an optimiser comes
    to its end with the best that it has found.
    """

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self.limit = 0
        self.calls = 0
        self.errors: list[str] = []
        """Of the calls that failed, in order."""
        self._source = source
        self._sink = sink
        self._lock = threading.Lock()

    def tell(self, event: Event) -> None:
        self._sink.write(msgspec.json.encode(event) + b"\n")
        self._sink.flush()

    def complete(self, request: Request) -> Response:
        ask = Ask(
            messages=_messages(request), temperature=request.config.temperature, max_tokens=request.config.max_tokens
        )
        with self._lock:
            if self.calls >= self.limit:
                raise CallsSpent("the calls of this phase are spent")
            self.calls += 1
            self.tell(ask)
            line = self._source.readline()
            if not line:
                raise SystemExit(1)  # whoever wanted this is gone
            answer = _answers.decode(line)
            if answer.text is None:
                self.errors.append(answer.error)
                raise InvalidRequestError(answer.error)
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant(answer.text or " "),
            finish_reason="stop",
            usage=Usage(),
        )


def language_model(relay: Relay, job_model: str, max_tokens: int, temperature: float = 0.0) -> dspy.LM:
    """The model that is trained against. Answers are remembered for the same call, in memory alone."""
    return dspy.LM(
        f"openai/{job_model or 'auto'}",
        engine=relay,
        temperature=temperature,
        max_tokens=max_tokens,
        num_retries=0,  # the gateway retries, and knows what a call may cost
    )


def _messages(request: Request) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    system: Any = request.system
    if system is not None:
        found.append({"role": "system", "content": system if isinstance(system, str) else _text(system)})
    found.extend({"role": message.role, "content": message.text or ""} for message in request.messages)
    return found


def _text(parts: Any) -> str:
    return "".join(part.text for part in parts)
