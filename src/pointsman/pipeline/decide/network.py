"""A policy that corrects the rules with a small network: one hidden layer over the request, scored against the arms.

With x what is known of the request, z what is known of an arm and u the arm's utility under the rules,

    h = [tanh(W (x − mean) / scale + b), 1]        score = u / τ + hᵀ M z        π = softmax(score)

z holds which of the models that the network was trained with the arm is, and its predicted success, cost and latency,
so that a model which came later is scored by these alone. M = 0 is the softmax of the rules' utilities: what the
network has learned is told apart from what the operator's weights, tiers and hints say, and these go on to hold.
"""

from __future__ import annotations

import math
import random
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from pointsman.core.decision import Candidate
from pointsman.core.errors import InvalidRequest
from pointsman.core.features import STRUCTURE, VERSION, WIDTH, decode, readable
from pointsman.core.request import Priority
from pointsman.core.signals import Intent, Signals

from .policy import Policy
from .predict import Arm

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

INTENTS = tuple(Intent)
PRIORITIES: tuple[Priority, ...] = ("balanced", "speed", "quality", "privacy", "cost")
INPUTS = WIDTH + len(INTENTS) + len(PRIORITIES) + 5
"""How many numbers `read_inputs` gives."""
ARM_FEATURES = 6
"""How many numbers `read_arm` gives."""
BOUND = 4.0
"""Standard deviations beyond which an input counts for no more: far from everything seen, the network stays calm."""


def read_inputs(signals: Signals) -> Floats:
    """(INPUTS,): the feature vector, or zeros where there is none, the intent, the priority and the request's shape."""
    import numpy as np

    x = np.zeros(INPUTS)
    if readable(signals.features):
        x[:WIDTH] = decode([signals.features])[0]
    else:
        x[WIDTH - len(STRUCTURE) + STRUCTURE.index("complexity")] = signals.complexity.score
    x[WIDTH + INTENTS.index(signals.intent)] = 1.0
    x[WIDTH + len(INTENTS) + PRIORITIES.index(signals.priority)] = 1.0
    conversation = signals.conversation
    x[-5:] = (
        math.log2(1 + signals.needs.prompt_tokens) / 16,
        signals.needs.tools,
        min(conversation.turn, 16) / 16,
        min(conversation.repeated_failures, 4) / 4,
        conversation.awaiting_tool_result,
    )
    return x


def read_arm(candidate: Candidate) -> tuple[float, ...]:
    """ARM_FEATURES numbers of about 1 at most: predicted success and its log-odds, the cost, whether it is unknown or
    nothing, the latency. All stand in the log, so that training reads what serving read."""
    held = min(max(candidate.quality, 0.01), 0.99)
    cost_micro_usd = candidate.cost_micro_usd
    return (
        candidate.quality,
        math.log(held / (1 - held)) / 4.6,
        math.log1p(cost_micro_usd or 0) / 14,
        float(cost_micro_usd is None),
        float(cost_micro_usd == 0),
        math.log1p(max(candidate.latency_seconds, 0.0)) / 5,
    )


class Network:
    """The arrays, and what they say.

    Args:
        models: ids, or bare names, of the arms that the network tells apart.
        mean, scale: (INPUTS,); an input of scale 0 has no say, for it never varied in training.
        hidden: (INPUTS, H) and bias: (H,).
        head: (H + 1, models + ARM_FEATURES), the M above; the last row is that of the constant.
        temperature: the τ above, in probability of success.
    """

    def __init__(
        self,
        *,
        models: Sequence[str],
        mean: Floats,
        scale: Floats,
        hidden: Floats,
        bias: Floats,
        head: Floats,
        temperature: float,
    ) -> None:
        self.models = tuple(models)
        self.mean, self.scale = mean, scale
        self.hidden, self.bias, self.head = hidden, bias, head
        self.temperature = temperature
        self._place = {model: place for place, model in enumerate(self.models)}

    def standard(self, inputs: Floats) -> Floats:
        """(n, INPUTS) as the hidden layer takes them."""
        import numpy as np

        inverse = np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0)
        return np.clip((inputs - self.mean) * inverse, -BOUND, BOUND)

    def arm(self, model: str, features: Sequence[float]) -> list[float]:
        """The z of an arm; `model` is an id, `provider:name`."""
        z = [0.0] * len(self.models) + list(features)
        place = self._place.get(model, self._place.get(model.partition(":")[2]))
        if place is not None:
            z[place] = 1.0
        return z

    def scores(self, standard: Floats, arms: Floats) -> Floats:
        """(n, m): the second term of the score; `standard` (n, INPUTS), `arms` (n, m, models + ARM_FEATURES)."""
        import numpy as np

        hidden = np.tanh(standard @ self.hidden + self.bias)
        wanted = hidden @ self.head[:-1] + self.head[-1]
        scored: Floats = np.einsum("nd,nmd->nm", wanted, arms)
        return scored


