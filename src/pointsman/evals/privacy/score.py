"""Precision and recall of the detectors on the labelled set."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from pointsman.core.signals import PrivacyClass
from pointsman.pipeline.understand.detectors import Detectors

from .cases import Case


class Share(NamedTuple):
    """A part of a whole with its 95 % interval."""

    hits: int
    total: int

    @property
    def value(self) -> float | None:
        return self.hits / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval (E. B. Wilson, JASA 22, 1927), z = 1.96."""
        if not self.total:
            return 0.0, 1.0
        z, n = 1.96, self.total
        share = self.hits / n
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return max(0.0, middle - spread), min(1.0, middle + spread)


class Row(NamedTuple):
    name: str
    kind: PrivacyClass
    recall: Share
    precision: Share


class Miss(NamedTuple):
    """A text that was judged wrongly."""

    expected: str | None
    found: tuple[str, ...]
    carrier: str
    text: str


class Report(NamedTuple):
    texts: int
    harmless: int
    classes: list[Row]
    detectors: list[Row]
    kept: Share
    """Harmless texts in which nothing at all was found."""
    misses: list[Miss]


def score(cases: Iterable[Case], detectors: Detectors | None = None) -> Report:
    """Judge the detectors.

    A class is recalled when any of its detectors finds something: that is what decides about a request. A detector is
    recalled when it does itself. Precision counts, of the texts in which a class or detector was found, those that
    hold it; texts with another private value are left out of it, as they may hold both.
    """
    detectors = detectors or Detectors()
    kinds = detectors.classes
    right: defaultdict[str, int] = defaultdict(int)
    total: defaultdict[str, int] = defaultdict(int)
    wrong: defaultdict[str, int] = defaultdict(int)
    misses = []
    texts = harmless = kept = 0
    for case in cases:
        texts += 1
        found = detectors.find(case.text)
        seen = {*found, *(kinds[name] for name in found)}
        if case.detector is None:
            harmless += 1
            kept += not found
            for name in seen:
                wrong[name] += 1
            expected: str | None = None
            fine = not found
        else:
            expected = case.detector
            for name in (expected, kinds[expected]):
                total[name] += 1
                right[name] += name in seen
            fine = kinds[expected] in seen
        if not fine:
            misses.append(Miss(expected, found, case.carrier, case.text))

    def row(name: str, kind: PrivacyClass) -> Row:
        return Row(name, kind, Share(right[name], total[name]), Share(right[name], right[name] + wrong[name]))

    return Report(
        texts=texts,
        harmless=harmless,
        classes=[row(kind, kind) for kind in PrivacyClass],
        detectors=[row(name, kind) for name, kind in kinds.items()],
        kept=Share(kept, harmless),
        misses=misses,
    )
