"""Answers in OpenAI's shape, made of an engine's chunks: streamed and whole ones from the same deltas."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.events import Body, Frames, PromptDetails, Usage, encode_frame
from pointsman.dialects.prompted.action_stream import ActionStream, CallArguments, CallStart, Piece, ReplyText
from pointsman.dialects.prompted.stop_text import StopText

from .completion import EngineChoice, EngineChunk, EngineUsage, Job, Logprobs, TokenLogprob

_encoder = msgspec.json.Encoder()


@dataclass(slots=True)
class Delta:
    """What is new of one choice: the fields of a chunk's `delta`."""

    fields: dict[str, Any] = field(default_factory=dict)
    logprobs: list[TokenLogprob] | None = None


class PlainChoice:
    """A choice whose text is the engine's own."""

    def __init__(self, job: Job) -> None:
        self._whole_object = job.whole_object
        self._top_logprobs = job.top_logprobs
        self.finish_reason: str | None = None

    def feed(self, choice: EngineChoice) -> list[Delta]:
        """What this chunk adds.

        Raises:
            UpstreamProtocolError: a JSON object was asked for, and the engine did not hold the model to it.
        """
        self.finish_reason = choice.finish_reason or self.finish_reason
        content, fields = choice.delta.content, {}
        if content:
            if self._whole_object and (begun := content.lstrip()):
                self._whole_object = False
                if not begun.startswith("{"):
                    raise UpstreamProtocolError(
                        "The engine did not accept the schema of `response_format`; simplify it."
                    )
            fields["content"] = content
        if choice.delta.reasoning_content:
            fields["reasoning_content"] = choice.delta.reasoning_content
        logprobs = _trimmed(choice.logprobs, self._top_logprobs)
        return [Delta(fields, logprobs)] if fields or logprobs else []

    def end(self) -> list[Delta]:
        return []


class ToolChoice:
    """A choice whose text is an action: a reply, or a call of a tool.

    Arguments that are cut by a length limit end with finish reason `length`, never `tool_calls`: the fragments that
    were streamed are no whole JSON, and of an answer that is not streamed the half call is left out.
    """

    def __init__(self, job: Job) -> None:
        assert job.plan is not None
        self._actions = ActionStream(job.plan, raw_reply=job.raw_reply)
        self._stops = StopText(job.stops)
        self._called = False
        self.finish_reason: str | None = None

    @property
    def half_call(self) -> bool:
        return self._called and not self._actions.complete

    @property
    def stopped(self) -> bool:
        """Whether a stop text has ended the reply, so that nothing more is wanted of the engine."""
        return self._stops.found

    def feed(self, choice: EngineChoice) -> list[Delta]:
        """What this chunk adds.

        Raises:
            UpstreamProtocolError: the engine did not hold the model to the tools' schemas.
        """
        deltas = [delta for piece in self._actions.feed(choice.delta.content or "") if (delta := self._delta(piece))]
        if self.stopped:
            self.finish_reason = "stop"
        elif choice.finish_reason:
            self.finish_reason = self._reason(choice.finish_reason)
        return deltas

    def end(self) -> list[Delta]:
        """What was held back because a stop text might have begun there."""
        rest = self._stops.rest()
        return [Delta({"content": rest})] if rest else []

    def _delta(self, piece: Piece) -> Delta | None:
        match piece:
            case ReplyText(text):
                text = self._stops.feed(text)
                return Delta({"content": text}) if text else None
            case CallStart(name):
                self._called = True
                function = {"name": name, "arguments": ""}
                call = {"index": 0, "id": f"call_{os.urandom(12).hex()}", "type": "function", "function": function}
                return Delta({"tool_calls": [call]})
            case CallArguments(fragment):
                return Delta({"tool_calls": [{"index": 0, "function": {"arguments": fragment}}]})

    def _reason(self, reason: str) -> str:
        if self._actions.complete:
            return "tool_calls" if self._called else "stop"
        if reason != "length":
            raise UpstreamProtocolError("The engine ended an action before it was whole.")
        return reason


