"""The labelled texts that the package ships, as tests use them."""

from __future__ import annotations

from collections.abc import Iterator

from pointsman.evals.privacy.cases import known_harmless, templates
from pointsman.evals.privacy.values import Values

__all__ = ["Values", "negatives", "positives"]


def positives(variants: int = 1) -> Iterator[tuple[str, str]]:
    """Detector and text, for every template with something private."""
    values = Values(seed=20)
    for detector, template in templates("known"):
        if detector is not None:
            for _ in range(variants):
                yield detector, values.fill(template)


def negatives() -> list[str]:
    return known_harmless()
