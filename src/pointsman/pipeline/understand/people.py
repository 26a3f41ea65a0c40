"""Names of people, found by a model that is asked about the few passages in which one can stand.

A pattern finds passages with two capitalised words in a row: in source code there are hardly any, so that a model of
some 75 kB a second need read little. Of what the model takes for a person, only what has the form of a full name and
no word of ordinary programs' prose counts. The model runs elsewhere, behind `FindsPeople`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import resources
from typing import Any

import msgspec
import re2
from msgspec import Raw

from pointsman.core.features import without_embedding
from pointsman.core.people import FindsPeople, ModelAway
from pointsman.core.request import ChatRequest
from pointsman.core.signals import PrivacyClass, Signals

from .memo import Memo
from .privacy import judge
from .strings import all_strings

log = logging.getLogger(__name__)

PERSON = "person"
UNCHECKED = "person_unchecked"
"""Stands for names that nobody could look for: the model is not there yet, is broken, or took too long."""
CLASSES = {PERSON: PrivacyClass.CONTACT, UNCHECKED: PrivacyClass.CONTACT}

AROUND = 200
"""Bytes on either side of a possible name that the model sees, within its line."""
LONGEST = 1200
"""Bytes of one passage."""
MOST_BYTES = 200_000
"""Of passages in one message: some 3 s of the model's time. More are not read, and count as unchecked."""
WAITING = 8
"""Requests that may wait for the model at once without holding up one another's threads."""

_PART = r"(?:(?:Mc|Mac|O['’]|D['’]|De|Di|La|Le|Van|Fitz)?\p{Lu}\p{Ll}+(?:[-'’]\p{Lu}?\p{Ll}+)*)"
_BETWEEN = r"(?:\p{Lu}\.|de|del|della|di|da|dos|du|van|von|der|den|ten|la|le|bin|ibn|al|el|y|zu)"
_NAME = rf"{_PART}(?:[ \t]{_BETWEEN}){{0,3}}[ \t]{{1,2}}{_PART}(?:[ \t]{_PART})?"
_TITLES = frozenset({"Mr", "Mrs", "Ms", "Dr", "Prof", "Sir", "Herr", "Frau", "Hi", "Hello", "Dear", "Hey", "Thanks"})
_NOT_ALONE = 2
"""Capitalised words that make a name; one alone is more often a thing's."""
_ATTRIBUTION = (b"copyright", "©".encode(), b"@author", b"spdx-")
"""Who wrote a published program is no secret of the prompt."""


class People:
    """Adds to a request's signals whether names of people stand in it.

    What was found in a message or field is remembered by its digest; what could not be checked is not, so that the
    next turn looks again. Unchecked counts as found: at level high the request then stays on the machine.

    Args:
        ask: the model. It is asked in threads of this object, never on the event loop.
        classes: of the other detectors, by name.
        hash_key: secret key of the memory's digests.
        skipped: fields that no upstream sees.
    """

    def __init__(
        self,
        ask: FindsPeople,
        *,
        classes: Mapping[str, PrivacyClass],
        hash_key: bytes,
        skipped: frozenset[str],
        memo_size: int = 16_384,
    ) -> None:
        self._ask = ask
        self._hasher = hashlib.blake2b(digest_size=16, key=hashlib.blake2b(hash_key).digest())
        self._classes = {**classes, **CLASSES}
        self._skipped = skipped
        self._found: Memo[bool] = Memo(memo_size)
        self._threads = ThreadPoolExecutor(WAITING, thread_name_prefix="names")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, request: ChatRequest, signals: Signals) -> Signals:
        """The signals with what was found. Waits for the model where something of the request is new."""
        parts = list(self._parts(request))
        known = [there for digest, _, _ in parts if (there := self._found.peek(digest)) is not None]
        if len(known) == len(parts):
            return self._judged(signals, known)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.judge, request, signals)

    def judge(self, request: ChatRequest, signals: Signals) -> Signals:
        """The same, blocking."""
        found: list[bool] = []
        try:
            found.extend(self._find(*part) for part in self._parts(request))
        except ModelAway as reason:
            log.warning("names of people were not looked for in a request: %s", reason)
            return self._judged(signals, found, unchecked=True)
        return self._judged(signals, found)

    def _judged(self, signals: Signals, found: Sequence[bool], *, unchecked: bool = False) -> Signals:
        names = [name for name, there in ((PERSON, any(found)), (UNCHECKED, unchecked)) if there]
        if not names:
            return signals
        privacy = judge(signals.privacy.level, (*signals.privacy.detectors, *names), self._classes)
        return msgspec.structs.replace(signals, privacy=privacy, features=without_embedding(signals.features))

    def _parts(self, request: ChatRequest) -> Iterator[tuple[bytes, bytes | Raw, str]]:
        for index, raw in enumerate(request.params.messages):
            yield self._digest(raw), raw, f"messages[{index}]"
        for name, field in request.fields.items():
            if name not in self._skipped:
                yield self._digest(field), field, name

    def _digest(self, raw: bytes | Raw) -> bytes:
        hasher = self._hasher.copy()
        hasher.update(raw)
        return hasher.digest()

    def _find(self, digest: bytes, raw: bytes | Raw, where: str) -> bool:
        return self._found.get(digest, self._names, raw, where)

    def _names(self, raw: bytes | Raw, where: str) -> bool:
        return find(all_strings(raw, where).text, self._ask)


