"""The caller's ask inside a user message: agents wrap it in tags, surround it with context, and paste files into it."""

from __future__ import annotations

import re

import msgspec

from .persuasion import without_persuasion
from .scan import HINTED, scan
from .tables import words

LOOKED_AT = 6_000
"""Characters of the beginning, and as many of the end, that intent and complexity look at."""

WRAPPING = 16_000
"""Characters at either end in which tags are looked for: agents wrap a message, they bury no ask in its middle."""

_ASK_TAGS: tuple[str, ...] = tuple(words()["ask_tags"])
_CONTEXT_TAGS: tuple[str, ...] = tuple(words()["context_tags"])
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*$", re.MULTILINE)


class Ask(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is looked at: `prose` and `code` are bounded samples, `length` is the ask's whole length in bytes,
    as far as `WRAPPING` reaches, without what speaks to the router."""

    prose: str
    raw: bytes
    """The prose in UTF-8."""
    found: set[int]
    """What `scan` finds in it."""
    code: str
    blocks: int
    length: int


def find_ask(text: str) -> Ask:
    """The ask of a user message. Bounded, however long the text is."""
    if len(text) > 2 * WRAPPING:
        text = f"{text[:WRAPPING]}\n\n{text[-WRAPPING:]}"
    # One letter is found in a tenth of the time that several take.
    if "<" in text and "</" in text:
        text = _unwrap(_without_context(text))
    prose = text = text.strip()
    if len(text) > 2 * LOOKED_AT:
        prose = f"{text[:LOOKED_AT]}\n\n{text[-LOOKED_AT:]}"
    code, blocks = "", 0
    if ("`" in prose and "```" in prose) or ("~" in prose and "~~~" in prose):
        said, fenced = _split(prose)
        prose, code, blocks = "\n".join(said).strip(), "\n".join(fenced), len(fenced)
    raw = prose.encode("utf-8", "replace")
    length = len(raw) if prose is text else _bytes(text)
    found = scan(raw)
    if HINTED in found:
        asked = without_persuasion(prose)
        if asked is not prose:
            shown, prose, raw = len(raw), asked, asked.encode("utf-8", "replace")
            length, found = max(length - shown + len(raw), 0), scan(raw)
    return Ask(prose=prose, raw=raw, found=found, code=code, blocks=blocks, length=length)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _without_context(text: str) -> str:
    """The text without the blocks in which agents describe the environment; all of it when nothing else is there."""
    kept = text
    for tag in _CONTEXT_TAGS:
        if f"</{tag}>" in kept:
            kept = _without(kept, tag)
    return kept if kept.strip() else text


def _without(text: str, tag: str) -> str:
    parts: list[str] = []
    opening, closing, at = f"<{tag}", f"</{tag}>", 0
    while (start := text.find(opening, at)) >= 0:
        end = text.find(closing, start)
        if end < 0:
            break
        if text[start + len(opening) : start + len(opening) + 1] not in (">", " ", "\n"):
            parts.append(text[at : start + len(opening)])
            at = start + len(opening)
            continue
        parts.append(text[at:start])
        at = end + len(closing)
    parts.append(text[at:])
    return "".join(parts)


def _unwrap(text: str) -> str:
    """The content of the last tag that agents put around the caller's words, or the whole text."""
    for tag in _ASK_TAGS:
        end = text.rfind(f"</{tag}>")
        if end >= 0:
            start = text.rfind(f"<{tag}>", 0, end)
            inner = text[start + len(tag) + 2 : end] if start >= 0 else ""
            if inner.strip():
                return inner
    return text


def _split(text: str) -> tuple[list[str], list[str]]:
    """Prose and fenced code. An unclosed fence runs to the end."""
    prose: list[str] = []
    code: list[str] = []
    at, inside = 0, False
    for fence in _FENCE.finditer(text):
        (code if inside else prose).append(text[at : fence.start()])
        at, inside = fence.end(), not inside
    (code if inside else prose).append(text[at:])
    return prose, code
