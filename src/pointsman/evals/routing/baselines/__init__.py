"""Simple routers, each in a file of its own, that one of ours has to beat in the same run."""

from __future__ import annotations

from collections.abc import Callable

from pointsman.learn.families.base import Family

from .category import Category
from .constant import Constant
from .effort import Effort
from .knn import Nearest
from .linucb import LinUCB
from .logistic import Logistic
from .words import Words

BASELINES: dict[str, Callable[[], Family]] = {
    "random": Constant,
    "knn": Nearest,
    "category": Category,
    "logistic": Logistic,
    "linucb": LinUCB,
    "words": Words,
}
AFTER_ATTEMPT: dict[str, Callable[[], Family]] = {"calls": Effort}
"""Those that look at nothing but the attempt."""
