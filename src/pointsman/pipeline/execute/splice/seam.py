"""The seam between what was told of an answer and the text with which another model goes on.

A model that goes on with its own last message (prefill) begins exactly where the text ends; only white space at the
end, which must not be sent, may come twice. Any other model is asked to begin with the last words once more. What it
says first is held back until those words are found, and cut there: so neither a word cut in half, nor a lost space, nor
"Sure, here is the rest:" is seen. Where they do not come, the longest repetition is cut, and what such answers begin
with.
"""

from __future__ import annotations

import re

from pointsman.core.errors import UpstreamProtocolError

HELD = 200
"""Characters of a continuation, beside the words to be repeated, in which the seam is looked for."""
ANCHOR = 48
"""Characters that a model is asked to begin with."""
LONGEST = 2_000
"""Characters of an overlap that are looked for."""
TELLING = 40
"""Characters of a beginning by which an answer is known for one that begins anew."""
SURE = 12
"""Characters of the last words that may be found behind others; shorter ones stand there by chance."""
PLAIN = 6
"""Characters that are an overlap wherever they begin; shorter ones must be words."""

_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_OPENING = re.compile(r"\s*(?:```|~~~)[\w+#.-]*[ \t]*\n")
_QUOTES = re.compile(r"[\s\"'“”‘’«»…`>*.]*")
_PREAMBLE = re.compile(
    r"\s*(?:(?:sure|certainly|of course|okay|ok|absolutely|apologies|sorry)\b[^\n]{0,60}?[,.!:;—-]+\s+)?"
    r"(?:continuing|resuming|picking up|continued|here(?:'s|’s| is| are)|i(?:'ll| will) (?:continue|go on|resume))\b"
    r"[^\n]{0,100}?(?::|…|\.{3})\s*"
    r"|\s*(?:\(continued\)|\[continued\])\s*",
    re.IGNORECASE,
)
_SPACELESS = 0x2E80
"""From here on stand scripts without spaces between words."""


def anchor_of(told: str) -> str:
    """The last words of a text, from a word's beginning, in one line's writing."""
    tail = told.rstrip()[-ANCHOR:]
    if len(told.rstrip()) > ANCHOR and (space := re.search(r"\s", tail)) is not None:
        tail = tail[space.end() :] or tail
    return tail


def in_fence(told: str) -> bool:
    """Whether a text ends inside a block of code."""
    return len(_FENCE.findall(told)) % 2 == 1


