"""A request's copy in which placeholders stand for secrets and identity numbers.

Values are found in the decoded strings of the flagged messages and fields, and then replaced wherever they stand in
the whole request, in the raw JSON, so that every other byte stays as it came. What cannot be replaced without harm
(a key of an object, a number, part of an encoded file, a value cut over two text parts) keeps the request local.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import re2
from msgspec import Raw

from pointsman.core.errors import InvalidRequest
from pointsman.core.mask import JSON_STRING, Mask, Original, placeholder
from pointsman.core.request import ChatRequest
from pointsman.core.signals import PrivacyClass

from .credentials import also_told
from .detectors import Detectors, Place, TooManyCandidates
from .facts import read_field, read_message
from .strings import all_strings, decode_json, is_data_url, text_of

KINDS = frozenset({PrivacyClass.SECRET, PrivacyClass.IDENTITY})
"""The classes that are replaced."""
MOST_VALUES = 1000
"""Different values in one request; with more it stays local."""
_ROUNDS = 6
_WHOLE = 2048
"""Bytes of a string that are replaced whole when its key says that it is a secret."""
_SHORT = 8
"""Characters below which a value is replaced only where it stands as a word of its own."""
_TAG_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_TAG_SIZE = 6
_MORE_OF_A_KEY = re.compile(rb"[A-Za-z0-9+/=_~-]*+")
_END_OF_SENTENCE = ".,;:!?)]'\"`/"
_SEPARATORS = re.compile("[ .\u00a0\u2000-\u2013\u202f\u205f\u2212\u3000-]")
_BLOCK_END = re.compile(rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_MRZ_MORE = re.compile(rb"[A-Z0-9<]*+(?:[\r\n]{1,2}|\\n)?[A-Z0-9<]*+")


class Unplaceable(Exception):
    """Something private stands where nothing can be put in its place."""


class Part(NamedTuple):
    """A message, or a field beside the messages."""

    name: str | None
    """The field's; None of a message."""
    raw: bytes
    flagged: bool
    """Something of `KINDS` was found in it."""


class _Leaf(NamedTuple):
    key: str
    text: str
    number: bool


class _Found(NamedTuple):
    value: str
    kind: PrivacyClass
    cores: tuple[str, ...]
    """Other writings that tell as much: what the detector proved of a longer value, a number without its spaces."""


class _Number(str):
    __slots__ = ()


