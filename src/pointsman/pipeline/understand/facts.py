"""What one message says for itself, whatever surrounds it: computed once, remembered by digest."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Literal, NamedTuple

import msgspec
from msgspec import Raw

from pointsman.core.request import NOTHING, ContentPart, Message, decode_message

from .actions import Action, action_of, writes_edits
from .detectors import Detectors
from .encoded import check_pictures
from .strings import SEPARATOR, all_strings, is_data_url
from .tool_results import checks_in, is_tool_result, looks_failed, severity

CACHE_MARK = "cache_control"
_SEAM = 512
"""Characters on either side of the place where two text parts meet."""


class Step(NamedTuple):
    """One tool call of an assistant."""

    action: Action
    print: int
    """Equal for equal calls. Of this process, never kept."""


class MessageFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Facts of one message. Holds none of its text."""

    role: str
    bytes: int
    """UTF-8 bytes of every string in the message, its roles and keys included, pictures and sounds left out."""
    disguised: int = 0
    """Bytes written like a picture where no picture can stand: the upstream reads them as text."""
    values: int = 1
    """JSON values in the message, itself among them."""
    images: int = 0
    unmeasured: int = 0
    """Parts of which nobody here knows how many tokens they take: sound, films, documents, files by their id."""
    caches: bool = False
    """It speaks of `cache_control`: as a mark, or in its text, which cannot be told apart cheaply."""
    tool_calls: int = 0
    tool_result: bool = False
    """A tool's answer, in a message of role `tool`, or pasted into a user message as some agents do."""
    failed: bool = False
    """The tool's answer tells of an error."""
    severity: float = 0.0
    """How bad, in [0, 1]."""
    tests: bool | None = None
    """Whether the tests that the tool's answer reports went well."""
    steps: tuple[Step, ...] = ()
    """What the assistant's tool calls do, in order; edits written as text count too."""
    print: int = 0
    """Of a tool's answer: equal for answers that differ alone in words with digits. Of this process, never kept."""
    detectors: tuple[str, ...] = ()
    """Names of the detectors that found private content."""
    usual: bool = False
    """Nothing but a role and a text, as most messages are: everything else here is as it is by default."""
    user_turn: bool = False
    """A user speaks, and not a tool."""


class FieldFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Facts of a top-level field that travels upstream beside the messages."""

    bytes: int
    disguised: int = 0
    values: int = 1
    caches: bool = False
    detectors: tuple[str, ...] = ()
    usual: bool = True
    """Nothing was found, nothing is disguised, and it speaks of no cache."""


def read_message(raw: bytes | Raw, index: int, detectors: Detectors) -> MessageFacts:
    """The facts of the message at `index`.

    Raises:
        InvalidRequest: naming the field, as `messages[3].content`.
    """
    return read_message_and_text(raw, index, detectors)[0]


def read_message_and_text(raw: bytes | Raw, index: int, detectors: Detectors) -> tuple[MessageFacts, str]:
    """The same, and the text of the content, which was decoded for it.

    Raises:
        InvalidRequest: as `read_message` does.
    """
    whole = bytes(raw)
    usual = _usual(whole, detectors)
    if usual is not None:
        return usual
    message = decode_message(whole, index)
    check_pictures(message, index)
    text, values, left_out = all_strings(whole, f"messages[{index}]")
    pictures = _pictures(message)
    if left_out and pictures:
        left_out -= sum(all_strings(part.image_url, f"messages[{index}].content").left_out for part in pictures)
    result = message.role in ("tool", "function") or (message.role == "user" and is_tool_result(message.text))
    facts = MessageFacts(
        role=message.role,
        bytes=utf8_length(text),
        disguised=left_out,
        values=values,
        images=len(pictures),
        unmeasured=_unmeasured(message),
        caches=CACHE_MARK in text,
        tool_calls=len(message.tool_calls or ()),
        tool_result=result,
        user_turn=message.role == "user" and not result,
        failed=result and looks_failed(message.text),
        severity=severity(message.text) if result else 0.0,
        tests=checks_in(message.text) if result else None,
        steps=_steps(message) if message.role == "assistant" else (),
        print=hash(_NUMBERED.sub("", message.text[:4_000])) if result else 0,
        detectors=detectors.find(text + _seams(message)),
    )
    return facts, message.text


class _RoleAndText(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: str


_BACKSLASH = ord("\\")
_role_and_text_decoder = msgspec.json.Decoder(_RoleAndText)


def _usual(raw: bytes, detectors: Detectors) -> tuple[MessageFacts, str] | None:
    """The facts and the text of a message that is a role and a text; None where it may be anything else.

    Eight quotes that are not escaped are two keys with a string each, so that none stands twice. Halves of characters
    are left to the reader of everything.
    """
    quotes = raw.count(b'"')
    if _BACKSLASH in raw:
        quotes -= raw.count(b'\\"')
        if b"\\ud" in raw or b"\\uD" in raw:
            return None
    if quotes != 8:
        return None
    try:
        message = _role_and_text_decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    role, said = message.role, message.content
    user_turn = role == "user"
    if is_data_url(said) or (user_turn and is_tool_result(said)) or (role == "assistant" and writes_edits(said)):
        return None
    if raw.startswith(b'{"role"'):
        text = f"role: {role}{SEPARATOR}content: {said}"
    elif raw.startswith(b'{"content"'):
        text = f"content: {said}{SEPARATOR}role: {role}"
    else:
        return None
    read = text.encode("utf-8", "replace")
    found = detectors.find_in(read)
    caches = CACHE_MARK in text
    facts = MessageFacts(
        role=role,
        bytes=len(read),
        values=3,
        caches=caches,
        detectors=found,
        usual=not found and not caches,
        user_turn=user_turn,
    )
    return facts, said


_NUMBERED = re.compile(r"\S*\d\S*")
"""Words with a digit: times, counts, line numbers, ids of a run."""


def _steps(message: Message) -> tuple[Step, ...]:
    steps = [
        Step(
            action_of(call.function.name, call.function.arguments), hash((call.function.name, call.function.arguments))
        )
        for call in message.tool_calls or ()
        if call.function is not None
    ]
    if not steps and writes_edits(message.text):
        steps.append(Step("edit", hash(message.text)))
    return tuple(steps)


def read_field(name: str, raw: bytes | Raw, detectors: Detectors) -> FieldFacts:
    """The facts of a field; its name is read as part of its text.

    Raises:
        InvalidRequest: naming the field.
    """
    strings = all_strings(raw, name)
    text = f"{name}: {strings.text}"
    caches, found = CACHE_MARK in text, detectors.find(text)
    return FieldFacts(
        bytes=utf8_length(text),
        disguised=strings.left_out,
        values=strings.values,
        caches=caches,
        detectors=found,
        usual=not (strings.left_out or caches or found),
    )


def _seams(message: Message) -> str:
    """Where text parts meet: upstreams join them, and a value that is cut there is whole again."""
    if not isinstance(message.content, list):
        return ""
    texts = [part.text for part in message.content if part.text]
    meetings = [f"{before[-_SEAM:]}{after[:_SEAM]}" for before, after in pairwise(texts)]
    return SEPARATOR + SEPARATOR.join(meetings) if meetings else ""


def utf8_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _pictures(message: Message) -> list[ContentPart]:
    return [part for part in message.content if part.type == "image_url"] if isinstance(message.content, list) else []


MEASURED = frozenset({"text", "image_url", "refusal"})

_PICTURE = re.compile(rb'"(?:https?:|data:image\\?/)')


class _ImageUrl(msgspec.Struct):
    url: Raw = NOTHING


_image_url_decoder = msgspec.json.Decoder(_ImageUrl)


def _is_picture(part: ContentPart) -> bool:
    """Whether it is a picture as far as can be told: some upstreams take films and documents there as well."""
    url = part.image_url
    if bytes(memoryview(url)[:1]) != b'"':
        try:
            url = _image_url_decoder.decode(url).url
        except msgspec.MsgspecError:
            return False
    return _PICTURE.match(url) is not None


def _unmeasured(message: Message) -> int:
    if not isinstance(message.content, list):
        return int(message.audio != NOTHING)
    return int(message.audio != NOTHING) + sum(
        part.type not in MEASURED or (part.type == "image_url" and not _is_picture(part)) for part in message.content
    )
