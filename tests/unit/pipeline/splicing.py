"""Models that answer in chunks, break off, and go on: what the tests of the splice play with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pointsman.core.catalog import ModelCard, Prefill
from pointsman.core.events import Frames, Usage, encode_frame
from pointsman.core.request import ChatRequest, Dialect
from pointsman.pipeline.execute.splice import Splice

PREFILLS = ModelCard(id="near:prefills", provider="near", name="prefills", local=True, prefill=Prefill())
REPEATS = ModelCard(id="far:repeats", provider="far", name="repeats")

Reply = Callable[[ChatRequest], Sequence[Frames]]


def asking(text: str = "Tell me", **fields: Any) -> ChatRequest:
    return ChatRequest.build(
        {"model": "auto", "stream": True, "messages": [{"role": "user", "content": text}], **fields}
    )


def relayed_asking(dialect: Dialect, **fields: Any) -> ChatRequest:
    """The same of a caller who speaks another dialect, as its surface translates it."""
    return ChatRequest.build(
        {"model": "auto", "stream": True, "max_tokens": 500, "stream_options": {"include_usage": True},
         "messages": [{"role": "user", "content": "Tell me"}], **fields},
        dialect=dialect,
    )  # fmt: skip


def chunk(
    delta: dict[str, Any] | None = None, *, finish: str | None = None, model: str = "first", **more: Any
) -> Frames:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    fields = {"id": f"id-{model}", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices}
    return Frames(encode_frame(json.dumps({**fields, **more}).encode()), finish_reason=finish)


def pieces(text: str, size: int = 4) -> Iterable[str]:
    return (text[at : at + size] for at in range(0, len(text), size))


def streamed(
    text: str, *, model: str = "first", size: int = 4, finish: str | None = "stop", before: Sequence[Frames] = ()
) -> list[Frames]:
    """A whole answer, as an upstream streams it."""
    frames = [chunk({"role": "assistant", "content": ""}, model=model), *before]
    frames += [chunk({"content": piece}, model=model) for piece in pieces(text, size)]
    if finish:
        frames.append(chunk({}, finish=finish, model=model))
        usage = Usage(prompt_tokens=7, completion_tokens=len(text))
        told = {"prompt_tokens": 7, "completion_tokens": len(text), "total_tokens": 7 + len(text)}
        frames.append(Frames(chunk(None, model=model, usage=told).raw, usage=usage))
    return frames


def call(index: int, identifier: str, name: str, arguments: str, size: int = 3) -> list[Frames]:
    """The chunks of a tool call."""
    head = {"index": index, "id": identifier, "type": "function", "function": {"name": name, "arguments": ""}}
    rest = [{"index": index, "function": {"arguments": piece}} for piece in pieces(arguments, size)]
    return [chunk({"tool_calls": [piece]}) for piece in (head, *rest)]


def begun(request: ChatRequest) -> str:
    """The partial answer in a request to go on."""
    said = [message for message in request.messages() if message.role == "assistant"]
    assert isinstance(said[-1].content, str)
    return said[-1].content


class Told:
    """What a caller has seen, as a client reads it."""

    def __init__(self) -> None:
        self.chunks: list[dict[str, Any]] = []

    def see(self, event: Any) -> None:
        if event is None:
            return
        for line in event.raw.decode().split("\n\n"):
            if line.startswith("data: "):
                self.chunks.append(json.loads(line[6:]))

    @property
    def _choices(self) -> list[dict[str, Any]]:
        return [choice for chunk in self.chunks for choice in chunk["choices"]]

    def _said(self, name: str) -> str:
        return "".join(choice["delta"].get(name) or "" for choice in self._choices)

    @property
    def text(self) -> str:
        return self._said("content")

    @property
    def reasoning(self) -> str:
        return self._said("reasoning_content")

    @property
    def finishes(self) -> list[str]:
        return [choice["finish_reason"] for choice in self._choices if choice["finish_reason"]]

    @property
    def calls(self) -> list[tuple[str, str]]:
        found: dict[Any, list[str]] = {}
        for choice in self._choices:
            for each in choice["delta"].get("tool_calls") or ():
                known = found.setdefault(each["index"], ["", ""])
                known[0] += each["function"].get("name") or ""
                known[1] += each["function"].get("arguments") or ""
        return [(name, arguments) for name, arguments in found.values()]

    def check(self) -> None:
        """One stream: one id, one role, choice 0, one end, usage behind it."""
        assert len({(each["id"], each["model"], each["created"]) for each in self.chunks}) == 1
        assert [choice["delta"].get("role") for choice in self._choices].count("assistant") <= 1
        assert {choice["index"] for choice in self._choices} <= {0}
        assert len(self.finishes) == 1
        assert sum(1 for each in self.chunks if each.get("usage")) <= 1


def carried_out(
    request: ChatRequest,
    first: Sequence[Frames],
    *others: tuple[ModelCard, Reply],
    breaks: Sequence[int] = (),
    splice: Splice | None = None,
) -> Told:
    """Play attempts, each of which breaks behind so many events, but for the last."""
    splice = splice or Splice(request)
    told = Told()
    attempts: list[tuple[ModelCard, Reply]] = [(REPEATS, lambda asked: first), *others]
    for number, (card, reply) in enumerate(attempts):
        assert splice.can_go_on(card)
        events = reply(splice.asks(card, request))
        stop = breaks[number] if number < len(breaks) else None
        for event in events[:stop]:
            told.see(splice.passes(event))
        if stop is None:
            break
        if (rest := splice.whole()) is not None:
            told.see(rest)
            return told
    told.see(splice.end())
    return told