def find(text: str, ask: FindsPeople) -> bool:
    """Whether a name stands in a text. Raises ModelAway."""
    found = passages(text)
    return bool(found) and any(is_name(span) for spans in ask(found) for span in spans)


def passages(text: str) -> list[str]:
    """Pieces of lines in which a full name can stand, each once.

    Raises:
        ModelAway: there are more than are read.
    """
    # Strings that hold JSON or code hold line ends in two characters, and the second would be a name's first letter.
    raw = text.encode("utf-8", "replace").replace(b"\\n", b"\n").replace(b"\\t", b"\t")
    found: dict[bytes, None] = {}
    start = end = -1
    size = 0
    for match in _compiled(rf"(?:^|[^\pL\pN_.@/\\#$-]){_NAME}(?:$|[^\pL\pN_(=/\\])").finditer(raw):
        if match.end() <= end:
            continue
        if start >= 0:
            found[raw[start:end]] = None
        start = max(raw.rfind(b"\n", 0, match.start() + 1) + 1, match.start() - AROUND, 0)
        line = raw.find(b"\n", match.end() - 1)
        end = min(line if line >= 0 else len(raw), max(start + LONGEST, match.end()))
        size += end - start
        if size > MOST_BYTES:
            raise ModelAway(f"more than {MOST_BYTES:,} bytes that may hold names stand in one message")
    if start >= 0:
        found[raw[start:end]] = None
    return [
        piece.decode("utf-8", "ignore")
        for piece in found
        if not any(word in (lower := piece.lower()) for word in _ATTRIBUTION) or len(lower) > AROUND
    ]


def is_name(span: str) -> bool:
    """Whether what the model takes for a person has the form of a full name."""
    match = _compiled(rf"(?:^|[^\pL\pN_]){_NAME}").search(span.encode("utf-8", "replace"))
    if match is None:
        return False
    words = [word for word in match.group().decode("utf-8", "ignore").replace(".", " ").split() if word[:1].isupper()]
    words = [word.removesuffix("'s").removesuffix("’s") for word in words]
    while words and _ordinary(words[0]):
        words.pop(0)
    while words and _ordinary(words[-1]):
        words.pop()
    return sum(len(word) > 1 for word in words) >= _NOT_ALONE


def _ordinary(word: str) -> bool:
    return word in _TITLES or word.lower() in _ordinary_words()


@cache
def _ordinary_words() -> frozenset[str]:
    text = resources.files(__package__).joinpath("ordinary_words.txt").read_text(encoding="utf-8")
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())


@cache
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)
