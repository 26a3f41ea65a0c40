"""Student's t: intervals that know that a standard error from a few clusters is itself a guess."""

from __future__ import annotations

import math
from statistics import NormalDist

from .terms import Terms


def quantile(freedom: float, share: float) -> float:
    """Of Student's distribution, by the expansion of Fisher and Cornish (1960) about the normal one: right to 0.001 for
    four degrees of freedom at 97.5 %, and to 2e-5 from nine on."""
    z, d = NormalDist().inv_cdf(share), freedom
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / d**power for power, term in enumerate(terms, 1))


def stretch(n: int, freedom: float, level: float) -> float:
    """How much longer Student's interval of n rows is than the normal one with a standard error that divides by n."""
    share = (1 + level) / 2
    return math.sqrt(n / (n - 1)) * quantile(freedom, share) / NormalDist().inv_cdf(share)


def student(terms: Terms, freedom: float, *, level: float = 0.95) -> tuple[float, float]:
    """θ ± t · s · √(n / (n − 1)), where s is the standard error by linearisation, with what rows do through models.

    With few rows s is too small as often as not, and resampling them cannot tell: Cameron, Gelbach and Miller (2008)
    have n − 1 degrees of freedom for n clusters, and Carter, Schnepel and Steigerwald (2017) fewer where clusters
    count unequally.

    Args:
        freedom: degrees of it.
    """
    n, influence = len(terms), terms.influence
    error = terms.widening * math.sqrt(float(influence @ influence) / (n * (n - 1)))
    reach = quantile(freedom, (1 + level) / 2) * error
    return terms.value - reach, terms.value + reach
