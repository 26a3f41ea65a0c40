"""A chat answer as the events and the object of OpenAI's Responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pointsman.core.events import Event, Usage

from .chunk import Call, Choice, chunks
from .names import Kind, Known
from .object import INCOMPLETE
from .output import Called, Ended, Events, Sealed, Spoken
from .thoughts import sealed

Body = dict[str, Any]


class Output:
    """The output items of one answer. The first choice alone is told: this API knows no second one.

    A message or reasoning ends when something else begins. Calls end with the answer, for upstreams may send the
    pieces of several in turn.
    """

    def __init__(self, events: Events, mark: str, known: Mapping[str, Known]) -> None:
        """
        Args:
            known: the tools by the names that chat has for them.
        """
        self._events = events
        self._mark = mark
        self._known = known
        self._items: list[Spoken | Called | Sealed | Ended] = []
        self._thought: list[str] = []
        """Pieces of all reasoning."""
        self._ended: dict[int, Body] = {}
        self._calls: dict[int, Called] = {}
        self.usage: Usage | None = None
        self.finish: str | None = None
        """Chat's `finish_reason`."""
        self.service_tier: str | None = None

    @classmethod
    def resumed(cls, events: Events, mark: str, items: Sequence[Ended | Spoken]) -> Output:
        """An output of which some items were told elsewhere; what follows goes on with the last one, or behind it."""
        output = cls(events, mark, {})
        output._items = list(items)
        output._ended = {index: item.item("completed") for index, item in enumerate(items) if isinstance(item, Ended)}
        return output

    @property
    def status(self) -> str:
        return "incomplete" if self.finish in INCOMPLETE else "completed"

    def feed(self, event: Event) -> None:
        """Raises UpstreamProtocolError."""
        for chunk in chunks(event):
            if chunk.usage is not None and chunk.usage.plausible:
                self.usage = chunk.usage
            self.service_tier = chunk.service_tier or self.service_tier
            for choice in chunk.choices or ():
                if choice.index == 0:
                    self._feed(choice)

    def end(self) -> list[Body]:
        """End what is open; returns every item."""
        last = len(self._items) - 1
        for index, item in enumerate(self._items):
            if index not in self._ended:
                cut = self.finish == "length" and index == last
                self._ended[index] = item.end("incomplete" if cut else "completed")
        return self.so_far()

    def so_far(self) -> list[Body]:
        """The items that have ended, and the others as they stand."""
        return [self._ended.get(index) or item.item("incomplete") for index, item in enumerate(self._items)]

    def _feed(self, choice: Choice) -> None:
        said = choice.delta or choice.message
        if said is not None:
            if thought := said.reasoning_content or said.reasoning:
                self._thought.append(thought)
                self._spoken(reasoning=True).say("reasoning_text", thought)
            if said.content:
                logprobs = (choice.logprobs.content or []) if choice.logprobs is not None else []
                self._spoken().say("output_text", said.content, logprobs)
            if said.refusal:
                self._spoken().say("refusal", said.refusal)
            for annotation in said.annotations or ():
                kind = annotation.get("type")
                if isinstance(kind, str) and isinstance(annotation.get(kind), dict):
                    self._spoken().annotate({"type": kind, **annotation[kind]})
            for place, call in enumerate(said.tool_calls or ()):
                self._called(place if call.index is None else call.index, call)
            if said.thinking_blocks and (kept := sealed(said.thinking_blocks, "".join(self._thought))) is not None:
                self._end_spoken()
                self._items.append(Sealed(self._events, len(self._items), self._mark, encrypted=kept))
        self.finish = choice.finish_reason or self.finish

    def _spoken(self, *, reasoning: bool = False) -> Spoken:
        latest = self._items[-1] if self._items else None
        if isinstance(latest, Spoken) and latest.reasoning is reasoning:
            return latest
        self._end_spoken()
        made = Spoken(self._events, len(self._items), self._mark, reasoning=reasoning)
        self._items.append(made)
        return made

    def _called(self, place: int, call: Call) -> None:
        under_way = self._calls.get(place)
        # Some upstreams count every call as the first; a name and another id begin a new one.
        if under_way is None or (call.name and call.id and call.id != under_way.call_id):
            self._end_spoken()
            kind: Kind = "custom" if call.custom is not None else "function"
            known = self._known.get(call.name or "") or Known(kind, call.name or "")
            under_way = Called(self._events, len(self._items), self._mark, known=known, call_id=call.id)
            self._calls[place] = under_way
            self._items.append(under_way)
        under_way.say(call.text)

    def _end_spoken(self) -> None:
        index = len(self._items) - 1
        if index >= 0 and index not in self._ended and isinstance(self._items[index], Spoken):
            self._ended[index] = self._items[index].end("completed")
