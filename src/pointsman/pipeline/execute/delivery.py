"""What the caller of one request has got so far, over all attempts, and what it has come to when no attempt is left."""

from __future__ import annotations

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import PointsmanError, ProviderShort, UpstreamConnectError, UpstreamStatus
from pointsman.core.events import Event, Usage
from pointsman.core.mask import Mask
from pointsman.core.outcome import Attempt
from pointsman.core.request import ChatRequest
from pointsman.core.trail import Step

from .splice import Splice


class Delivery:
    """
    Args:
        splice: whether an answer that broke off may be gone on with.
    """

    splice: Splice | None = None
    begun = False
    """Whether the caller has got anything."""
    kept: list[Event] | None = None
    """A whole answer that was not convincing, for the case that nobody better answers."""
    step: Step | None = None
    """The attempt whose answer is told; None: that of the model that is asked now has not begun."""
    _failure: PointsmanError | None = None
    _broke: PointsmanError | None = None

    def __init__(self, request: ChatRequest, mask: Mask | None, *, splice: bool) -> None:
        self._request = request
        self._mask = mask
        self.splices = splice and request.stream and request.kind == "chat"
        """Whether a broken answer to this request may be gone on with."""

    @property
    def error(self) -> PointsmanError | None:
        """What to tell the caller when nobody is left: what broke off an answer that was begun, else the failure that
        says most."""
        return self._broke or self._failure

    @property
    def goes_on(self) -> bool:
        """Whether the model that was asked last was to go on with a text that another had begun."""
        return self.splice is not None and self.splice.goes_on

    def joins(self, *, last: bool) -> Splice | None:
        """What joins the next attempt to what was told; None: nothing does.

        Args:
            last: nobody could go on after this attempt, so that nothing need be held back for that.
        """
        if not self.splices:
            return None
        if not self.begun or self.splice is None:  # what was held back of a failed attempt is nobody's
            self.splice = Splice(self._request, self._mask)
        if last:
            self.splice.holds = False
        return self.splice

    def turns_to(self, card: ModelCard) -> bool:
        """Whether a model may be asked next: to answer, or to go on where an answer was begun."""
        self.step = None
        return not self.begun or (self.splice is not None and self.splice.can_go_on(card))

    def failed(self, error: PointsmanError, *, asked: bool = True) -> None:
        """An attempt failed, or was not even made."""
        if self.begun:
            if asked and self._broke is None:
                self._broke = error
        elif isinstance(error, ProviderShort):  # of all that are short, the one that will soonest do
            short = isinstance(self._failure, ProviderShort)
            if not short or _wait(error) < _wait(self._failure):
                self._failure = error
        elif asked or self._failure is None:
            self._failure = error

    def gone(self, model: str) -> None:
        """A model has left the catalog since the decision."""
        self.failed(UpstreamConnectError(f"{model} has left the catalog."), asked=False)

    def refused(self, error: PointsmanError) -> bool:
        """Whether a model that was to go on by prefill says that it will not take that: with a 500 as well, as servers
        do whose template stumbles over it. One that is sick says the same when it is asked in words."""
        prefilled = self.splice is not None and self.splice.prefilled
        return prefilled and isinstance(error, UpstreamStatus) and (not error.retryable or error.upstream_status == 500)

    def rest(self, attempt: Attempt | None) -> Event | None:
        """What is left to tell of an answer that broke off and needs no other model; None: it does.

        Args:
            attempt: the last.
        """
        if not self.begun or self.splice is None:
            return None
        usage = None
        if attempt is not None and attempt.prompt_tokens is not None:
            usage = Usage(attempt.prompt_tokens, attempt.completion_tokens or 0)
        return self.splice.whole(usage)


def _wait(error: PointsmanError | None) -> float:
    return (error.retry_after if error is not None else None) or 0.0
