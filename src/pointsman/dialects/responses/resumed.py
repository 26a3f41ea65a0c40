"""A streamed response that broke off: read back from the events that went out, and gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from pointsman.core.events import Frames, Usage, payloads
from pointsman.dialects.broken import BrokenAnswer
from pointsman.dialects.checks import unreadable

from .answer import Output
from .object import INCOMPLETE, new_mark, usage_object
from .output import Ended, Events, Spoken
from .relay import CALLS

Body = dict[str, Any]
_decoder = msgspec.json.Decoder(dict[str, Any])
_PLAIN = frozenset({"message", "reasoning", *CALLS})
_THOUGHTS = {
    "response.reasoning_summary_text.delta": ("summary", "summary_index", "summary_text"),
    "response.reasoning_text.delta": ("content", "content_index", "reasoning_text"),
}
"""Event → the list of a reasoning item, what places a part in it, and the part's type."""
_SPOKEN = frozenset({"output_text", "reasoning_text"})
"""Types of parts that can be gone on with."""
_MOST_PARTS = 1_000
"""Of one item's reasoning; a provider says itself where a part stands."""
_FINISH = {reason: finish for finish, reason in INCOMPLETE.items()}


class BrokenResponse(BrokenAnswer):
    """A response of OpenAI's."""

    def __init__(self) -> None:
        super().__init__()
        self._response: Body = {}
        self._items: dict[int, Body] = {}
        """By their index; those that have not ended have no more than was told."""
        self._ended: set[int] = set()
        self._parted: set[int] = set()
        """Messages whose last part has ended."""
        self._next = 0
        """Number of the next event."""
        self._events = Events()
        self._output: Output | None = None

    def read(self, raw: bytes) -> None:
        with _readable():
            for payload in payloads(raw):
                self._take(_decoder.decode(payload))

    def resume(self) -> None:
        mark = new_mark()
        with _readable():
            self._events = Events(self._next)
            self._output = Output.resumed(self._events, mark, list(self._told_items(mark)))

    def written(self, frames: Frames) -> bytes:
        if self._output is not None:
            with _readable():
                self._output.feed(frames)
        return self._events.take()

    def end(self, finish: str | None = None) -> bytes:
        """What stands behind the last chunk.

        Args:
            finish: why it ended, in chat's words, where no chunk told.
        """
        output = self._output
        if output is None:
            return b""
        output.finish = finish or output.finish
        with _readable():
            items = output.end()
        reason = INCOMPLETE.get(output.finish or "")
        response = {
            **self._response,
            "status": output.status,
            "incomplete_details": {"reason": reason} if reason else None,
            "output": items,
            "usage": usage_object(output.usage) if output.usage is not None else None,
        }
        self._events.tell(f"response.{output.status}", response=response)
        return self._events.take()

    def close(self, finish: str | None, usage: Usage | None = None) -> bytes:
        if finish is None:
            return b""
        self.resume()
        if self._output is not None:
            self._output.usage = usage
        return self.end(finish)

    def _told_items(self, mark: str) -> Iterator[Ended | Spoken]:
        """The items, of which only a message that is under way can be gone on with; others are ended.

        Args:
            mark: for the id of an item that was told without one.
        """
        last = len(self._items) - 1
        for index, item in sorted(self._items.items()):
            if index in self._ended:
                yield Ended(item)
            elif index == last and item["type"] == "message" and index not in self._parted:
                parts = [dict(part) for part in item["content"]]
                said = parts[-1]["text"] if parts else ""
                yield Spoken.resumed(self._events, index, str(item.get("id") or f"msg_{mark}_{index}"), parts, said)
            else:
                if "status" in item:
                    item["status"] = "completed"
                self._events.tell("response.output_item.done", output_index=index, item=item)
                yield Ended(item)

    def _take(self, told: Body) -> None:
        kind = told["type"]
        if isinstance(number := told.get("sequence_number"), int):
            self._next = number + 1
        if isinstance(told.get("response"), dict):
            self.begun = True
            self._response = told["response"]
            if kind in ("response.completed", "response.incomplete"):
                why = (self._response.get("incomplete_details") or {}).get("reason")
                calls = any(item["type"] in CALLS for item in self._response.get("output") or ())
                self.finish = _FINISH.get(str(why), "length") if why else "tool_calls" if calls else "stop"
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._item(told["output_index"], told["item"], done=kind.endswith("done"))
        elif kind == "response.content_part.added":
            part = _complete(told["part"])
            self.strange = self.strange or part["type"] not in _SPOKEN
            self._items[told["output_index"]].setdefault("content", []).append(part)
            self._parted.discard(told["output_index"])
        elif kind == "response.content_part.done":
            self._items[told["output_index"]]["content"][told["content_index"]] = _complete(told["part"])
            self._parted.add(told["output_index"])
        elif kind == "response.output_text.delta":
            self.texts.append(told["delta"])
            self._items[told["output_index"]]["content"][told["content_index"]]["text"] += told["delta"]
        elif kind in _THOUGHTS:
            self._think(told, *_THOUGHTS[kind])
        elif kind == "response.refusal.delta":
            self.strange = True

    def _item(self, index: int, item: Body, *, done: bool) -> None:
        gap = index not in self._items and index != len(self._items)
        self.strange = self.strange or gap or item["type"] not in _PLAIN
        self.thought = self.thought or item["type"] == "reasoning"
        self._items[index] = dict(item)
        if done:
            self._ended.add(index)
            self.calls += item["type"] in CALLS
        elif item["type"] == "message":
            parts = self._items[index]["content"] = [_complete(part) for part in item.get("content") or ()]
            self.strange = self.strange or any(part["type"] not in _SPOKEN for part in parts)

    def _think(self, told: Body, field: str, place: str, kind: str) -> None:
        item = self._items[told["output_index"]]
        parts: list[Body] = list(item.get(field) or ())
        if told[place] > _MOST_PARTS:
            raise IndexError(told[place])
        while len(parts) <= told[place]:
            parts.append({"type": kind, "text": ""})
        at = parts[told[place]]
        parts[told[place]] = {**at, "text": at.get("text", "") + told["delta"]}
        item[field] = parts


def _complete(part: Body) -> Body:
    """A part with what other servers leave out of its text. Raises as what is no part of a message."""
    told = {name: value for name, value in part.items() if value is not None}
    kind = told["type"]
    if kind == "output_text":
        for name in ("annotations", "logprobs"):
            told[name] = [each for each in told.get(name) or () if isinstance(each, dict)]
    return {"type": kind, "text": "", **told} if kind in _SPOKEN else told


@contextmanager
def _readable() -> Iterator[None]:
    """
    Raises:
        UpstreamProtocolError: what was told is not what the API promises.
    """
    try:
        yield
    except (msgspec.MsgspecError, RecursionError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise unreadable(error) from None
