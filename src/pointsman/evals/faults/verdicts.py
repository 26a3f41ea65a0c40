"""What became of one request, and whether anything happened that must not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from .readers import Malformed, Told
from .traffic import Ask, Seen

End = Literal["whole", "again", "fallback", "continued", "refused", "broken", "wrong"]
ENDS: dict[End, str] = {
    "whole": "answered whole by the first attempt",
    "again": "answered whole by a later attempt at the same model",
    "fallback": "answered whole by another model",
    "continued": "answered whole by several models in one stream",
    "refused": "told a typed error before the first byte",
    "broken": "told a typed error inside the stream",
    "wrong": "something that must not happen",
}
DEFECTS = {
    "hung": "not ended when the deadline and a grace were over",
    "cut off": "the connection ended without an end of the answer",
    "malformed": "not in the shape of the dialect",
    "internal": "an internal error of the gateway",
    "corrupted": "text that no upstream said, or of another request",
    "duplicated": "text told twice",
    "lost": "text missing from an answer that was told as complete",
    "half call": "a tool call told as complete that is not",
    "given up": "told an error although another server of the provider was up",
    "unlogged": "no decision, or no outcome, in the log",
    "untrue": "the log says otherwise than the caller was told",
    "unfit": "a request that its upstream would not take",
    "leaked connections": "to upstreams, in the middle of an answer when all was quiet",
    "half closed": "connections that an upstream had closed and the gateway had not when all was quiet",
    "leaked descriptors": "of the gateway's process, beyond those of kept connections",
    "leaked tasks": "on the gateway's loop",
    "still active": "answers that the gateway counts as under way when all was quiet",
    "uncounted": "requests that the gateway's own count of ended ones misses",
    "traces": "unexpected failures in the gateway's own log",
}
"""What must never happen, by name. Those up to `unfit` befall a request, the others a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a request ended."""

    ask: Ask
    end: End
    defects: Mapping[str, str]
    """Name → in words."""
    error: str | None
    """The message that the caller was told."""
    seconds: float

    @property
    def spoiled(self) -> bool:
        """Whether no attempt met more than an oddity, and yet it was not answered whole."""
        return self.ask.harmless and self.end in ("refused", "broken", "wrong")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What is known of a request beside what its caller saw.

    Attributes:
        record: its entry in the decision log; None: there is none.
        said: texts beside the request's own that an upstream really said.
        continued: how many attempts went on from a part of the text.
    """

    record: Mapping[str, Any] | None
    said: frozenset[str] = frozenset()
    continued: int = 0


def judge(ask: Ask, seen: Seen, behind: Behind, *, must: bool = False) -> Verdict:
    """What became of a request.

    Args:
        must: whether it may not be refused.
    """
    defects: dict[str, str] = {}
    told: Told | None = None
    if seen.late:
        defects["hung"] = f"for {seen.seconds:.1f} s"
    elif not seen.whole:
        defects["cut off"] = f"status {seen.status}, {len(seen.body)} bytes"
    else:
        try:
            told = ask.dialect.read(seen.status, seen.headers.get("content-type", ""), bytes(seen.body))
        except Malformed as error:
            defects["malformed"] = f"status {seen.status}: {error}"
    if told is not None:
        _judge_answer(ask, seen, told, behind.said, defects)
    if behind.record is None or behind.record.get("outcome") is None:
        defects["unlogged"] = f"decision {seen.decision}, status {seen.status}"
    elif told is not None:
        _judge_record(told, behind.record["outcome"], defects)
    if must and told is not None and told.error is not None and seen.status != 200:
        defects["given up"] = f"status {seen.status}: {told.error}"
    end: End = "wrong" if defects or told is None else _end(seen, told, behind)
    return Verdict(ask=ask, end=end, defects=defects, error=told.error if told else None, seconds=seen.seconds)


def _judge_answer(ask: Ask, seen: Seen, told: Told, said: frozenset[str], defects: dict[str, str]) -> None:
    texts = {ask.text, *said}
    if told.error is not None:
        if seen.status == 500 or "went wrong inside" in told.error:
            defects["internal"] = f"status {seen.status}: {told.error}"
        if any(text.startswith(told.text) for text in texts):
            return
    elif told.text in texts:
        _judge_calls(ask, told, defects)
        return
    name, where = _what_is_wrong(ask, told.text)
    defects[name] = f"{where}, of {len(told.text)} characters"


def _what_is_wrong(ask: Ask, text: str) -> tuple[str, str]:
    words, expected = text.split(" "), ask.text.split(" ")
    if ask.text.startswith(text):
        return "lost", f"everything behind word {len(words)}"
    last = -1
    for place, word in enumerate(words):
        if word not in expected:
            return "corrupted", f"{word[:60]!r} in place {place}"
        at = expected.index(word)
        if at <= last:
            return "duplicated", f"word {at} again in place {place}"
        if at > last + 1:
            return "lost", f"words {last + 1} to {at - 1}"
        last = at
    return "corrupted", "between words"


def _judge_calls(ask: Ask, told: Told, defects: dict[str, str]) -> None:
    if ask.call is None:
        if told.calls:
            defects["corrupted"] = f"{len(told.calls)} tool calls that nobody offered"
        return
    if len(told.calls) != 1:
        defects["half call"] = f"{len(told.calls)} tool calls"
        return
    try:
        arguments = msgspec.json.decode(told.calls[0])
    except msgspec.DecodeError:
        defects["half call"] = f"{len(told.calls[0])} characters of arguments that are no JSON"
        return
    if arguments != dict(ask.call):
        defects["half call"] = "arguments that differ"


def _judge_record(told: Told, outcome: Mapping[str, Any], defects: dict[str, str]) -> None:
    status = outcome["status"]
    if (status == "ok") != (told.error is None) or status == "cancelled":
        defects["untrue"] = f"logged as {status}, told {'an error' if told.error is not None else 'an answer'}"


def _end(seen: Seen, told: Told, behind: Behind) -> End:
    if told.error is not None:
        return "refused" if seen.status != 200 else "broken"
    assert behind.record is not None
    attempts = behind.record["outcome"]["attempts"]
    if behind.continued:
        return "continued"
    if attempts[-1]["model"] != attempts[0]["model"]:
        return "fallback"
    return "again" if len(attempts) > 1 else "whole"
