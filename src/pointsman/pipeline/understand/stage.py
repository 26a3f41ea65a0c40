"""The understand stage: from a request to its signals. No input or output; the same request gives the same signals."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import accumulate, compress, repeat
from operator import attrgetter, call, itemgetter, methodcaller

import msgspec
from msgspec import Raw

from pointsman.core import tokens
from pointsman.core.errors import InvalidRequest
from pointsman.core.features import without_embedding
from pointsman.core.mask import Mask
from pointsman.core.request import ChatRequest, Priority, PrivacyLevel, RoutingPreferences
from pointsman.core.signals import Privacy, PrivacyClass, Signals

from .allow import AllowPatterns
from .beside import NOT_TEXT, Beside, fields_read, read_beside
from .complexity import ComplexityRules, ComplexityScore
from .conversation import observe
from .detectors import Detectors
from .facts import FieldFacts, MessageFacts, read_field, read_message, read_message_and_text
from .features import FeatureReader
from .memo import Memo
from .needs import find_needs
from .privacy import NOTHING_FOUND, REDACTABLE, PrivacyRules, judge, strictest
from .reading import Reader, Reading
from .redact import KINDS, Part, Redactor
from .strings import MOST_VALUES, SEPARATOR, all_strings, too_many_values

MOST_ASSENTS = 32
"""Short replies in a row that are stepped over to find what is being assented to."""
MOST_STEPS = 65_536
"""Tool calls in all messages that are remembered; about 100 bytes each. One message may hold as many as a body can."""
MOST_PREFIXES = 12
"""Beginnings of a conversation that are hashed: an agent adds two messages a turn, or one for each tool that it ran."""


class Understand:
    """Signals of chat requests.

    A coding agent resends its whole history with every turn and only the last message is new, so what depends on one
    message alone is computed once and remembered under a keyed digest of the message's bytes. For one event loop.

    Args:
        privacy: the installation's level and sensitive words.
        complexity: weights of the complexity score.
        hash_key: secret key of `prompt_hash` and of the memory's digests.
        windows: context windows, in tokens, of the models that are known now; ascending.
        priority: of requests that name none.
        features: reads the feature vectors of learned policies; None: there are none.
        chooses: whether a model is to be chosen for a requested name: only then the vector is read.
        embeddings: whether vectors hold the embedding where nothing private was found. Elsewhere they never do: they
            are logged, and words can be read back from it. It is gone before anything is decided, so that a decision
            can be worked out again from its log entry.
        allow: which asks may go to the cloud in development mode; None: none is looked for.
        memo_size: messages remembered; about 350 bytes each, and 600 for a user turn that was read.
    """

    def __init__(
        self,
        *,
        privacy: PrivacyRules,
        complexity: ComplexityRules,
        hash_key: bytes,
        windows: Callable[[], Sequence[int]],
        priority: Priority = "balanced",
        features: FeatureReader | None = None,
        chooses: Callable[[str], bool] = lambda requested_model: True,
        embeddings: bool = True,
        allow: AllowPatterns | None = None,
        memo_size: int = 16_384,
    ) -> None:
        self._rules = privacy
        self._detectors = Detectors(privacy.sensitive_tokens)
        self._redactor = Redactor(self._detectors, hash_key)
        self._read = Reader(ComplexityScore(complexity), features, allow)
        self._chooses = chooses
        self._embeddings = embeddings
        self._windows = windows
        self._priority: Priority = priority
        key = hash_key if len(hash_key) <= hashlib.blake2b.MAX_KEY_SIZE else hashlib.blake2b(hash_key).digest()
        self._prompt_hasher = hashlib.blake2b(digest_size=16, key=key)
        # Processors have instructions for SHA-256: with them it is twice as fast as BLAKE2b, and every byte is hashed.
        self._hasher = hashlib.sha256(key.ljust(64, b"\0"))
        self._messages: Memo[MessageFacts] = Memo(memo_size, most=MOST_STEPS)
        self._fields: Memo[FieldFacts] = Memo(memo_size // 16)
        self._besides: Memo[Beside] = Memo(memo_size // 16)
        self._readings: Memo[Reading] = Memo(memo_size // 4)
        self._featured: Memo[Reading] = Memo(memo_size // 4)
        self._counts: Memo[int] = Memo(memo_size)

    def __call__(
        self,
        request: ChatRequest,
        *,
        privacy_level: PrivacyLevel | None = None,
        priority: Priority | None = None,
        usual: Priority | None = None,
    ) -> Signals:
        """Understand one request.

        The privacy level is the strictest of the installation's, the body's and `privacy_level`. The priority is the
        first that is given of `priority`, the body's, the caller's `usual` one, and the installation's.

        Raises:
            InvalidRequest: a message or field that is of a wrong type or cannot be decoded; names it.
        """
        raws = request.params.messages
        digests = self._digests(raws)
        messages, texts = self._read_messages(raws, digests)
        turns = [*compress(range(len(messages)), map(_is_user_turn, messages))]
        plain = all(map(_is_usual, messages))
        values = sum(map(_values_of, messages))
        if values > MOST_VALUES:
            raise _one_too_many(messages)
        beside = self._read_beside(request, values)
        found = () if plain else {name for message in messages for name in message.detectors}
        if beside.detectors or request.also_read:
            found = {*found, *beside.detectors, *self._find_beside(request)}
        reading, _, short_reply = self._read_ask(request, turns, digests, texts)
        wishes = request.params.routing_preferences
        if found or privacy_level is not None or wishes is not None:
            privacy = self._judge(found, privacy_level, wishes)
        else:
            privacy = NOTHING_FOUND[self._rules.level]
        features = reading.features
        if features and (privacy.classes or privacy.local_only or not self._embeddings):
            features = without_embedding(features)
        if priority is None and wishes is not None:
            priority = wishes.priority or wishes.latency_preference
        prompt_hash, prefixes = self._hashes(turns, digests)
        return Signals(
            intent=reading.intent,
            intent_confidence=reading.confidence,
            intent_source=reading.source,
            complexity=reading.complexity,
            privacy=privacy,
            needs=find_needs(
                beside,
                messages,
                usual=plain,
                size=sum(map(_bytes_of, messages)) + beside.bytes,
                values=values + beside.values,
                intent=reading.intent,
                complexity=reading.complexity.score,
                windows=self._windows(),
                count=partial(self._count, request, digests),
            ),
            conversation=observe(
                messages, turns=len(turns), usual=plain, short_reply=short_reply, tools=bool(request.params.tools)
            ),
            priority=priority or usual or self._priority,
            features=features,
            cloud_asked=reading.cloud_asked,
            prefixes=prefixes,
            prompt_hash=prompt_hash,
        )

    def takes_long(self, request: ChatRequest) -> bool:
        """Whether much is loaded first to understand this one: some 0.3 s, and seconds on a busy machine."""
        return self._read.is_cold and self._chooses(request.model)

    def adjust(self, *, level: PrivacyLevel, priority: Priority) -> None:
        """Take up the installation's level and priority anew."""
        self._rules = dataclasses.replace(self._rules, level=level)
        self._priority = priority

    def redact(self, request: ChatRequest, signals: Signals) -> tuple[Signals, Mask | None]:
        """A redacted copy for remote models, and what is then true of the request.

        Signals and no copy come back unchanged where the level does not allow it, or something cannot be replaced.
        """
        privacy = signals.privacy
        if not privacy.local_only or not REDACTABLE[privacy.level]:
            return signals, None
        if self._redactable(self._find_beside(request)):
            return signals, None
        parts = []
        for index, raw in enumerate(request.params.messages):
            message = self._read_message(self._digest(raw), raw, index)
            parts.append(Part(None, bytes(raw), self._redactable(message.detectors)))
        for name, raw in request.fields.items():
            if name not in NOT_TEXT:
                parts.append(Part(name, bytes(raw), self._redactable(self._read_field(name, raw).detectors)))
        mask = self._redactor(request, parts)
        if mask is None:
            return signals, None
        privacy = msgspec.structs.replace(privacy, local_only=False, redacted=True, placeholders=mask.placeholders)
        # A placeholder may be longer than what it stands for; the bound that money is reserved by holds for both.
        grown = max(0, sum(map(len, mask.request.fields.values())) - sum(map(len, request.fields.values())))
        needs = msgspec.structs.replace(signals.needs, prompt_tokens_most=signals.needs.prompt_tokens_most + grown)
        return msgspec.structs.replace(signals, privacy=privacy, needs=needs), mask

    def _find_beside(self, request: ChatRequest) -> Sequence[str]:
        return self._detectors.find(SEPARATOR.join(request.also_read)) if request.also_read else ()

    def _redactable(self, detectors: Sequence[str]) -> bool:
        return any(self._detectors.classes[name] in KINDS for name in detectors)

    @property
    def classes(self) -> Mapping[str, PrivacyClass]:
        """Of every detector, by name."""
        return self._detectors.classes

    def holds_private(self, text: str) -> bool:
        """Whether a short text, such as a model's name, is private itself."""
        return bool(self._detectors.find(text))

    def must_stay(self, text: str) -> bool:
        """Whether a text holds what may not leave the machine at the installation's level."""
        found = self._detectors.find(text)
        return bool(found) and judge(self._rules.level, found, self._detectors.classes).local_only

    def _digests(self, raws: Sequence[Raw]) -> list[bytes]:
        """Of messages: histories are long, so none takes a step of its own."""
        hashers = [*map(call, repeat(self._hasher.copy, len(raws)))]
        deque(map(_feed, hashers, raws), maxlen=0)
        return [*map(_digest_of, hashers)]

    def _digest(self, raw: bytes | Raw, name: bytes = b"") -> bytes:
        hasher = self._hasher.copy()
        if name:
            hasher.update(name + b"\0")
        hasher.update(raw)
        return hasher.digest()

    def _read_messages(
        self, raws: Sequence[Raw], digests: Sequence[bytes]
    ) -> tuple[list[MessageFacts], dict[bytes, str]]:
        """The facts of the messages, and by its digest the text of the last user turn that is new.

        Raises:
            InvalidRequest: one is of a wrong type, cannot be decoded, or holds more values than are read.
        """
        found = [*map(self._messages.peek, digests)]
        texts: dict[bytes, str] = {}
        at = values = 0
        for _ in range(found.count(None)):
            at = found.index(None, at)
            digest = digests[at]
            message = self._messages.peek(digest)  # the same message may stand there twice
            if message is None:
                message, text = read_message_and_text(raws[at], at, self._detectors)
                self._messages.keep(digest, message, len(message.steps))
                if message.user_turn:
                    texts = {digest: text}
            found[at] = message
            values += message.values
            if values > MOST_VALUES:
                raise _one_too_many(found[: at + 1])
        self._messages.use(digests)
        return found, texts  # type: ignore[return-value]  # no None is left

    def _read_message(self, digest: bytes, raw: bytes | Raw, index: int) -> MessageFacts:
        message = self._messages.peek(digest)
        if message is None:
            message = read_message(raw, index, self._detectors)
            self._messages.keep(digest, message, len(message.steps))
        return message

    def _hashes(self, turns: Sequence[int], digests: Sequence[bytes]) -> tuple[str, bytes]:
        """The hash of the prompt, and those of its beginnings that hold a user turn, the longest first.

        Args:
            turns: places of the user turns.
        """
        first = turns[0] if turns else len(digests) - 1
        start = max(first, len(digests) - MOST_PREFIXES)
        hasher = self._prompt_hasher.copy()
        hasher.update(b"".join(digests[: start + 1]))
        hashes = [hasher.digest()]
        hashes += [hasher.digest() for _ in map(hasher.update, digests[start + 1 :])]
        return hashes[-1].hex(), b"".join(map(_head_of, reversed(hashes)))

    def _read_beside(self, request: ChatRequest, values: int) -> Beside:
        """
        Args:
            values: JSON values in the messages.
        """
        names = fields_read(request)
        hasher = self._hasher.copy()
        # No name holds a NUL as it is written here, and no JSON does.
        told = f"{request.kind}{names!r}".encode()
        hasher.update(b"\0".join((told, *map(request.fields.__getitem__, names))))
        digest = hasher.digest()
        beside = self._besides.peek(digest)
        if beside is None or values + beside.values > MOST_VALUES:
            beside = self._besides.keep(digest, read_beside(request, names, values, self._read_field))
        return beside

    def _read_field(self, name: str, raw: Raw) -> FieldFacts:
        digest = self._digest(raw, name.encode("utf-8", "replace"))
        return self._fields.get(digest, read_field, name, raw, self._detectors)

    def _judge(
        self, found: Collection[str], privacy_level: PrivacyLevel | None, wishes: RoutingPreferences | None
    ) -> Privacy:
        asked = wishes.privacy_level if wishes is not None else None
        names = [name for name in self._detectors.classes if name in found] if found else []
        return judge(strictest(self._rules.level, asked, privacy_level), names, self._detectors.classes)

    def asked(self, request: ChatRequest) -> tuple[bytes, str]:
        """The turn that the intent was read from: a digest of its message, and its text."""
        digests = self._digests(request.params.messages)
        user_turns = [
            self._read_message(digest, raw, index).user_turn
            for index, (digest, raw) in enumerate(zip(digests, request.params.messages, strict=True))
        ]
        turns = [index for index, user_turn in enumerate(user_turns) if user_turn]
        _, index, _ = self._read_ask(request, turns, digests, {})
        return digests[index], request.message(index).text

    def _read_ask(
        self, request: ChatRequest, turns: Sequence[int], digests: Sequence[bytes], texts: Mapping[bytes, str]
    ) -> tuple[Reading, int, bool]:
        """The reading that holds for the request, of which message, and whether the last user turn only assents to an
        earlier one.

        Args:
            turns: places of the user turns.
            texts: of a message that was decoded, by its digest.
        """
        at = turns[-1] if turns else len(digests) - 1
        last = reading = self._reading(request, at, digests[at], texts)
        if not last.assent:
            return last, at, False
        for index in reversed(turns[-1 - MOST_ASSENTS : -1]):
            if not reading.assent:
                break
            at, reading = index, self._reading(request, index, digests[index], texts)
        return reading, at, len(turns) > 1

    def _reading(self, request: ChatRequest, index: int, digest: bytes, texts: Mapping[bytes, str]) -> Reading:
        featured = self._chooses(request.model)
        memo = self._featured if featured else self._readings
        reading = memo.peek(digest)
        if reading is None:
            text = texts[digest] if digest in texts else request.message(index).text
            return memo.keep(digest, self._read(text, featured=featured))
        memo.use((digest,))
        return reading

    def _count(self, request: ChatRequest, digests: Sequence[bytes]) -> int:
        total = 0
        for index, (digest, raw) in enumerate(zip(digests, request.params.messages, strict=True)):
            total += self._counts.get(digest, _count, raw, f"messages[{index}]")
        for name, raw in request.fields.items():
            if name not in NOT_TEXT:
                digest = self._digest(raw, name.encode("utf-8", "replace"))
                total += self._counts.get(digest, _count, raw, name)
        return total


_bytes_of, _values_of, _is_usual, _is_user_turn = map(attrgetter, ("bytes", "values", "usual", "user_turn"))
_feed, _digest_of = type(hashlib.sha256()).update, methodcaller("digest")
_head_of = itemgetter(slice(8))
"""Of a hash, the bytes that are kept of a beginning's."""


def _one_too_many(messages: Iterable[MessageFacts | None]) -> InvalidRequest:
    sums = enumerate(accumulate(map(_values_of, messages)))
    return too_many_values(f"messages[{next(index for index, values in sums if values > MOST_VALUES)}]")


def _count(raw: bytes | Raw, where: str) -> int:
    return tokens.count(all_strings(raw, where).text)
