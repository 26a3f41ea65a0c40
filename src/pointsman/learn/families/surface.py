"""What the surface of a text tells: counts and shares that a sentence embedding washes out.

Multiple choice (how long the options are, whether they are numbers), negations, mathematics, the limits of a
programming task, names of files in a bug report. None of it names a data set.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LOOKED_AT = 6_000
"""Characters of the beginning that are looked at."""

_OPTION = re.compile(r"^[A-H][.)] ?(.*)$", re.MULTILINE)
_NUMBER = re.compile(r"\d")
_WORD = re.compile(r"\w+")
_NEGATION = re.compile(r"\b(?:not|except|least|false|incorrect|never|neither|nor|cannot)\b", re.IGNORECASE)
_POWER = re.compile(r"10\s?(?:\^|\*\*)\s?\{?(\d{1,3})")
_LIMIT = re.compile(r"\\leq?\b|<=|≤|\\geq?\b|>=|≥")
_ROMAN = re.compile(r"\b(?:I|II|III|IV)\b[.,) ]")
_YEAR = re.compile(r"\b1[0-9]{3}\b|\b20[0-4][0-9]\b")
_QUANTITY = re.compile(r"\d[\d,]*(?:\.\d+)?")
_MODULUS = re.compile(r"\bmod(?:ulo)?\b|998244353|10\^9 ?\+ ?7", re.IGNORECASE)
_PATH = re.compile(r"\b[\w/.-]+\.(?:py|js|ts|go|rs|java|c|cpp|h|rb|php)\b")
_CALL = re.compile(r"\b\w+\(")
_COMPARISON = re.compile(r"\b(?:more|less|fewer|than|twice|times|half|each|every|per|percent|total)\b|%", re.IGNORECASE)

NAMES: tuple[str, ...] = (
    "question_length",
    "options",
    "option_length",
    "option_spread",
    "option_numbers",
    "option_overlap",
    "digits",
    "quantities",
    "largest_quantity",
    "negations",
    "blank",
    "statements",
    "of_the_above",
    "following",
    "mathematics",
    "lines",
    "questions",
    "ends_as_question",
    "ends_with_colon",
    "ends_with_full_stop",
    "roman_numerals",
    "word_length",
    "capitals",
    "distinct_words",
    "quotes",
    "year",
    "commas",
    "comparisons",
    "sentences",
    "limits",
    "powers",
    "largest_power",
    "modulus",
    "samples",
    "several_cases",
    "method_to_fill",
    "returns",
    "score_line",
    "file_names",
    "calls",
    "traceback",
    "fences",
    "not_ascii",
)


def surface(texts: Sequence[str]) -> NDArray[np.float64]:
    """(n, len(NAMES)), finite, not scaled."""
    return np.array([_row(text[:LOOKED_AT]) for text in texts], dtype=np.float64).reshape(len(texts), len(NAMES))


@lru_cache(maxsize=16_384)  # cross-validation asks for the same texts again and again
def _row(text: str) -> tuple[float, ...]:
    options = _OPTION.findall(text)
    stem = text.split("\nA.", 1)[0].split("\nA)", 1)[0]
    words = _WORD.findall(stem)
    lowered = {word.lower() for word in words}
    offered = {word.lower() for option in options for word in _WORD.findall(option)}
    lengths = [len(option) for option in options] or [0]
    mean = sum(lengths) / len(lengths)
    spread = math.sqrt(sum((length - mean) ** 2 for length in lengths) / len(lengths))
    quantities = [float(found.replace(",", "")[:15]) for found in _QUANTITY.findall(stem)[:200]]
    powers = [int(found) for found in _POWER.findall(text)]
    size, count = 1 + len(stem), 1 + len(words)
    end = stem.rstrip()[-1:]
    return (
        math.log1p(len(stem)),
        len(options),
        math.log1p(mean),
        spread / (1 + mean),
        sum(bool(_NUMBER.search(option)) and len(option) < 30 for option in options) / (len(options) or 1),
        len(lowered & offered) / (1 + len(offered)),
        sum(map(str.isdigit, stem)) / size,
        math.log1p(len(quantities)),
        math.log1p(max(quantities, default=0.0)),
        min(len(_NEGATION.findall(stem)), 5),
        "__" in stem,
        "Statement" in stem,
        "of the above" in text,
        "following" in stem,
        math.log1p(sum(stem.count(sign) for sign in "=^+*/$\\<>")),
        math.log1p(stem.count("\n")),
        math.log1p(stem.count("?")),
        end == "?",
        end == ":",
        end == ".",
        bool(_ROMAN.search(stem)),
        sum(map(len, words)) / count,
        sum(word[0].isupper() for word in words) / count,
        len(lowered) / count,
        '"' in stem or "\u201c" in stem,
        bool(_YEAR.search(stem)),
        math.log1p(stem.count(",")),
        math.log1p(len(_COMPARISON.findall(stem))),
        math.log1p(stem.count(". ")),
        math.log1p(len(_LIMIT.findall(text))),
        math.log1p(len(powers)),
        min(max(powers, default=0), 30),
        bool(_MODULUS.search(text)),
        math.log1p(text.count("Sample ") + text.count("Example ")),
        "test case" in text.lower(),
        "class Solution" in text or "Example 1" in text,
        "eturn" in text,
        "Score:" in text or "score" in text,
        math.log1p(len(_PATH.findall(text))),
        math.log1p(len(_CALL.findall(text))),
        "Traceback" in text or "Error:" in text,
        math.log1p(text.count("```")),
        sum(character > "\x7f" for character in text) / (1 + len(text)),
    )
