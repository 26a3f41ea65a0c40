"""Reads the actions of `tool_prompt` back from a model's answer, piece by piece as it comes."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass

from pointsman.core.errors import UpstreamProtocolError

from .tool_prompt import REPLY_TEXT, ToolPlan

SPACE = frozenset(" \t\r\n")
ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

_Reader = Generator[None, str, None]


@dataclass(frozen=True, slots=True)
class ReplyText:
    """More of a reply to the user."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A tool is called."""

    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of the call's arguments, as JSON text."""

    fragment: str


Piece = ReplyText | CallStart | CallArguments


class ActionStream:
    """Text of one action in, pieces out. However the text is split, the pieces add up to the same.

    Args:
        raw_reply: whether a reply is a JSON object to be handed on as JSON text, not a string to be decoded.
    """

    def __init__(self, plan: ToolPlan, *, raw_reply: bool = False) -> None:
        self._names = {tool.name for tool in plan.tools}
        self._reply_name = plan.reply_name if plan.reply else None
        self._raw_reply = raw_reply
        self._pieces: list[Piece] = []
        self._high: str | None = None
        self._value_done = False
        self._reader = self._action()
        self._ended = False
        next(self._reader)

    @property
    def complete(self) -> bool:
        """Whether the call's arguments or the reply have come whole."""
        return self._value_done

    def feed(self, text: str) -> list[Piece]:
        """What became known with this text; neighbouring pieces of a kind are one.

        Raises:
            UpstreamProtocolError: it is not an action of the plan.
        """
        for character in text:
            if self._ended:
                if character not in SPACE:
                    raise _unlike()
                continue
            try:
                self._reader.send(character)
            except StopIteration:
                self._ended = True
        pieces, self._pieces = _merged(self._pieces), []
        return pieces

    def _action(self) -> _Reader:
        yield from self._expect("{")
        yield from self._key("tool")
        name = yield from self._short_string()
        yield from self._expect(",")
        yield from self._key("arguments")
        if name == self._reply_name:
            yield from self._expect("{")
            yield from self._key(REPLY_TEXT)
            if self._raw_reply:
                yield from self._value(ReplyText)
            else:
                yield from self._expect('"')
                yield from self._string()
            yield from self._expect("}")
        elif name in self._names:
            self._pieces.append(CallStart(name))
            yield from self._value(CallArguments)
        else:
            raise _unlike()
        yield from self._expect("}")

    def _expect(self, wanted: str) -> _Reader:
        while (character := (yield)) in SPACE:
            pass
        if character != wanted:
            raise _unlike()

    def _key(self, name: str) -> _Reader:
        if (yield from self._short_string()) != name:
            raise _unlike()
        yield from self._expect(":")

    def _short_string(self) -> Generator[None, str, str]:
        """A key or a name, whole."""
        yield from self._expect('"')
        text = '"'
        escaped = False
        while True:
            character = yield
            text += character
            if len(text) > 1_000:
                raise _unlike()
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                break
        try:
            return str(json.loads(text))
        except ValueError:
            raise _unlike() from None

    def _string(self) -> _Reader:
        """The text of a string, decoded as it comes, from behind its opening quote."""
        while True:
            character = yield
            if character == '"':
                break
            if character != "\\":
                self._text(character)
                continue
            character = yield
            if character != "u":
                if character not in ESCAPES:
                    raise _unlike()
                self._text(ESCAPES[character])
                continue
            digits = ""
            while len(digits) < 4:
                digits += yield
            try:
                self._unit(int(digits, 16))
            except ValueError:
                raise _unlike() from None
        self._text("")
        self._value_done = True

    def _unit(self, unit: int) -> None:
        """One UTF-16 code unit. Half of a pair waits for the other; alone it becomes a replacement character."""
        if 0xD800 <= unit < 0xDC00:
            self._text("")
            self._high = chr(unit)
        elif 0xDC00 <= unit < 0xE000:
            high, self._high = self._high, None
            pair = 0x10000 + ((ord(high) - 0xD800) << 10) + (unit - 0xDC00) if high is not None else 0xFFFD
            self._pieces.append(ReplyText(chr(pair)))
        else:
            self._text(chr(unit))

    def _text(self, text: str) -> None:
        if self._high is not None:
            self._high = None
            text = "\N{REPLACEMENT CHARACTER}" + text
        if text:
            self._pieces.append(ReplyText(text))

    def _value(self, kind: type[ReplyText] | type[CallArguments]) -> _Reader:
        """An object as it stands."""
        yield from self._expect("{")
        self._pieces.append(kind("{"))
        depth, quoted, escaped = 1, False, False
        while depth:
            character = yield
            self._pieces.append(kind(character))
            if escaped:
                escaped = False
            elif quoted:
                escaped = character == "\\"
                quoted = character != '"'
            elif character == '"':
                quoted = True
            elif character in "{[":
                depth += 1
            elif character in "}]":
                depth -= 1
        self._value_done = True


def _merged(pieces: list[Piece]) -> list[Piece]:
    merged: list[Piece] = []
    texts: list[str] = []
    for index, piece in enumerate(pieces):
        if isinstance(piece, CallStart):
            merged.append(piece)
            continue
        texts.append(piece.text if isinstance(piece, ReplyText) else piece.fragment)
        following = pieces[index + 1] if index + 1 < len(pieces) else None
        if type(following) is not type(piece):
            merged.append(type(piece)("".join(texts)))
            texts = []
    return merged


def _unlike() -> UpstreamProtocolError:
    return UpstreamProtocolError(
        "The model did not keep to the form that its tools ask for: the engine did not accept their schemas. Simplify"
        " the tools' parameters, or use a model with tool calls of its own."
    )
