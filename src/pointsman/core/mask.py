"""Placeholders in place of private values: out with the request to a remote model, and back again in its answer.

A placeholder reads `REDACTED_SECRET_1_K7Q2M9`: letters, digits and underscores alone, so that it stands unharmed in
JSON, code, addresses and names. The tag at its end is drawn anew where the prompt holds it already.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from .events import Body, Event, Frames
from .request import ChatRequest

Clears = Callable[[bytes], bool]
"""Whether a body that is about to leave holds nothing private any more."""

_BETWEEN = r"\\{0,2}[_ -]"
"""What models write for an underscore: itself, escaped as in Markdown, a space, a hyphen."""
JSON_STRING = re.compile(rb'"((?:[^"\\]|\\.)*+)"(\s*+:)?', re.DOTALL)
"""A string of a JSON text; one that a colon follows is a key."""
_HINT = re.compile(rb"(?i)redacted|\\u00[57]2")
"""Its beginning; some writers escape every letter."""
_NOT_TEXT = frozenset({"role", "type", "id", "format", "signature", "data"})
"""Fields of a delta that hold no words of the model."""
_ESCAPED = frozenset({"arguments"})
"""Fields whose text is JSON itself."""


def placeholder(kind: str, number: int, tag: str) -> str:
    return f"REDACTED_{kind.upper()}_{number}_{tag}"


class Original(NamedTuple):
    """What a placeholder stands for."""

    text: str
    """As it stood in the request's text; in JSON that is text there, with JSON's escapes."""
    value: str
    """Without such escapes."""


class Mask:
    """A redacted copy of a request, and what puts the originals back.

    Args:
        request: the copy.
        originals: placeholder → what stood in its place.
        tag: the end of every placeholder.
        clears: the last check of a body made from the copy.
        json_answer: the answer's content is JSON, so what is put back must stay JSON.
    """

    __slots__ = ("_full", "_originals", "_partial", "clears", "json_answer", "request")

    def __init__(
        self,
        *,
        request: ChatRequest,
        originals: Mapping[str, Original],
        tag: str,
        clears: Clears,
        json_answer: bool = False,
    ) -> None:
        self.request = request
        self.clears = clears
        self.json_answer = json_answer
        self._originals = {name.rpartition("_")[0].lower(): value for name, value in originals.items()}
        kinds = sorted({name.split("_")[1].lower() for name in originals})
        either = "|".join(kinds)
        self._full = re.compile(rf"redacted{_BETWEEN}({either}){_BETWEEN}([0-9]{{1,5}}){_BETWEEN}{tag}", re.IGNORECASE)
        self._partial = re.compile(_beginnings(kinds, tag), re.IGNORECASE)

    def __repr__(self) -> str:
        return f"<Mask of {len(self._originals)}>"

    def with_request(self, request: ChatRequest) -> Mask:
        """The same for a copy that was shaped further."""
        other = object.__new__(Mask)
        for name in Mask.__slots__:
            setattr(other, name, getattr(self, name))
        other.request = request
        return other

    @property
    def placeholders(self) -> int:
        return len(self._originals)

    def restore(self, text: str, *, escaped: bool = False) -> str:
        """The text with the originals; `escaped` when it is JSON, inside whose strings placeholders stand."""

        def original(found: re.Match[str]) -> str:
            value = self._originals.get(f"redacted_{found[1].lower()}_{int(found[2])}")
            if value is None:
                return found[0]
            return json.dumps(value.value, ensure_ascii=False)[1:-1] if escaped else value.text

        return self._full.sub(original, text)

    def split(self, text: str) -> tuple[str, str]:
        """The text up to where a placeholder may have begun that is not whole yet, and the rest."""
        whole = 0
        for found in self._full.finditer(text):
            whole = found.end()
        begun = self._partial.search(text, whole)
        return (text, "") if begun is None else (text[: begun.start()], text[begun.start() :])

    def restorer(self) -> Restorer:
        return Restorer(self)


def _beginnings(kinds: list[str], tag: str) -> str:
    """A pattern of every unfinished placeholder at the end of a text."""

    def spelled(word: str, rest: str) -> str:
        for letter in reversed(word):
            rest = f"{letter}(?:{rest})?" if rest else letter
        return rest

    def after(rest: str) -> str:
        return rf"\\{{1,2}}|{_BETWEEN}(?:{rest})?"

    numbered = rf"[0-9]{{1,5}}(?:{after(spelled(tag[:-1], ''))})?"
    either = "|".join(spelled(kind, after(numbered)) for kind in kinds)
    return rf"(?:{spelled('redacted', after(either))})\Z"


Path = tuple[str | int, ...]


class Restorer:
    """Puts the originals back into the events of one answer.

    Of a stream only what may be the beginning of a placeholder is held back, for each choice and field by itself.
    Token lists of `logprobs` are left alone: they tell what the model wrote, the placeholders.
    """

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._held: dict[tuple[int, Path], str] = {}
        self._last: dict[str, Any] = {}

    def __call__(self, event: Event) -> Event:
        if isinstance(event, Body):
            return msgspec.structs.replace(event, raw=self._body(event.raw))
        return msgspec.structs.replace(event, raw=self._frames(event.raw)) if event.raw else event

    def end(self) -> Frames | None:
        """What is still held back, when the stream ends without saying so."""
        frames = []
        for choice in sorted({index for index, _ in self._held}):
            delta: dict[str, Any] = {}
            self._flush(choice, delta)
            chunk = {**self._last, "choices": [{"index": choice, "delta": delta, "finish_reason": None}]}
            frames.append(b"data: " + msgspec.json.encode(chunk) + b"\n\n")
        return Frames(b"".join(frames)) if frames else None

    def _body(self, raw: bytes) -> bytes:
        if not _HINT.search(raw):
            return raw
        key = ""

        def string(found: re.Match[bytes]) -> bytes:
            nonlocal key
            if found[2] is not None:
                key = json.loads(found[0][: len(found[1]) + 2])
                return found[0]
            if not _HINT.search(found[1]):
                return found[0]
            text = json.loads(found[0], strict=False)
            restored = self._mask.restore(text, escaped=self._is_json(key))
            return found[0] if restored == text else msgspec.json.encode(restored)

        return JSON_STRING.sub(string, raw)

    def _is_json(self, key: str) -> bool:
        return key in _ESCAPED or (self._mask.json_answer and key == "content")

    def _frames(self, raw: bytes) -> bytes:
        return b"".join(self._frame(frame) + b"\n\n" for frame in raw.replace(b"\r\n", b"\n").split(b"\n\n") if frame)

    def _frame(self, frame: bytes) -> bytes:
        lines = frame.split(b"\n")
        data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
        if not data:
            return frame
        try:
            chunk = msgspec.json.decode(b"\n".join(data))
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return frame
        if not isinstance(chunk, dict) or not isinstance(chunk.get("choices"), list):
            return frame
        self._last = {name: chunk[name] for name in ("id", "object", "created", "model") if name in chunk}
        changed = False
        for place, choice in enumerate(chunk["choices"]):
            if isinstance(choice, dict):
                changed |= self._choice(choice, place)
        if not changed:
            return frame
        others = [line for line in lines if not line.startswith(b"data:")]
        return b"\n".join([*others, b"data: " + msgspec.json.encode(chunk)])

    def _choice(self, choice: dict[str, Any], place: int) -> bool:
        index = choice.get("index")
        index = index if isinstance(index, int) else place
        delta = choice.get("delta")
        if not isinstance(delta, dict):  # some send whole messages in place of pieces
            delta = choice.get("message")
        told: set[str | int] = set()
        changed = False
        if isinstance(delta, dict):
            for path, holder, key, text in list(_leaves(delta, ())):
                if text:
                    told.add(path[0])
                restored = self._feed(index, path, text)
                if restored != text:
                    holder[key] = restored
                    changed = True
        finished = choice.get("finish_reason") is not None
        if any(at == index and (finished or (told and path[0] not in told)) for at, path in self._held):
            if not isinstance(delta, dict):
                delta = choice["delta"] = {}
            self._flush(index, delta, besides=() if finished else told)
            changed = True
        return changed

    def _feed(self, choice: int, path: Path, text: str) -> str:
        place = (choice, path)
        ready, held = self._mask.split(self._held.pop(place, "") + text)
        if path[-1] == "name":  # names come whole
            ready, held = ready + held, ""
        if held:
            self._held[place] = held
        return self._mask.restore(ready, escaped=self._is_json(str(path[-1])))

    def _flush(self, choice: int, delta: dict[str, Any], besides: set[str | int] | tuple[()] = ()) -> None:
        for place in [place for place in self._held if place[0] == choice and place[1][0] not in besides]:
            _append(delta, place[1], self._held.pop(place))


def _leaves(node: dict[str, Any], path: Path) -> Iterator[tuple[Path, dict[str, Any], str, str]]:
    """The strings in a delta: path, the object that holds it, its key, and it. Items of lists go by their `index`."""
    for key, value in node.items():
        if key in _NOT_TEXT:
            continue
        if isinstance(value, str):
            yield (*path, key), node, key, value
        elif isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        elif isinstance(value, list):
            for place, item in enumerate(value):
                if isinstance(item, dict):
                    index = item.get("index")
                    yield from _leaves(item, (*path, key, index if isinstance(index, int) else place))


def _append(delta: dict[str, Any], path: Path, text: str) -> None:
    """Add a text to a delta at a path, making what is missing on the way."""
    node: Any = delta
    for step, following in pairwise(path):
        if isinstance(step, int):
            found = next((item for item in node if isinstance(item, dict) and item.get("index") == step), None)
            if found is None:
                found = {"index": step}
                node.append(found)
            node = found
        else:
            if not isinstance(node.get(step), dict | list):
                node[step] = [] if isinstance(following, int) else {}
            node = node[step]
    last = str(path[-1])
    known = node.get(last)
    node[last] = (known if isinstance(known, str) else "") + text