class Answer:
    """One answer of one or more choices.

    Args:
        model: the name that the answer bears.
        build: what writes it, with its version. The engine's own word for that is `b0-unknown`.
    """

    def __init__(self, model: str, *, build: str, wants_usage: bool) -> None:
        self._envelope: dict[str, Any] = {
            "id": "", "object": "chat.completion.chunk", "created": 0, "model": model, "system_fingerprint": build
        }  # fmt: skip
        self._wants_usage = wants_usage
        self._prompt_tokens = self._cached_tokens = self._completion_tokens = 0
        self._choices: list[dict[str, Any]] = []
        self._reason = ""

    @property
    def id(self) -> str:
        return str(self._envelope["id"])

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            prompt_tokens_details=PromptDetails(cached_tokens=self._cached_tokens),
        )

    def open(self, chunk: EngineChunk) -> None:
        """Take the answer's id and time from its first chunk."""
        if not self._envelope["id"]:
            self._envelope |= {"id": chunk.id or f"chatcmpl-{os.urandom(12).hex()}", "created": chunk.created}

    def count(self, usage: EngineUsage) -> None:
        """Add a choice's tokens. The prompt is the same for all and counts once."""
        if not self._prompt_tokens:
            self._prompt_tokens = usage.prompt_tokens
            self._cached_tokens = usage.prompt_tokens_details.cached_tokens
        self._completion_tokens += usage.completion_tokens

    def frame(self, index: int, delta: Delta, *, first: bool) -> Frames:
        """A chunk that adds to a choice; its first one carries the role."""
        fields = delta.fields
        if first:
            fields = {"role": "assistant", "content": None if "tool_calls" in fields else ""} | fields
        choice = {"index": index, "delta": fields, "logprobs": _logprobs(delta.logprobs), "finish_reason": None}
        return Frames(self._encode([choice]), answer_id=self.id)

    def finish_frame(self, index: int, reason: str) -> Frames:
        choice = {"index": index, "delta": {}, "logprobs": None, "finish_reason": reason}
        self._reason = reason
        return Frames(self._encode([choice]), answer_id=self.id, finish_reason=reason)

    def usage_frame(self) -> Frames:
        """The last frame, which tells the usage; without bytes when the caller did not ask for it."""
        raw = self._encode([], usage=self._usage()) if self._wants_usage else b""
        return Frames(raw, usage=self.usage, answer_id=self.id, finish_reason=self._reason)

    def add_choice(self, deltas: list[Delta], reason: str, *, half_call: bool) -> None:
        """Add a whole choice to an answer that is not streamed."""
        content = "".join(delta.fields.get("content", "") for delta in deltas)
        reasoning = "".join(delta.fields.get("reasoning_content", "") for delta in deltas)
        calls = [call for delta in deltas for call in delta.fields.get("tool_calls", ())]
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if reasoning:
            message["reasoning_content"] = reasoning
        if calls and not half_call:
            arguments = "".join(call["function"]["arguments"] for call in calls)
            head = calls[0]
            message["content"] = None
            message["tool_calls"] = [
                {"id": head["id"], "type": "function",
                 "function": {"name": head["function"]["name"], "arguments": arguments}}
            ]  # fmt: skip
        tokens = [token for delta in deltas for token in delta.logprobs or ()]
        self._choices.append(
            {"index": len(self._choices), "message": message, "logprobs": _logprobs(tokens), "finish_reason": reason}
        )
        self._reason = reason

    def body(self) -> Body:
        """The whole answer."""
        envelope = self._envelope | {"object": "chat.completion", "choices": self._choices, "usage": self._usage()}
        return Body(_encoder.encode(envelope), self.usage, self.id, self._reason)

    def _encode(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        if self._wants_usage and not more:
            more = {"usage": None}
        return encode_frame(_encoder.encode({**self._envelope, "choices": choices, **more}))

    def _usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "total_tokens": self._prompt_tokens + self._completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self._cached_tokens},
        }


def _trimmed(logprobs: Logprobs | None, top: int) -> list[TokenLogprob] | None:
    """The engine tells twenty alternatives when none were asked for."""
    if logprobs is None or not logprobs.content:
        return None
    for token in logprobs.content:
        del token.top_logprobs[top:]
    return logprobs.content


def _logprobs(tokens: list[TokenLogprob] | None) -> dict[str, Any] | None:
    return {"content": tokens, "refusal": None} if tokens else None
