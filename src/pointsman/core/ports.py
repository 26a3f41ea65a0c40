"""The protocols between the parts. Stages take these, never a concrete provider or store."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from .caller import Caller
from .catalog import Catalog, ModelCard
from .credential import Credential
from .decision import Decision
from .errors import PointsmanError
from .events import Event
from .figures import Figure
from .instances import InstanceStanding
from .mask import Clears
from .outcome import Feedback, Outcome
from .queueing import Claim
from .request import ChatRequest
from .signals import Needs


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Seconds allowed for each phase of an upstream call.

    `first_byte` runs from the request's end to the first byte of the answer's body, headers included.
    """

    connect: float = 5.0
    first_byte: float = 120.0
    between_bytes: float = 60.0
    total: float = 600.0


class ChatCall(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at one model."""

    card: ModelCard
    request: ChatRequest
    local_only: bool
    timeouts: Timeouts
    clears: Clears | None = None
    """Given when `request` is a redacted copy: the check without which it may not leave."""
    credential: Credential | None = None
    """The caller's own key for this provider, used in place of ours for this call alone; never kept."""
    on_resend: Callable[[], None] | None = None
    """Told when the request is sent once more, because the idle connection that it was sent on had been closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether a provider answers, in words for people."""

    ok: bool
    detail: str
    mend: str = ""
    instances: tuple[InstanceStanding, ...] = ()
    """Of a provider of several servers: how each of them fares."""


class Provider(Protocol):
    """A way out to models. `name` is the part before the colon of its models' ids."""

    name: str

    async def discover(self) -> Sequence[ModelCard]:
        """The models that it serves now. Raises UpstreamError when it cannot be asked."""

    def chat(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """Answer one request: `Frames` as they come when `call.request.stream`, else one `Body`.

        The first event comes only after the upstream has accepted the request, so an error before it can fall back.
        Closing the generator cancels the upstream call. Raises UpstreamError, Overloaded, PrivacyWall.
        """

    async def health(self) -> Health: ...

    async def close(self) -> None: ...


class Completes(Protocol):
    """A provider some of whose models have the capability `completion`."""

    def complete(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """Answer a request of kind `completion`, as `Provider.chat` does a chat; frames and body are OpenAI's
        `text_completion` objects."""


class Embeds(Protocol):
    """A provider some of whose models have the capability `embeddings`."""

    def embed(self, call: ChatCall) -> AsyncGenerator[Event, None]:
        """Answer a request of kind `embeddings`: one `Body` with OpenAI's list of embeddings as floats."""


class Share(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an attempt took of what its provider allows everybody together."""

    provider: str
    tokens: int
    """As estimated."""


class Throttle(Protocol):
    """What providers allow the installation as a whole. Asked before every attempt."""

    async def take(self, card: ModelCard, needs: Needs, tier: str | None) -> Share | None:
        """Take what one attempt is expected to use; None where the provider has no limit.

        Args:
            tier: the caller's; it says who goes first when little is left.

        Raises:
            ProviderShort: too little is left for this tier.
            StateUnavailable: the counters cannot be reached, and the settings say to refuse then.
        """

    def settle(self, share: Share, *, sent: bool, tokens: int | None) -> None:
        """Correct the estimate, or give everything back where nothing was sent. Returns at once."""

    def wait(self, card: ModelCard, seconds: float) -> None:
        """The provider asked that this model be left alone for so long."""

    def waiting(self, card: ModelCard) -> float:
        """Seconds for which this model should still be left alone; 0: none."""


class Breakers(Protocol):
    """Circuit breakers of models and their providers. Asked before every attempt; never waits."""

    def admit(self, card: ModelCard) -> float:
        """0: the model may be asked now, and `told` is called when that has ended. Otherwise the seconds for which its
        circuit, or its provider's, is likely to stay open. While it is half open few attempts pass, as probes."""

    def told(self, card: ModelCard, error: PointsmanError | None, seconds: float | None) -> None:
        """How an admitted attempt ended.

        Args:
            error: what it failed with; None: it did not.
            seconds: to the first byte of the answer; None with no error: nothing was learned, as when the caller left.
        """

    def opened(self) -> Mapping[str, str]:
        """Model id → why it is not asked now. One whose circuit is ready for a probe is not among them."""


class Line(Protocol):
    """The slots of an engine, and the queue before them."""

    async def enter(self, claim: Claim) -> Callable[[], None]:
        """Wait for a slot; returns what gives it back, to be called once. Whoever is cancelled leaves the queue.

        Raises:
            Overloaded: the queue is full, or the wait is too long.
        """


class Queues(Protocol):
    """Queues before engines that give a known number of answers at once."""

    def line(self, card: ModelCard) -> Line | None:
        """Where an attempt at this model waits for its turn; None: it need not."""

    def waits(self, key_id: str | None, tier: str | None) -> Mapping[str, float]:
        """Provider or model id → seconds that a request of this key would wait now; those that need not are left out.

        Args:
            tier: the caller's; it says how large a share its key has.
        """


class CatalogSource(Protocol):
    """Where a stage reads the models that are known now."""

    @property
    def catalog(self) -> Catalog: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatus:
    """How the decision log fares, for the doctor and the health report."""

    ok: bool
    """Whether the last write went through."""
    pending: int
    """Items that wait in memory to be written."""
    dropped: int
    """Items lost since the start, because they could not be written or too many waited."""
    last_error: str | None = None
    """What went wrong last, with the mend; kept after a recovery."""
    spooled: int = 0
    """Items that lie on disk until the database takes them."""


class DecisionLog(Protocol):
    """Where decisions, outcomes and feedback are kept. Writing never blocks and never raises into a request."""

    def decided(self, decision: Decision, *, prompt: bytes | None) -> None:
        """Queue a decision; `prompt` is the messages as JSON where the privacy setting allows keeping them."""

    def ended(self, decision_id: str, outcome: Outcome) -> None: ...

    async def get(self, identifier: str, *, caller: Caller | None = None) -> dict[str, Any] | None:
        """The whole record for a decision id or an answer's id: `decision`, `outcome`, `feedback`; None when unknown.

        Sees what was queued before the call. With a `caller`, only what that caller may see. Upstreams do not promise
        that their ids are unique (some draw from a thousand): of several answers with one id the latest is meant.

        Raises:
            StoreError: the log cannot be read.
        """

    async def recent(self, limit: int, *, caller: Caller | None = None) -> list[dict[str, Any]]:
        """The latest records, newest first, as `get` gives them."""

    async def figures(self, *, since: float, most: int, candidates: bool = False) -> list[Figure]:
        """Requests of everybody, newest first: at most `most` since then (seconds since the epoch).

        Raises:
            StoreError: the log cannot be read.
        """

    async def feedback(self, feedback: Feedback) -> None:
        """Keep feedback for a decision, replacing earlier feedback for it; written when this returns.

        Raises:
            StoreError: it could not be written, or there is no such decision.
        """

    def status(self) -> LogStatus: ...

    async def close(self) -> None: ...


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch, UTC; may jump."""

    def monotonic(self) -> float:
        """Seconds for measuring durations; never jumps."""


class SystemClock:
    """The machine's own clocks. Asked some fifteen times a request, so nothing stands between."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
