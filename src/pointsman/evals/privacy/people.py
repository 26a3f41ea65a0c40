"""How well names of people are told: the part of `pointsman eval privacy` that takes the extra `entities`."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import NamedTuple

from pointsman.core.people import FindsPeople
from pointsman.core.signals import PrivacyClass
from pointsman.pipeline.understand.people import PERSON, find

from .cases import CARRIERS, Part
from .score import Miss, Report, Row, Share


class _Text(NamedTuple):
    text: str
    person: bool
    carrier: str


def texts(part: Part) -> list[_Text]:
    """Every text of a part, alone and in every carrier but the one that is alone."""
    raw = resources.files(__package__).joinpath("people.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(raw)[part]
    return [
        _Text(carry(text), person, carrier)
        for carrier, carry in CARRIERS.items()
        for name, person in (("people", True), ("harmless", False))
        for text in rows[name]
    ]


def score_people(part: Part, ask: FindsPeople) -> Report:
    """Judge the model and the filter on its answers. Raises ModelAway."""
    right = wrong = people = 0
    misses = []
    listed = texts(part)
    for text, person, carrier in listed:
        found = find(text, ask)
        people += person
        right += person and found
        wrong += found and not person
        if found != person:
            misses.append(Miss(PERSON if person else None, (PERSON,) if found else (), carrier, text))
    harmless = len(listed) - people
    row = Row(PERSON, PrivacyClass.CONTACT, Share(right, people), Share(right, right + wrong))
    return Report(
        texts=len(listed),
        harmless=harmless,
        classes=[],
        detectors=[row],
        kept=Share(harmless - wrong, harmless),
        misses=misses,
    )