class Redactor:
    """Makes redacted copies.

    Args:
        key: secret key of the tags, so that nobody who reads or writes prompts can foretell one.
    """

    def __init__(self, detectors: Detectors, key: bytes) -> None:
        self._detectors = detectors
        self._key = hashlib.blake2b(key).digest()

    def __call__(self, request: ChatRequest, parts: Sequence[Part]) -> Mask | None:
        """The copy; None when something private cannot be replaced, and the request must stay local.

        The same conversation gets the same placeholders with every turn, so that an upstream's prompt cache holds.
        """
        try:
            return self._mask(request, parts)
        except (Unplaceable, TooManyCandidates, InvalidRequest, RecursionError, re2.error):
            return None

    def clears(self, body: bytes) -> bool:
        """Whether nothing of `KINDS` is found in a JSON body."""
        try:
            text = all_strings(body, "body").text
        except InvalidRequest:
            return False
        return not self._holds_any(self._detectors.find(text))

    def _mask(self, request: ChatRequest, parts: Sequence[Part]) -> Mask:
        tag = self._tag(parts)
        values: dict[str, PrivacyClass] = {}
        names = _Names(tag)
        done = list(parts)
        for _ in range(_ROUNDS):
            flagged = [part for part in done if part.flagged]
            if not flagged:
                break
            before = len(values)
            for part in flagged:
                for value, kind, also in self._values(part):
                    if tag in value:
                        raise Unplaceable
                    values.update(dict.fromkeys((value, *also), kind))
            if len(values) == before or len(values) > MOST_VALUES:
                raise Unplaceable
            replace = _Replacer(values, names)
            done = [self._replaced(part, replace) for part in done]
        else:
            raise Unplaceable
        fields = dict(request.fields)
        messages = [Raw(part.raw) for part in done if part.name is None]
        fields["messages"] = Raw(msgspec.json.encode(messages))
        fields.update({part.name: Raw(part.raw) for part in done if part.name is not None})
        copy = request.redacted(fields)
        copy.size = request.size
        wanted = request.params.response_format
        search = _Replacer(values, names).search

        def clears(body: bytes) -> bool:
            return not search(_strings(body)) and self.clears(body)

        if not clears(copy.render({"model": ""})):
            raise Unplaceable
        return Mask(
            request=copy,
            originals=names.originals,
            tag=tag,
            clears=clears,
            json_answer=wanted is not None and wanted.type != "text",
        )

    def _tag(self, parts: Sequence[Part]) -> str:
        """Letters that do not stand in the request; the same for every turn of a conversation."""
        whole = b"\n".join(part.raw for part in parts).lower()
        for salt in range(1000):
            digest = hashlib.blake2b(parts[0].raw, key=self._key, salt=salt.to_bytes(4, "big")).digest()
            tag = "".join(_TAG_LETTERS[byte % 32] for byte in digest[:_TAG_SIZE])
            if tag.lower().encode() not in whole:
                return tag
        raise Unplaceable

    def _replaced(self, part: Part, replace: _Replacer) -> Part:
        raw = replace.in_json(part.raw)
        if raw is part.raw and not part.flagged:
            return part
        if part.name is not None:
            found = read_field(part.name, raw, self._detectors).detectors
        else:
            found = read_message(raw, 0, self._detectors).detectors
        return Part(part.name, raw, self._holds_any(found))

    def _holds_any(self, detectors: Sequence[str]) -> bool:
        classes = self._detectors.classes
        return any(classes[name] in KINDS for name in detectors)

    def _values(self, part: Part) -> Iterator[_Found]:
        """What is to be replaced in one message or field.

        Raises:
            Unplaceable: some of it cannot be.
        """
        for leaf in _leaves(decode_json(part.raw, part.name or "messages", _Number), part.name or ""):
            if leaf.number:
                if self._found(f"{leaf.key}: {leaf.text}"):
                    raise Unplaceable
                continue
            if is_data_url(leaf.text) and (read := text_of(leaf.text)) != leaf.text:
                if self._found(read):
                    raise Unplaceable
                continue
            yield from self._values_of(leaf)

    def _values_of(self, leaf: _Leaf) -> Iterator[_Found]:
        inner = _nested(leaf.text)
        found = False
        if inner is not None:
            for deeper in _leaves(inner, ""):
                for one in self._values_of(deeper):
                    found = True
                    yield one
        if found:
            return
        lead = f"{leaf.key}: ".encode("utf-8", "replace") if leaf.key else b""
        text = lead + leaf.text.encode("utf-8", "replace")
        for place in self._detectors.places(text, KINDS):
            if place.end <= len(lead) or place.start < len(lead):
                raise Unplaceable
            start, end = _extent(place, text, len(lead))
            value = text[start:end].decode("utf-8", "replace")
            if not value.strip():
                raise Unplaceable
            yield _Found(value, place.detector.kind, _cores(place, text, value))

    def _found(self, text: str) -> bool:
        return self._holds_any(self._detectors.find(text))


def _extent(place: Place, text: bytes, lead: int) -> tuple[int, int]:
    """What of a text to replace: the whole of a key of which the detector proved a part."""
    start, end = place.start, place.end
    if place.detector.name == "private_key_block":
        start = max(text.rfind(b"-----BEGIN", lead, start), lead)
        closed = _BLOCK_END.search(text, end)
        return start, closed.end() if closed is not None else len(text)
    if place.detector.name == "passport_mrz":
        more = _MRZ_MORE.match(text, end)
        return start, more.end() if more is not None else end
    if place.detector.kind is not PrivacyClass.SECRET:
        return start, end
    if place.begin < lead and len(text) - lead <= _WHOLE:
        return lead, len(text)
    after = _MORE_OF_A_KEY.match(text, end)
    return start, after.end() if after is not None else end


def _cores(place: Place, text: bytes, value: str) -> tuple[str, ...]:
    core = text[place.start : place.end].decode("utf-8", "replace")
    if place.detector.kind is PrivacyClass.IDENTITY:
        core = _SEPARATORS.sub("", core)
    words = {core, core.rstrip(_END_OF_SENTENCE), *also_told(place.detector.name, core)}
    return tuple(word for word in words if word != value and len(word) >= 4)


class _Names:
    """Placeholders by what they stand for, given out in the order in which it is first replaced."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._names: dict[str, str] = {}
        self.originals: dict[str, Original] = {}

    def __call__(self, form: _Form) -> str:
        name = self._names.get(form.text)
        if name is None:
            name = self._names[form.text] = placeholder(form.kind, len(self._names) + 1, self._tag)
            self.originals[name] = Original(form.text, form.meaning)
        return name


class _Form(NamedTuple):
    """A value in one of the writings in which it may stand."""

    text: str
    meaning: str
    """The same with JSON's escapes taken off once, where it has some."""
    kind: PrivacyClass
    short: bool


