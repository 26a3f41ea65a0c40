"""What the first sentence of a caller's next turn says of the answer before it."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import re2

LOOKED_AT = 300
"""Characters of a turn that are looked at."""
LONGEST = 200
"""Characters of a first sentence; a longer one tells of something new."""

_TAGS = re2.compile(r"\A(?:\s*<[A-Za-z][^<>]{0,60}>)+")
"""Agents put the caller's words into tags."""
_END = re2.compile(r"[.!?](?:\s|$)|[。！？\n]")

Said = Literal["complaint", "praise"]


def said_of_answer(text: str) -> Said | None:
    """Whether a turn begins with a complaint about the answer before, or with praise; None: with neither, as far as
    can be told. A rule, not a proof: how often it is right is measured where callers give feedback too."""
    beginning = text[:LOOKED_AT].encode("utf-8", "replace").decode()  # RE2 takes no half of a surrogate pair
    beginning = _TAGS.sub("", beginning).strip()
    end = _END.search(beginning)
    sentence = beginning[: end.start() + 1].strip() if end is not None else beginning
    if not sentence or len(sentence) > LONGEST:
        return None
    complaint, praise = read_rules()
    if complaint.match(sentence) is not None:
        return "complaint"
    return "praise" if praise.match(sentence) is not None else None


@cache
def read_rules() -> tuple[Any, Any]:
    """The rules of complaints and of praise, compiled: some 50 ms, once."""
    table = tomllib.loads(files("pointsman.pipeline.record").joinpath("replies.toml").read_text(encoding="utf-8"))
    found = []
    for kind in ("complaints", "praise"):
        rules = "|".join(f"(?:{pattern.replace('{thing}', table['thing'])})" for pattern in table[kind])
        found.append(re2.compile(rf"(?i)[\s\pP]*{table['fillers']}(?:{rules})"))
    return found[0], found[1]
