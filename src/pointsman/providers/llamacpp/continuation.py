"""Plain text gone on with by an embedded model: OpenAI's `text_completion` objects."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from pointsman.core.errors import UpstreamTimeout
from pointsman.core.events import Body, Event, Frames, PromptDetails, Usage, encode_frame
from pointsman.core.ports import ChatCall
from pointsman.core.request import ChatRequest
from pointsman.dialects.openai.completions import suffix_of, to_completion
from pointsman.transport.http import Outbound

from .completion import PASSED, RANDOM_SEED, EngineUsage, TokenLogprob, complete
from .engine import Engine

COMPLETIONS = "/v1/completions"
_encoder = msgspec.json.Encoder()


async def continue_texts(
    outbound: Outbound, engine: Engine, call: ChatCall, *, arrived: float
) -> AsyncGenerator[Event, None]:
    """Answer a request of kind `completion` in one slot: each prompt `n` times, one after another.

    Raises:
        UpstreamTimeout: the call's time is over between two answers.
        UpstreamError: the engine failed.
    """
    request = call.request
    loop = asyncio.get_running_loop()
    asked = to_completion(request, call.card.fim if suffix_of(request) is not None else None)
    prompts = [asked["prompt"]] if isinstance(asked["prompt"], str) else asked["prompt"]
    answer = _Answer(call.card.id, wants_usage=request.wants_usage)
    for index in range(len(prompts) * (request.params.n or 1)):
        remaining = call.timeouts.total - (loop.time() - arrived)
        if remaining <= 0:
            raise UpstreamTimeout("total", call.timeouts.total)
        chunks = complete(
            outbound,
            engine,
            _body(request, asked, prompts[index // (request.params.n or 1)], index),
            card=call.card,
            local_only=call.local_only,
            timeouts=msgspec.structs.replace(call.timeouts, total=remaining),
            target=COMPLETIONS,
        )
        answer.begin(index)
        async with aclosing(chunks):
            async for chunk in chunks:
                for choice in chunk.choices:
                    logprobs = choice.logprobs.content if choice.logprobs is not None else None
                    frame = answer.add(choice.text or "", logprobs, choice.finish_reason)
                    if request.stream and frame is not None:
                        yield frame
                if chunk.usage is not None:
                    answer.count(chunk.usage)
    yield answer.last() if request.stream else answer.body()


def _body(request: ChatRequest, asked: dict[str, Any], prompt: str, index: int) -> bytes:
    fields: dict[str, Any] = {
        name: raw for name in PASSED if (raw := request.fields.get(name)) is not None and bytes(raw) != b"null"
    }
    fields.pop("top_logprobs", None)
    fields |= {name: value for name, value in asked.items() if name != "prompt"}
    if request.params.seed is not None:
        fields["seed"] = (request.params.seed + index) % RANDOM_SEED
    if request.max_output is not None:
        fields["max_tokens"] = request.max_output
    return _encoder.encode(
        {
            **fields,
            "prompt": prompt,
            "stream": True,
            "stream_options": {"include_usage": True},
            "cache_prompt": request.params.seed is None,
        }
    )


class _Answer:
    """One answer of one or more choices, in the making."""

    def __init__(self, model: str, *, wants_usage: bool) -> None:
        self.id = f"cmpl-{os.urandom(12).hex()}"
        self._envelope = {"id": self.id, "object": "text_completion", "created": int(time.time()), "model": model}
        self._wants_usage = wants_usage
        self._choices: list[dict[str, Any]] = []
        self._usage = EngineUsage()
        self._reason = "stop"

    def begin(self, index: int) -> None:
        self._choices.append({"index": index, "text": "", "logprobs": None, "finish_reason": None})
        self._offset = 0

    def add(self, text: str, tokens: list[TokenLogprob] | None, reason: str | None) -> Frames | None:
        """What is new of the choice, as a frame; None where nothing is."""
        logprobs = self._logprobs(tokens) if tokens else None
        if not (text or logprobs or reason):
            return None
        choice = self._choices[-1]
        choice["text"] += text
        choice["finish_reason"] = reason or choice["finish_reason"]
        if logprobs is not None:
            held = choice["logprobs"]
            choice["logprobs"] = {name: held[name] + new for name, new in logprobs.items()} if held else logprobs
        self._reason = reason or self._reason
        piece = {"index": choice["index"], "text": text, "logprobs": logprobs, "finish_reason": reason}
        raw = encode_frame(_encoder.encode({**self._envelope, "choices": [piece]}))
        return Frames(raw, answer_id=self.id, finish_reason=reason)

    def count(self, usage: EngineUsage) -> None:
        held = self._usage
        held.prompt_tokens += usage.prompt_tokens
        held.completion_tokens += usage.completion_tokens
        held.prompt_tokens_details.cached_tokens += usage.prompt_tokens_details.cached_tokens

    def last(self) -> Frames:
        """The frame that tells the usage; without bytes when the caller did not ask for it."""
        raw = encode_frame(_encoder.encode({**self._envelope, "choices": [], "usage": self._told()}))
        return Frames(raw if self._wants_usage else b"", self._counted(), self.id, self._reason)

    def body(self) -> Body:
        raw = _encoder.encode({**self._envelope, "choices": self._choices, "usage": self._told()})
        return Body(raw, self._counted(), self.id, self._reason)

    def _told(self) -> dict[str, Any]:
        used = self._usage
        return {
            "prompt_tokens": used.prompt_tokens,
            "completion_tokens": used.completion_tokens,
            "total_tokens": used.prompt_tokens + used.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": used.prompt_tokens_details.cached_tokens},
        }

    def _counted(self) -> Usage:
        used = self._usage
        return Usage(
            used.prompt_tokens, used.completion_tokens, PromptDetails(used.prompt_tokens_details.cached_tokens)
        )

    def _logprobs(self, tokens: list[TokenLogprob]) -> dict[str, Any]:
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(token.token)
        return {
            "tokens": [token.token for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [{one.token: one.logprob for one in token.top_logprobs} for token in tokens],
            "text_offset": offsets,
        }