class NetworkPolicy:
    """Picks the arm that scores highest, and in a share of the requests draws one from the softmax.

    When little of the budget is left (tier low) the rules alone decide, for they put local models before all others.
    """

    def __init__(
        self,
        network: Network,
        *,
        share: float,
        version: str,
        base: Policy,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """
        Args:
            share: of the requests in which an arm is drawn.
            base: whose utilities are corrected.
            draw: uniform in [0, 1).
        """
        self.network = network
        self.share = share
        self._version = version
        self._base = base
        self._draw = draw

    @property
    def version(self) -> str:
        return self._version

    def rank(
        self, arms: Sequence[Arm], signals: Signals, *, preferred: frozenset[str] = frozenset()
    ) -> list[Candidate]:
        based = self._base.rank(arms, signals, preferred=preferred)
        if len(based) == 1 or signals.budget_tier == "low":
            return based
        import numpy as np

        network = self.network
        standard = network.standard(read_inputs(signals)[None])
        z = [network.arm(candidate.model, read_arm(candidate)) for candidate in based]
        utilities = np.array([candidate.utility for candidate in based])
        utilities += network.temperature * network.scores(standard, np.array([z]))[0]
        order = np.argsort(-utilities, kind="stable")  # the rules tell equal ones apart
        likely = np.exp((utilities - utilities[order[0]]) / network.temperature)
        propensities = self.share * likely / likely.sum()
        propensities[order[0]] += 1.0 - self.share
        picked = int(np.searchsorted(np.cumsum(propensities), self._draw() * propensities.sum(), side="right"))
        picked = min(picked, len(based) - 1)
        ranked = [picked, *(int(place) for place in order if place != picked)]
        return [
            msgspec.structs.replace(
                based[place], utility=float(utilities[place]), propensity=float(propensities[place])
            )
            for place in ranked
        ]


class NetworkArtefact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network as JSON; arrays are base64 of little-endian float32, row by row."""

    features: int
    """Version of the feature vectors that it reads."""
    models: tuple[str, ...]
    width: int
    """Of the hidden layer."""
    mean: str
    scale: str
    hidden: str
    bias: str
    head: str
    temperature: float = 0.1
    share: float = 0.1
    training: dict[str, Any] = {}
    """How it was made: for people, nothing reads it."""


def load_network(artefact: str | bytes, *, version: str, base: Policy) -> NetworkPolicy:
    """
    Raises:
        InvalidRequest: it is no network that this version can run.
    """
    try:
        read = msgspec.json.decode(artefact, type=NetworkArtefact)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"This is not a network: {error}.") from None
    if read.features != VERSION:
        raise InvalidRequest(f"The network reads feature vectors of version {read.features}, and these are {VERSION}.")
    if not 0 < read.width <= 1024 or not 1e-4 <= read.temperature <= 10 or not 0 <= read.share <= 1:
        raise InvalidRequest("width must be in 1…1024, temperature in 0.0001…10 and share in 0…1.")
    arms = len(read.models) + ARM_FEATURES
    network = Network(
        models=read.models,
        mean=_unpacked("mean", read.mean, INPUTS),
        scale=_unpacked("scale", read.scale, INPUTS),
        hidden=_unpacked("hidden", read.hidden, INPUTS, read.width),
        bias=_unpacked("bias", read.bias, read.width),
        head=_unpacked("head", read.head, read.width + 1, arms),
        temperature=read.temperature,
    )
    return NetworkPolicy(network, share=read.share, version=version, base=base)


def dump_network(network: Network, *, share: float, training: dict[str, Any]) -> str:
    """The artefact of a network."""
    tree = NetworkArtefact(
        features=VERSION,
        models=network.models,
        width=len(network.bias),
        mean=_packed(network.mean),
        scale=_packed(network.scale),
        hidden=_packed(network.hidden),
        bias=_packed(network.bias),
        head=_packed(network.head),
        temperature=network.temperature,
        share=share,
        training=training,
    )
    return msgspec.json.encode(tree).decode()


def _packed(array: Floats) -> str:
    return b64encode(array.astype("<f4").tobytes()).decode()


def _unpacked(name: str, text: str, *shape: int) -> Floats:
    import numpy as np

    try:
        raw = b64decode(text, validate=True)
    except ValueError:
        raise InvalidRequest(f"{name} of the network is not base64.") from None
    if len(raw) != 4 * math.prod(shape):
        raise InvalidRequest(f"{name} of the network has {len(raw)} bytes, not {4 * math.prod(shape)}.")
    array = np.frombuffer(raw, dtype="<f4").reshape(shape).astype(np.float64)
    if not np.isfinite(array).all():
        raise InvalidRequest(f"{name} of the network holds a number that is none.")
    return array
