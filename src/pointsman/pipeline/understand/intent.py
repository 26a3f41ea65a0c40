"""Intent by rule: an ordered table of weighted patterns, the heaviest intent with a margin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from operator import call
from typing import Literal, NamedTuple

import msgspec
import re2

from pointsman.core.signals import Intent

from .ask import Ask
from .searching import Match, matcher
from .tables import table

Look = Literal["prose", "open", "close", "code", "all"]

OPENING, CLOSING = 240, 400
"""Characters of the prose that the looks `open` and `close` see."""
LEAST_WEIGHT = 1.5
"""Below it nothing telling was found, and the intent is `general`."""
LEAST_LEAD = 0.15
"""Of the heaviest over the second, below which the intent is `general`."""
AT_ONCE = 12
"""Rules in one set. The states that all rules of a look have together are so many that a new text keeps meeting new
ones; too many sets are passes without need. Microseconds an ask of some 700 bytes, all texts new, and met before: with
sets of 6, 35 and 19; of 12, 36 and 16; of 30, 41 and 14."""
PRIOR = 2.0
"""Weight given to everything that the rules do not know, in the confidence."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of intents.toml."""

    intent: Intent
    look: Look
    weight: float
    pattern: str
    exact: bool = False


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...]


class _Set(NamedTuple):
    """Rules that look in the same place."""

    look: Look
    match: Match
    rules: tuple[tuple[Intent, float], ...]
    """Of each pattern, for what it speaks and how much it weighs."""


class _Asked(NamedTuple):
    """Sets, column by column."""

    looks: tuple[Look, ...]
    matchers: tuple[Match, ...]
    rules: tuple[tuple[tuple[Intent, float], ...], ...]


_LOOKED: Mapping[Look, Callable[[bool, bool], bool]] = {
    "prose": lambda prose, code: prose,
    "open": lambda prose, code: prose,
    "close": lambda prose, code: prose,
    "code": lambda prose, code: code,
    "all": lambda prose, code: True,
}
"""Whether there is anything to look at."""


class IntentRules:
    """The table, compiled: RE2 sets for each place where patterns look. Threads may share it."""

    def __init__(self) -> None:
        placed: dict[Look, list[Rule]] = {}
        for rule in _table().rule:
            placed.setdefault(rule.look, []).append(rule)
        sets = [
            _Set(look, matcher(_compile(part)), tuple([(rule.intent, rule.weight) for rule in part]))
            for look, rules in placed.items()
            for part in _parts(rules)
        ]
        self._asked = {
            (prose, code): _Asked(*zip(*[one for one in sets if _LOOKED[one.look](prose, code)], strict=True))
            for prose in (False, True)
            for code in (False, True)
        }
        """The sets to ask by whether there is prose, and code: none is asked of nothing."""

    def weigh(self, ask: Ask) -> dict[Intent, float]:
        """The weight of every intent that a rule speaks for."""
        weights: dict[Intent, float] = {}
        prose, code = ask.prose, ask.code.encode("utf-8", "replace")
        raw = prose.encode("utf-8", "replace")
        even = len(raw) == len(prose)  # ASCII: letters are bytes
        texts: dict[Look, bytes] = {
            "prose": raw,
            "open": raw[:OPENING] if even else prose[:OPENING].encode("utf-8", "replace"),
            "close": raw[-CLOSING:] if even else prose[-CLOSING:].encode("utf-8", "replace"),
            "code": code,
            "all": b"%b\n%b" % (raw, code),
        }
        looks, matchers, rules = self._asked[raw != b"", code != b""]
        for rows, found in zip(rules, map(call, matchers, map(texts.__getitem__, looks)), strict=True):
            if found:
                for index in found:
                    intent, weight = rows[index]
                    weights[intent] = weights.get(intent, 0.0) + weight
        return weights

    def __call__(self, ask: Ask) -> tuple[Intent, float]:
        """The intent, and a confidence in [0, 1]."""
        return judge(self.weigh(ask))


def judge(found: Mapping[Intent, float]) -> tuple[Intent, float]:
    """The intent that the rules' weights speak for, and a confidence in [0, 1].

    With w1 ≥ w2 the two greatest weights, the confidence is (w1 - w2 / 2) / (w1 + w2 / 2 + PRIOR). It is `general`
    when w1 is below `LEAST_WEIGHT` or leads w2 by less than `LEAST_LEAD`.
    """
    if not found:
        return Intent.GENERAL, 0.0
    first = max(found, key=found.__getitem__)
    w1 = found[first]
    w2 = sorted(found.values())[-2] if len(found) > 1 else 0.0
    confidence = (w1 - w2 / 2) / (w1 + w2 / 2 + PRIOR)
    if w1 < LEAST_WEIGHT or w1 - w2 < LEAST_LEAD:
        return Intent.GENERAL, round(min(confidence, 0.2), 3)
    return first, round(confidence, 3)


@cache
def _table() -> _Table:
    return msgspec.convert(table("intents"), _Table)


def _parts(rules: list[Rule]) -> list[list[Rule]]:
    return [rules[at : at + AT_ONCE] for at in range(0, len(rules), AT_ONCE)]


def _compile(rules: list[Rule]) -> re2.Set:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 16 << 20
    compiled = re2.Set.SearchSet(options)
    for rule in rules:
        compiled.Add(f"(?m{'' if rule.exact else 'i'}:{rule.pattern})")
    compiled.Compile()
    return compiled
