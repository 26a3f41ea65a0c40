"""A policy that corrects the rules with a small network: one hidden layer over the request, scored against the arms.

With x what is known of the request, z what is known of an arm and u the arm's utility under the rules,

    h = [tanh(W (x − mean) / scale + b), 1]        score = u / τ + hᵀ M z        π = softmax(score)

z holds which of the models that the network was trained with the arm is, and its predicted success, cost and latency,
so that a model which came later is scored by these alone. M = 0 is the softmax of the rules' utilities: what the
network has learned is told apart from what the operator's weights, tiers and hints say, and these go on to hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from pointsman.core.decision import Candidate
from pointsman.core.errors import InvalidRequest
from pointsman.core.features import STRUCTURE, VERSION, WIDTH, decode, readable
from pointsman.core.request import Priority
from pointsman.core.signals import Intent, Signals

from .explore import Allowance, extra
from .learned.artefact import pack, unpack
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
        models: labels of the arms that the network tells apart, with their provider or without.
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

    def arm(self, name: str, features: Sequence[float]) -> list[float]:
        """The z of the arm of this `label`. A model's efforts count as the model where the network knows no better."""
        z = [0.0] * len(self.models) + list(features)
        model = name.partition("#")[0]
        names = (name, name.partition(":")[2], model, model.partition(":")[2])
        place = next((self._place[found] for found in names if found in self._place), None)
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
    """Thinks the arm best that scores highest; with an allowance an arm is drawn from the softmax, among those that the
    allowance can pay for and whose price is known.

    When little of the budget is left (tier low) the rules alone decide, for they put local models before all others; so
    do they under a quality floor, which asks for the cheapest model that keeps it.
    """

    def __init__(self, network: Network, *, version: str, base: Policy) -> None:
        """
        Args:
            base: whose utilities are corrected.
        """
        self.network = network
        self._version = version
        self._base = base

    @property
    def version(self) -> str:
        return self._version

    def rank(
        self,
        arms: Sequence[Arm],
        signals: Signals,
        *,
        preferred: frozenset[str] = frozenset(),
        allowance: Allowance | None = None,
    ) -> list[Candidate]:
        based = self._base.rank(arms, signals, preferred=preferred)
        if len(based) == 1 or signals.budget_tier == "low" or signals.quality_floor is not None:
            return based
        import numpy as np

        network = self.network
        standard = network.standard(read_inputs(signals)[None])
        z = [network.arm(label(candidate), read_arm(candidate)) for candidate in based]
        utilities = np.array([candidate.utility for candidate in based])
        utilities += network.temperature * network.scores(standard, np.array([z]))[0]
        order = np.argsort(-utilities, kind="stable")  # the rules tell equal ones apart
        best = based[int(order[0])]
        propensities = np.zeros(len(based))
        if allowance is not None:
            costs = [extra(candidate.cost_micro_usd, best.cost_micro_usd) for candidate in based]
            likely = np.exp((utilities - utilities[order[0]]) / network.temperature)
            likely *= np.array(costs) <= allowance.micro_usd
            # What an arm of unknown price costs cannot be kept account of.
            unpriced = {arm.card.id for arm in arms if arm.cost_micro_usd is None and not arm.card.local}
            likely[[candidate.model in unpriced for candidate in based]] = 0.0
            likely[order[0]] = 1.0
            propensities = allowance.share * likely / likely.sum()
        propensities[order[0]] = 1.0 - (propensities.sum() - propensities[order[0]])
        return [
            msgspec.structs.replace(
                based[place], utility=float(utilities[place]), propensity=float(propensities[place])
            )
            for place in order.tolist()
        ]


def label(candidate: Candidate) -> str:
    """Names an arm: its model, and the reasoning effort that the model is asked for."""
    return candidate.model if candidate.effort is None else f"{candidate.model}#{candidate.effort}"


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
    if not 0 < read.width <= 1024 or not 1e-4 <= read.temperature <= 10:
        raise InvalidRequest("width must be in 1…1024, and temperature in 0.0001…10.")
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
    return NetworkPolicy(network, version=version, base=base)


def dump_network(network: Network) -> str:
    """The artefact of a network."""
    tree = NetworkArtefact(
        features=VERSION,
        models=network.models,
        width=len(network.bias),
        mean=pack(network.mean.ravel().tolist()),
        scale=pack(network.scale.ravel().tolist()),
        hidden=pack(network.hidden.ravel().tolist()),
        bias=pack(network.bias.ravel().tolist()),
        head=pack(network.head.ravel().tolist()),
        temperature=network.temperature,
    )
    return msgspec.json.encode(tree).decode()


def _unpacked(name: str, text: str, *shape: int) -> Floats:
    import numpy as np

    return np.frombuffer(unpack(text, math.prod(shape), name), dtype=np.float32).reshape(shape).astype(np.float64)