class _Replacer:
    """Finds and replaces known values, in whatever form JSON writes them."""

    def __init__(self, values: Mapping[str, PrivacyClass], names: _Names) -> None:
        self._names = names
        self._forms: dict[bytes, _Form] = {}
        for value, kind in values.items():
            for form in _forms(value, kind):
                self._forms.setdefault(form.text.encode("utf-8", "replace"), form)
        longest_first = sorted(self._forms.values(), key=lambda form: len(form.text), reverse=True)
        options = re2.Options()
        options.log_errors = False
        options.max_mem = 64 << 20
        self._pattern = re2.compile("|".join(map(_expression, longest_first)), options)

    def search(self, text: bytes) -> bool:
        return self._pattern.search(text) is not None

    def __call__(self, text: bytes) -> bytes:
        pieces: list[bytes] = []
        at = 0
        for found in self._pattern.finditer(text):
            pieces += (text[at : found.start()], self._names(self._forms[found.group()]).encode())
            at = found.end()
        return b"".join([*pieces, text[at:]]) if pieces else text

    def in_json(self, raw: bytes) -> bytes:
        """A JSON text with the values replaced in its strings; the same object when there are none.

        Raises:
            Unplaceable: a value stands in a key, or a tool call's arguments would no longer be JSON.
        """
        key = ""

        def string(found: re.Match[bytes]) -> bytes:
            nonlocal key
            inner = found[1]
            escaped = b"\\" in inner
            text = json.loads(b'"' + inner + b'"').encode("utf-8", "surrogatepass") if escaped else inner
            if found[2] is not None:
                key = text.decode("utf-8", "replace")
                if self.search(text):
                    raise Unplaceable
                return found[0]
            new = self(text)
            if new is text:
                return found[0]
            if key == "arguments" and _is_json(text) and not _is_json(new):
                raise Unplaceable
            return json.dumps(new.decode("utf-8", "surrogatepass"), ensure_ascii=escaped).encode()

        new = JSON_STRING.sub(string, raw)
        return raw if new == raw else new


def _forms(value: str, kind: PrivacyClass) -> Iterator[_Form]:
    """A value as it is, and as JSON inside a string writes it, once and twice over, with letters escaped or not."""
    short = len(value) < _SHORT
    yield _Form(value, value, kind, short)
    for ensure_ascii in (False, True):
        form = value
        for _ in range(2):
            before, form = form, json.dumps(form, ensure_ascii=ensure_ascii)[1:-1]
            if form != before:
                yield _Form(form, before, kind, short)


def _expression(form: _Form) -> str:
    """Short values count only as words of their own."""
    escaped: str = re2.escape(form.text)
    if not form.short:
        return escaped
    before = r"\b" if re.match(r"\w", form.text, re.ASCII) else ""
    after = r"\b" if re.search(r"\w\Z", form.text, re.ASCII) else ""
    return f"{before}{escaped}{after}"


def _strings(body: bytes) -> bytes:
    try:
        return all_strings(body, "body").text.encode("utf-8", "replace")
    except InvalidRequest:
        return body


def _nested(text: str) -> Any:
    """The object or list that a string holds as JSON; None when it holds none."""
    if text[:1] not in ("{", "["):
        return None
    try:
        return decode_json(text.encode("utf-8", "surrogatepass"), "", _Number)
    except InvalidRequest:
        return None


def _is_json(text: bytes) -> bool:
    return _nested(text.decode("utf-8", "replace")) is not None


def _leaves(value: Any, key: str) -> Iterator[_Leaf]:
    """Every string and number under a JSON value, with the key that it stands under, and every key.

    A key itself comes as a number: neither can be replaced.
    """
    waiting: list[tuple[str, Any]] = [(key, value)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, _Number):
            yield _Leaf(key, value, number=True)
        elif isinstance(value, str):
            yield _Leaf(key, value, number=False)
        elif isinstance(value, dict):
            for name in value:
                yield _Leaf("", name, number=True)
            waiting.extend(reversed(value.items()))
        elif isinstance(value, list):
            waiting.extend((key, item) for item in reversed(value))
        elif isinstance(value, float):
            yield _Leaf(key, str(value), number=True)
