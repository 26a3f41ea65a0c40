"""Families of success models, each in a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from .base import Family
from .boosted import BoostedRegressor
from .ensemble import EnsembleRegressor
from .fourier import FourierRegressor
from .lexical import LexicalRegressor
from .logistic import LogisticRegressor
from .model import Model
from .nearest import NearestRegressor
from .regressors import Regressor
from .ridge import RidgeRegressor, attempt_space, linear_space

MEMBERS: tuple[Callable[[], Regressor], ...] = (
    FourierRegressor,
    LexicalRegressor,
    BoostedRegressor,
    partial(RidgeRegressor, linear_space),
    LogisticRegressor,
)
AFTER: tuple[Callable[[], Regressor], ...] = (partial(RidgeRegressor, attempt_space),)

FAMILIES: Mapping[str, Callable[[], Family]] = {
    "logistic_linear": partial(Model, LogisticRegressor),
    "ridge": partial(Model, partial(RidgeRegressor, linear_space)),
    "nearest": partial(Model, NearestRegressor),
    "lexical": partial(Model, LexicalRegressor),
    "fourier": partial(Model, FourierRegressor),
    "boosted": partial(Model, BoostedRegressor),
    "ensemble": partial(Model, partial(EnsembleRegressor, MEMBERS, AFTER)),
}
"""By name, a maker of each."""

ROUTER: Callable[[], Family] = FAMILIES["ensemble"]
"""The one that predicts best over all tables."""
