"""Output items of a response while they grow: what each tells of itself, as events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from .names import Known

Body = dict[str, Any]
_encoder = msgspec.json.Encoder()


class Events:
    """Server-sent events, numbered from 0, or from `first`."""

    def __init__(self, first: int = 0) -> None:
        self._number = first
        self._waiting: list[bytes] = []

    def tell(self, kind: str, **fields: Any) -> None:
        data = _encoder.encode({"type": kind, "sequence_number": self._number, **fields})
        self._waiting.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))
        self._number += 1

    def take(self) -> bytes:
        """What was told since the last call."""
        told, self._waiting = b"".join(self._waiting), []
        return told


class Spoken:
    """A message, or reasoning: parts of text, one after another."""

    def __init__(self, events: Events, index: int, mark: str, *, reasoning: bool = False) -> None:
        self._events = events
        self._index = index
        self.reasoning = reasoning
        self._parts: list[Body] = []
        self._pieces: list[str] = []
        self.id = f"{'rs' if reasoning else 'msg'}_{mark}_{index}"
        events.tell("response.output_item.added", output_index=index, item=self.item("in_progress"))

    @classmethod
    def resumed(cls, events: Events, index: int, identifier: str, parts: Sequence[Body], said: str) -> Spoken:
        """A message that was begun elsewhere.

        Args:
            parts: of its content; the last is under way.
            said: the last one's text so far.
        """
        spoken = cls.__new__(cls)
        spoken._events, spoken._index, spoken.reasoning = events, index, False
        spoken._parts, spoken._pieces, spoken.id = list(parts), [said] if said else [], identifier
        return spoken

    def item(self, status: str) -> Body:
        if self.reasoning:
            return {"id": self.id, "type": "reasoning", "summary": [], "content": list(self._parts), "status": status}
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": list(self._parts)}

    def say(self, kind: str, text: str, logprobs: Sequence[Body] = ()) -> None:
        """Add to the part under way, or begin one of this kind (`output_text`, `refusal`, `reasoning_text`)."""
        if not self._parts or self._parts[-1]["type"] != kind:
            self._end_part()
            part: Body = {"type": kind, "refusal" if kind == "refusal" else "text": ""}
            if kind == "output_text":
                part |= {"annotations": [], "logprobs": []}
            self._parts.append(part)
            self._tell("response.content_part.added", part=part)
        self._pieces.append(text)
        if kind == "output_text":
            self._parts[-1]["logprobs"].extend(logprobs)
            self._tell(f"response.{kind}.delta", delta=text, logprobs=[_brief(each) for each in logprobs])
        else:
            self._tell(f"response.{kind}.delta", delta=text)

    def annotate(self, annotation: Body) -> None:
        """A citation of the text so far."""
        if not self._parts or self._parts[-1]["type"] != "output_text":
            self.say("output_text", "")
        noted: list[Body] = self._parts[-1]["annotations"]
        self._tell("response.output_text.annotation.added", annotation_index=len(noted), annotation=annotation)
        noted.append(annotation)

    def end(self, status: str) -> Body:
        self._end_part()
        item = self.item(status)
        self._events.tell("response.output_item.done", output_index=self._index, item=item)
        return item

    def _end_part(self) -> None:
        if not self._parts:
            return
        part, text = self._parts[-1], "".join(self._pieces)
        self._pieces.clear()
        kind = part["type"]
        field = "refusal" if kind == "refusal" else "text"
        part[field] = text
        more = {"logprobs": [_brief(each) for each in part["logprobs"]]} if kind == "output_text" else {}
        self._tell(f"response.{kind}.done", **{field: text}, **more)
        self._tell("response.content_part.done", part=part)

    def _tell(self, kind: str, **fields: Any) -> None:
        place = {"item_id": self.id, "output_index": self._index, "content_index": len(self._parts) - 1}
        self._events.tell(kind, **place, **fields)


class Sealed:
    """Reasoning that the caller keeps and does not read; it comes whole."""

    def __init__(self, events: Events, index: int, mark: str, *, encrypted: str) -> None:
        self._encrypted = encrypted
        self.id = f"rs_{mark}_{index}"
        events.tell("response.output_item.added", output_index=index, item=self.item("in_progress"))
        self._events = events
        self._index = index

    def item(self, status: str) -> Body:
        item: Body = {"id": self.id, "type": "reasoning", "summary": [], "status": status}
        return {**item, "encrypted_content": self._encrypted}

    def end(self, status: str) -> Body:
        item = self.item(status)
        self._events.tell("response.output_item.done", output_index=self._index, item=item)
        return item


class Ended:
    """An item that was told elsewhere, whole."""

    def __init__(self, item: Body) -> None:
        self.id = str(item.get("id"))
        self._item = item

    def item(self, status: str) -> Body:
        return self._item

    end = item


class Called:
    """A call of a tool."""

    def __init__(self, events: Events, index: int, mark: str, *, known: Known, call_id: str | None) -> None:
        self._events = events
        self._index = index
        self._known = known
        self._pieces: list[str] = []
        self.id = f"{_PREFIX[known.kind]}_{mark}_{index}"
        self.call_id = call_id or f"call_{mark}_{index}"
        events.tell("response.output_item.added", output_index=index, item=self.item("in_progress"))

    def item(self, status: str) -> Body:
        kind, text = self._known.kind, "".join(self._pieces)
        item: Body = {"id": self.id, "type": _TYPE[kind], "call_id": self.call_id}
        if kind == "tool_search":
            return {**item, "status": status, "execution": "client", "arguments": object_of(text)}
        item["name"] = self._known.name
        if self._known.namespace is not None:
            item["namespace"] = self._known.namespace
        return {**item, "status": status, "arguments" if kind == "function" else "input": text}

    def say(self, text: str) -> None:
        if text:
            self._pieces.append(text)
            if self._known.kind in _EVENT:
                self._tell(f"response.{_EVENT[self._known.kind]}.delta", delta=text)

    def end(self, status: str) -> Body:
        if self._known.kind in _EVENT:
            field = "arguments" if self._known.kind == "function" else "input"
            self._tell(f"response.{_EVENT[self._known.kind]}.done", **{field: "".join(self._pieces)})
        item = self.item(status)
        self._events.tell("response.output_item.done", output_index=self._index, item=item)
        return item

    def _tell(self, kind: str, **fields: Any) -> None:
        self._events.tell(kind, item_id=self.id, output_index=self._index, **fields)


_PREFIX = {"function": "fc", "custom": "ctc", "tool_search": "tsc"}
_TYPE = {"function": "function_call", "custom": "custom_tool_call", "tool_search": "tool_search_call"}
_EVENT = {"function": "function_call_arguments", "custom": "custom_tool_call_input"}


def object_of(text: str) -> Any:
    """Arguments as a value; what is none yet, or cannot be read, is told as it stands."""
    try:
        return msgspec.json.decode(text) if text else {}
    except (msgspec.MsgspecError, RecursionError):
        return {"unreadable": text}


def _brief(logprob: Body) -> Body:
    """A token's probability as deltas tell it: without its bytes."""
    others = [{name: each.get(name) for name in ("token", "logprob")} for each in logprob.get("top_logprobs") or ()]
    return {"token": logprob.get("token"), "logprob": logprob.get("logprob"), "top_logprobs": others}
