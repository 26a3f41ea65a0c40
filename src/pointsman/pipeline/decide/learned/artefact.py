"""A learned policy as JSON, checked when it is read: nothing that is not a finite number reaches a decision.

Arrays stand as base64 of little-endian float32, row after row. Neither reading nor checking needs NumPy, so that a
gateway starts without it.
"""

from __future__ import annotations

import binascii
import math
import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from itertools import pairwise
from operator import mul
from typing import Literal

import msgspec

from pointsman.core.errors import InvalidRequest
from pointsman.core.features import EMBEDDED, VERSION, WIDTH
from pointsman.core.request import Priority

from .context import CONTEXT_VERSION, CONTEXT_WIDTH

KIND = "learned"
MOST_ANCHORS, MOST_CENTRES, MOST_MODELS = 16, 4096, 512

Method = Literal["thompson", "igw", "ucb", "none"]
"""How arms are explored: by the chance that each is the best (Thompson), by how far each is behind the best (inverse
gap weighting), the one that might be best (upper confidence bound), or not at all."""


class Anchor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """logit P(success) = weights · (x − mean) / scale + bias, of a model of this ability."""

    ability: float
    """The logit of its mean success over what it was trained on."""
    weights: str
    """(WIDTH,)"""
    bias: float


class Near(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the anchors hold: prompts whose embedding is near enough to one of these."""

    centres: str
    """(count, EMBEDDED), unit vectors."""
    count: int
    inner: float
    """Cosine distance up to which the anchors are believed whole."""
    outer: float
    """Cosine distance from which on they are not believed at all."""


class Prior(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is believed of a model of which only its quality in the catalog is known."""

    mean: str
    """(WIDTH,), of the features."""
    scale: str
    """(WIDTH,), above 0."""
    anchors: tuple[Anchor, ...]
    """At least two, their abilities rising."""
    near: Near | None = None
    """None: they hold everywhere."""


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """logit P(success) of one model that was trained with, in place of the anchors."""

    weights: str
    """(WIDTH,), of features that are centred and scaled as the prior says."""
    bias: float
    count: float = 0.0
    """Outcomes that it was trained on."""


class Posterior(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The scale of what is learned from outcomes."""

    prior_sd: float = 0.1
    """Of each weight of a model's deviation from its prior, in probability of success."""
    noise_sd: float = 0.3
    """Of an outcome about its probability; of a coin, 0.5, and of what succeeds nine times in ten, 0.3. Both scales had
    little regret on halves of public tables."""
    half_life_days: float = 30.0
    """After which an outcome counts half."""


class Learned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was learned of one model's deviation before the policy was stored."""

    precision: str
    """(CONTEXT_WIDTH, CONTEXT_WIDTH): Σ w φφᵀ / noise_sd², without the prior's part."""
    shift: str
    """(CONTEXT_WIDTH,): Σ w φ (success − prior) / noise_sd²."""
    at: float
    """The time to which the weights had decayed, in seconds since the epoch."""


class Exploration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How arms are tried, within what the settings allow."""

    method: Method = "thompson"
    share: float | None = None
    """Of the requests, when that is less than the settings'; None: as the settings say."""


class LearnedArtefact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A learned policy. Every part but `features` may be missing; without any it behaves as the rules do."""

    features: int
    """`core.features.VERSION` of the vectors that it was trained on."""
    prior: Prior | None = None
    heads: Mapping[str, Head] = {}
    """By id, or by the bare name of a model. They need a prior, whose centring and nearness hold for them too."""
    context: int = CONTEXT_VERSION
    """Of `state`."""
    posterior: Posterior = Posterior()
    state: Mapping[str, Learned] | None = None
    """By id."""
    utility: Mapping[Priority, Mapping[str, float]] = {}
    """Weights of `utility.Weights` that differ from those built in."""
    complexity_threshold: float | None = None
    exploration: Exploration = Exploration()
    floor: float | None = None
    """A quality floor for requests that name none: how far below the best model's success a choice may lie."""
    note: str = ""
    """What it was trained on."""


def read_artefact(content: str | bytes) -> LearnedArtefact:
    """The artefact, every number in it checked.

    Raises:
        InvalidRequest: it is not one, was made for other features, or holds a number that makes no sense.
    """
    try:
        read = msgspec.json.decode(content, type=LearnedArtefact)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"This is not a learned policy: {error}.") from None
    if read.features != VERSION:
        raise InvalidRequest(
            f"This policy reads feature vectors of version {read.features}, and this gateway makes version {VERSION};"
            " train it anew."
        )
    if read.prior is not None:
        _check_prior(read.prior)
    elif read.heads:
        raise InvalidRequest("heads: without a prior nothing says how their features are centred and scaled.")
    if len(read.heads) > MOST_MODELS or len(read.state or ()) > MOST_MODELS:
        raise InvalidRequest(f"This policy knows more than {MOST_MODELS} models.")
    for model, head in read.heads.items():
        unpack(head.weights, WIDTH, f"heads.{model}.weights")
        _check(f"heads.{model}", {"bias": head.bias})
        _check(f"heads.{model}", {"count": head.count}, at_least=0)
    numbers = read.posterior
    spreads = {"prior_sd": numbers.prior_sd, "noise_sd": numbers.noise_sd}
    _check("posterior", spreads, at_least=1e-4, at_most=1e4)
    _check("posterior", {"half_life_days": numbers.half_life_days}, at_least=1e-3, at_most=1e6)
    if read.state:
        if read.context != CONTEXT_VERSION:
            raise InvalidRequest(
                f"state: it is of contexts of version {read.context}, and here is {CONTEXT_VERSION}; train it anew."
            )
        for model, learned in read.state.items():
            precision = unpack(learned.precision, CONTEXT_WIDTH**2, f"state.{model}.precision")
            if not _positive_definite(precision, ridge=numbers.prior_sd**-2):
                raise InvalidRequest(f"state.{model}.precision: with the prior's part it is not positive definite.")
            unpack(learned.shift, CONTEXT_WIDTH, f"state.{model}.shift")
            _check(f"state.{model}", {"at": learned.at})
    _check("exploration", {"share": read.exploration.share}, at_least=0, at_most=1)
    _check(
        "the policy", {"floor": read.floor, "complexity_threshold": read.complexity_threshold}, at_least=0, at_most=1
    )
    return read


def dump_artefact(artefact: LearnedArtefact) -> str:
    """The artefact as JSON that `read_artefact` reads."""
    return msgspec.json.encode(artefact).decode()


def pack(numbers: Iterable[float]) -> str:
    """Numbers, row after row, as they stand in an artefact."""
    packed = array("f", numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return b64encode(packed.tobytes()).decode()


def unpack(text: str, count: int, where: str) -> array[float]:
    """The numbers that `pack` packed, as float32.

    Raises:
        InvalidRequest: there are not `count` of them, or one is not finite; names `where`.
    """
    try:
        raw = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{where}: this is not base64: {error}.") from None
    if len(raw) != 4 * count:
        raise InvalidRequest(f"{where}: {count} numbers of 4 bytes are expected, and there are {len(raw)} bytes.")
    numbers = array("f", raw)
    if sys.byteorder == "big":
        numbers.byteswap()
    if not all(map(math.isfinite, numbers)):
        raise InvalidRequest(f"{where}: a number in it is not finite.")
    return numbers


def _check_prior(prior: Prior) -> None:
    unpack(prior.mean, WIDTH, "prior.mean")
    if min(unpack(prior.scale, WIDTH, "prior.scale")) <= 0:
        raise InvalidRequest("prior.scale: every number must be above 0.")
    if not 2 <= len(prior.anchors) <= MOST_ANCHORS:
        raise InvalidRequest(f"prior.anchors: 2 to {MOST_ANCHORS} are expected, and there are {len(prior.anchors)}.")
    for place, anchor in enumerate(prior.anchors):
        unpack(anchor.weights, WIDTH, f"prior.anchors[{place}].weights")
        _check(f"prior.anchors[{place}]", {"ability": anchor.ability, "bias": anchor.bias})
    if any(low.ability >= high.ability for low, high in pairwise(prior.anchors)):
        raise InvalidRequest("prior.anchors: their abilities must rise.")
    near = prior.near
    if near is not None:
        if not 1 <= near.count <= MOST_CENTRES:
            raise InvalidRequest(f"prior.near.count is {near.count}: it must be between 1 and {MOST_CENTRES}.")
        unpack(near.centres, near.count * EMBEDDED, "prior.near.centres")
        _check("prior.near", {"inner": near.inner, "outer": near.outer}, at_least=0, at_most=2)
        if near.inner >= near.outer:
            raise InvalidRequest("prior.near: inner must be below outer.")


def _positive_definite(matrix: array[float], *, ridge: float) -> bool:
    """Whether a square matrix, made symmetric, with the ridge on its diagonal has a Cholesky factor. Some milliseconds
    at CONTEXT_WIDTH."""
    width = math.isqrt(len(matrix))
    factor: list[list[float]] = []
    for row in range(width):
        made: list[float] = []
        for column in range(row + 1):
            wanted = (matrix[row * width + column] + matrix[column * width + row]) / 2
            wanted += ridge if row == column else 0.0
            wanted -= sum(map(mul, made, factor[column] if column < row else made))
            if column < row:
                made.append(wanted / factor[column][column])
            elif wanted > 0:
                made.append(math.sqrt(wanted))
            else:
                return False
        factor.append(made)
    return True


def _check(
    where: str,
    values: Mapping[str, float | None],
    *,
    at_least: float = -math.inf,
    at_most: float = math.inf,
) -> None:
    for name, value in values.items():
        if value is None:
            continue
        if not math.isfinite(value):
            raise InvalidRequest(f"{where}: {name} is not a finite number.")
        if not at_least <= value <= at_most:
            bounds = f"at least {at_least:g}" if at_most == math.inf else f"between {at_least:g} and {at_most:g}"
            raise InvalidRequest(f"{where}: {name} is {value}: it must be {bounds}.")