class Seam:
    """Joins one continuation.

    Args:
        told: the text that the caller has.
        prefill: whether the model goes on with the text itself.
        json: whether the whole is to be JSON.
    """

    def __init__(self, told: str, *, prefill: bool, json: bool = False) -> None:
        self.told = told
        self._sent = told.rstrip()
        self._space = told[len(self._sent) :]
        self._prefill = prefill
        self._json = json
        self._buffer: str | None = ""
        """What is held back; None when the seam is behind."""
        self._unfenced = False
        """An opening fence was cut from JSON, so that the closing one must be too."""
        self._tail = ""

    def feed(self, text: str) -> str:
        """What may be told now.

        Raises:
            UpstreamProtocolError: the model does not go on, but begins another answer.
        """
        if self._buffer is None:
            return self._open_ended(text)
        self._buffer += text
        return self._settled(last=False)

    def end(self) -> str:
        """What is still held back when the text has ended. Raises as `feed`."""
        rest = self._settled(last=True) if self._buffer is not None else ""
        tail, self._tail = self._tail, ""
        return rest + (tail if "```" not in tail else "")

    def _settled(self, last: bool) -> str:
        assert self._buffer is not None
        found = self._begun(self._buffer, last) if self._prefill else self._found(self._buffer, last)
        if found is None:
            return ""
        self._buffer = None
        return self._open_ended(found)

    def _open_ended(self, text: str) -> str:
        if not self._unfenced:
            return text
        text = self._tail + text
        kept = re.sub(r"\s*`{0,3}\s*\Z", "", text)
        self._tail = text[len(kept) :]
        return kept

    def _begun(self, said: str, last: bool) -> str | None:
        """The continuation of a prefill; None while it cannot be told yet."""
        if len(self._sent) >= TELLING:  # some servers give the prefill back
            if not last and len(said) < len(self._sent) and self._sent.startswith(said.lstrip()):
                return None
            if said.lstrip().startswith(self._sent):
                said = said.lstrip()[len(self._sent) :]
        return self._spaced(said, last)

    def _spaced(self, said: str, last: bool) -> str | None:
        """Without the white space that was told already: it was not sent, and may come once more."""
        if not self._space:
            return said
        blank = len(said) - len(said.lstrip())
        if blank == len(said) and not last and len(said) < len(self._space):
            return None
        if said.startswith(self._space):
            return said[len(self._space) :]
        return said.lstrip()

    def _found(self, said: str, last: bool) -> str | None:
        """What follows the told text in an answer that may repeat some of it; None while that cannot be told yet."""
        fenced = in_fence(self.told)
        begun = said.lstrip()
        if (fenced or self._json) and not last and len(begun) < len("```") + 1 and "```".startswith(begun[:3]):
            return None
        if (fenced or self._json) and begun.startswith(("```", "~~~")):
            if "\n" not in begun and not last:
                return None
            opening = _OPENING.match(said)
            if opening is not None:
                said = said[opening.end() :]
                self._unfenced = not fenced
        behind = self._again(said, last)
        if behind is None:
            behind = self._behind_anchor(said)
        if behind is not None:
            if not behind.strip() and not last:  # what follows the repetition decides about the space between
                return None
            return self._spaced(behind, last=True)
        if not last and (len(said) < HELD + ANCHOR or self._repeats(said)):
            return None
        return self._without_overlap(said, fenced)

    def _repeats(self, said: str) -> bool:
        """Whether all of it is how the told text begins."""
        return len(self._sent) >= TELLING and self._sent.lstrip().startswith(said.lstrip())

    def _again(self, said: str, last: bool) -> str | None:
        """What is new in an answer that begins anew and has repeated all that was told; None otherwise.

        Raises:
            UpstreamProtocolError: it repeats some, and leaves the told text before its end.
        """
        told, begun = self._sent.lstrip(), said.lstrip()
        common = _common(told, begun)
        if len(told) < TELLING or common < TELLING:
            return None
        if common == len(told):
            return begun[common:]
        if common == len(begun) and not last:
            return None
        raise UpstreamProtocolError("The model that was to go on with an answer began another one.")

    def _behind_anchor(self, said: str) -> str | None:
        anchor = anchor_of(self._sent)
        words = anchor.split()
        if not words:
            return None
        pattern = re.compile(r"\s+".join(map(re.escape, words)))
        start = _QUOTES.match(said)
        found = pattern.match(said, start.end() if start is not None else 0) or pattern.match(said)
        if found is None and len(anchor) >= SURE:
            found = pattern.search(said, 0, HELD + ANCHOR)
        return None if found is None else said[found.end() :]

    def _without_overlap(self, said: str, fenced: bool) -> str:
        preamble = _PREAMBLE.match(said)
        if preamble is not None:
            said = said[preamble.end() :]
            if (fenced or self._json) and (opening := _OPENING.match(said)) is not None:
                said = said[opening.end() :]
                self._unfenced = not fenced
        begun = said.lstrip()
        cut = _overlap(self._sent[-LONGEST:], begun)
        if cut:
            return self._spaced(begun[cut:], last=True) or ""
        if self._space or begun != said or fenced or self._json or not begun or not self._sent:
            return self._spaced(said, last=True) or ""
        return f" {said}" if _needs_space(self._sent[-1], begun[0]) else said


def _common(one: str, other: str) -> int:
    """The length of the beginning that two texts share."""
    most = min(len(one), len(other))
    if one[:most] == other[:most]:
        return most
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def _overlap(told: str, said: str) -> int:
    """The length of the longest end of one text that begins the other; 0 where it may stand there by chance."""
    for size in range(min(len(told), len(said)), 0, -1):
        if not told.endswith(said[:size]):
            continue
        if size >= PLAIN:
            return size
        before = told[-size - 1 : -size]
        whole_words = not before.isalnum() and said[:size].strip() == said[:size] and said[0].isalnum()
        goes_on = said[size : size + 1].isalnum() and said[size - 1].isalnum()
        if whole_words and (size >= 3 or not goes_on):
            return size
    return 0


def _needs_space(before: str, behind: str) -> bool:
    """Whether two characters do not touch in the text of a language that has spaces."""
    if ord(before) >= _SPACELESS or ord(behind) >= _SPACELESS:
        return False
    return behind.isalnum() and (before.isalnum() or before in ".,;:!?")
