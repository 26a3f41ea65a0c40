"""An answer in OpenAI's Responses as one in its chat: for models that are served in Responses alone."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.events import Body, Frames, Usage, encode_frame, payloads
from pointsman.dialects.checks import unreadable
from pointsman.dialects.messages.events import usage_fields

from .relay import relay_response

_decoder = msgspec.json.Decoder(dict[str, Any])
_encoder = msgspec.json.Encoder()
_SAID = {
    "response.output_text.delta": "content",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "reasoning_content",
    "response.reasoning_text.delta": "reasoning_content",
}
"""Events whose piece of text goes on with a field of chat's."""
_CALLED = {"response.function_call_arguments.delta": "function", "response.custom_tool_call_input.delta": "custom"}
_FIELD = {"function": "arguments", "custom": "input"}


class ChatFromResponses:
    """Turns the frames that `ResponsesRelay` gives into chunks.

    Args:
        wants_usage: whether the caller asked for a usage chunk; its figures stand beside the frames in any case.
    """

    def __init__(self, *, model: str, created: int, wants_usage: bool) -> None:
        self._base = {"id": "chatcmpl", "object": "chat.completion.chunk", "created": created, "model": model}
        self._wants_usage = wants_usage
        self._calls: dict[int, tuple[int, str]] = {}
        """Index of the output item → index of the call, and what kind it is of."""
        self._spoke = False
        """Whether a chunk was given: the first tells the role."""
        self.failure: UpstreamProtocolError | None = None
        """What is wrong behind the chunks that `feed` gave back last: to be raised after them."""
        self._part: tuple[Any, Any] | None = None
        """The part of a summary that was told last."""

    def feed(self, event: Frames) -> Frames:
        """The chunks; empty where these frames say nothing in chat."""
        if event.answer_id is not None:
            self._base["id"] = event.answer_id
        written = []
        for payload in payloads(event.raw):
            try:
                told = _decoder.decode(payload)
                written += [self._chunk(delta) for delta in self._deltas(told)]
            except (msgspec.MsgspecError, RecursionError, KeyError, TypeError, AttributeError) as error:
                self.failure = unreadable(error)
                return Frames(b"".join(written), answer_id=event.answer_id)
        if event.finish_reason is not None:
            written.append(self._chunk({}, event.finish_reason))
            if self._wants_usage and event.usage is not None:
                usage = usage_fields(event.usage)
                written.append(encode_frame(_encoder.encode({**self._base, "choices": [], "usage": usage})))
        return Frames(b"".join(written), event.usage, event.answer_id, event.finish_reason)

    def _deltas(self, told: dict[str, Any]) -> list[dict[str, Any]]:
        kind = told.get("type")
        if kind in _SAID:
            text = told["delta"]
            if not text:
                return []
            if kind == "response.reasoning_summary_text.delta":
                part = (told.get("output_index"), told.get("summary_index"))
                if self._part not in (None, part):
                    text = f"\n\n{text}"
                self._part = part
            return [{_SAID[kind]: text}]
        if kind == "response.output_item.added" and (call := _call_of(told["item"])) is not None:
            index = len(self._calls)
            self._calls[told["output_index"]] = (index, call["type"])
            return [{"tool_calls": [{"index": index, **call}]}]
        if kind in _CALLED and told["output_index"] in self._calls:
            index, what = self._calls[told["output_index"]]
            return [{"tool_calls": [{"index": index, what: {_FIELD[what]: told["delta"]}}]}]
        return []

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        if not self._spoke:
            self._spoke = True
            delta = {"role": "assistant", "content": "", **delta}
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return encode_frame(_encoder.encode({**self._base, "choices": [choice]}))


def chat_body(raw: bytes, *, created: int) -> Body:
    """A whole answer.

    Raises:
        UpstreamError: it states an error.
        UpstreamProtocolError: it is not what the API promises.
    """
    relayed = relay_response(raw)
    try:
        message = _message(_decoder.decode(relayed.raw)["output"])
        model = _decoder.decode(relayed.raw).get("model")
    except (msgspec.MsgspecError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(error) from None
    answer: dict[str, Any] = {
        "id": relayed.answer_id or "chatcmpl",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": relayed.finish_reason}],
    }
    if isinstance(relayed.usage, Usage):
        answer["usage"] = usage_fields(relayed.usage)
    return Body(_encoder.encode(answer), relayed.usage, relayed.answer_id, relayed.finish_reason)


def _message(output: list[dict[str, Any]]) -> dict[str, Any]:
    texts, refusals, thoughts, calls = [], [], [], []
    for item in output:
        if item["type"] == "message":
            texts += [part["text"] for part in item["content"] if part["type"] == "output_text"]
            refusals += [part["refusal"] for part in item["content"] if part["type"] == "refusal"]
        elif item["type"] == "reasoning":
            thoughts += [part["text"] for part in (*(item.get("summary") or ()), *(item.get("content") or ()))]
        elif (call := _call_of(item)) is not None:
            calls.append(call)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
    if refusals:
        message["refusal"] = "".join(refusals)
    if thoughts:
        message["reasoning_content"] = "\n\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _call_of(item: dict[str, Any]) -> dict[str, Any] | None:
    """A call in chat's form; None of another item."""
    if item["type"] == "function_call":
        named = {"name": item["name"], "arguments": item.get("arguments") or ""}
        return {"id": item["call_id"], "type": "function", "function": named}
    if item["type"] == "custom_tool_call":
        return {
            "id": item["call_id"],
            "type": "custom",
            "custom": {"name": item["name"], "input": item.get("input") or ""},
        }
    return None
