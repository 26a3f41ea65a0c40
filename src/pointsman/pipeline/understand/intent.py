"""Intent by rule: an ordered table of weighted patterns, the heaviest intent with a margin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import chain
from operator import call, itemgetter
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
SET_MEMORY = 24 << 20
"""Bytes that the automaton of one set may take; when full it starts anew."""
PRIOR = 2.0
"""Weight given to everything that the rules do not know, in the confidence."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of intents.toml."""

    intent: Intent
    look: Look
    weight: float
    pattern: str
    exact: bool = False
    set: int = 0
    """Of those in one place, which are searched for together."""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...]


class _Asked(NamedTuple):
    """Sets, column by column."""

    looked: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]
    """Of the texts in the order of `PLACES`, what each set sees."""
    matchers: tuple[Match, ...]
    rules: tuple[Callable[[int], tuple[Intent, float]], ...]
    """For what each pattern speaks, and how much it weighs, by its place in the set."""


PLACES: tuple[Look, ...] = ("prose", "open", "close", "code", "all")


class IntentRules:
    """The table, compiled: RE2 sets for each place where patterns look. Threads may share it."""

    def __init__(self) -> None:
        rules = _table().rule
        self._prose = _sets([rule for rule in rules if rule.look != "code"], {"all": "prose"})
        self._code = _sets([rule for rule in rules if rule.look in ("code", "all")], {})
        self._both = _sets(rules, {})

    def weigh(self, ask: Ask) -> dict[Intent, float]:
        """The weight of every intent that a rule speaks for."""
        weights: dict[Intent, float] = {}
        prose, raw = ask.prose, ask.raw
        if len(raw) == len(prose):  # ASCII: letters are bytes
            opening, closing = raw[:OPENING], raw[-CLOSING:]
        else:
            opening = prose[:OPENING].encode("utf-8", "replace")
            closing = prose[-CLOSING:].encode("utf-8", "replace")
        texts: tuple[bytes, ...] = (raw, opening, closing)
        if ask.code:
            code = ask.code.encode("utf-8", "replace")
            texts += (code, b"%b\n%b" % (raw, code))
        looked, matchers, rules = (self._both if raw else self._code) if ask.code else self._prose
        found = map(call, matchers, looked(texts))
        for intent, weight in chain.from_iterable(map(map, rules, found)):
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
    *_, w2, w1 = 0.0, *sorted(found.values())
    confidence = (w1 - w2 / 2) / (w1 + w2 / 2 + PRIOR)
    if w1 < LEAST_WEIGHT or w1 - w2 < LEAST_LEAD:
        return Intent.GENERAL, round(min(confidence, 0.2), 3)
    return first, round(confidence, 3)


@cache
def _table() -> _Table:
    return msgspec.convert(table("intents"), _Table)


def _sets(rules: Sequence[Rule], elsewhere: Mapping[Look, Look]) -> _Asked:
    """
    Args:
        elsewhere: where rules look instead of their own place.
    """
    placed: dict[tuple[Look, int], list[Rule]] = {}
    for rule in rules:
        placed.setdefault((elsewhere.get(rule.look, rule.look), rule.set), []).append(rule)
    return _Asked(
        itemgetter(*(PLACES.index(look) for look, _ in placed)),
        tuple([_compiled(tuple(together)) for together in placed.values()]),
        tuple([[(rule.intent, rule.weight) for rule in together].__getitem__ for together in placed.values()]),
    )


@cache
def _compiled(rules: tuple[Rule, ...]) -> Match:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = SET_MEMORY
    compiled = re2.Set.SearchSet(options)
    for rule in rules:
        compiled.Add(f"(?m{'' if rule.exact else 'i'}:{rule.pattern})")
    compiled.Compile()
    return matcher(compiled)
