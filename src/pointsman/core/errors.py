"""Every error that Pointsman raises on purpose, drawn once.

    PointsmanError
    ├── SettingsError              a setting that cannot be used; names key, value and mend
    ├── RequestError               the caller can mend it (4xx)
    │   ├── InvalidRequest         400; names the field
    │   │   ├── ContextTooLong     400; says by how much
    │   │   └── NoCapableModel     400; no model in the catalog can do what the request needs
    │   ├── Unauthenticated        401
    │   │   └── CallerKeyRefused   401; a provider refused the key that the caller brought for it
    │   ├── Forbidden              403
    │   │   └── PrivacyWall        403; local-only content was about to leave the machine
    │   ├── NotFound               404
    │   │   └── ModelNotFound      404; names close matches
    │   ├── MethodNotAllowed       405; the path exists
    │   ├── BodyTooLarge           413
    │   └── RateLimited            429; carries retry_after and how the limit stands
    │       ├── ProviderShort      429; what a provider allows all of us is used up; names the provider
    │       └── BudgetExceeded     429; a budget's cap would be exceeded, and no free model may step in
    ├── UpstreamError              what a provider did to us (502 when nothing is left to try)
    │   ├── UpstreamConnectError   could not be reached: refused, DNS, TLS
    │   │   └── EngineError        the embedded engine does not run; its code says what is missing
    │   │       └── EngineDied     died under the call, and is started again; carries retry_after
    │   ├── WeightsError           an embedded model's weights cannot be had; its code says why
    │   ├── CircuitOpen            503; failed too often lately, and is left alone for a while
    │   ├── NoHealthyModel         503; every model that could answer is away or left alone
    │   ├── UpstreamTimeout        504; one of connect, first_byte, between_bytes, total
    │   ├── UpstreamStatus         answered with an error status; body and Retry-After kept
    │   ├── UpstreamContextTooLong 400; counted more tokens in the prompt than its context holds
    │   ├── UpstreamLacks          400; has no word for something in the request, so it was not asked
    │   ├── UpstreamProtocolError  answered with something that is not the protocol
    │   └── UpstreamBroken         broke off after the first byte
    │       └── UpstreamClosed     closed the connection on the request, which it may have worked on
    ├── Overloaded                 503; a local queue is full; carries retry_after
    └── StoreError                 a database or file of ours failed
        ├── StoreUnavailable       503; the database does not answer, and may do so again
        └── StateUnavailable       503; the counters that replicas share do not answer

An error's docstring is its default message. One function per dialect maps errors to the wire
(`surfaces/openai/errors.py`). After the first byte of a stream the stream carries the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from .usage import LimitUse  # it loads msgspec, which `--help` does without


NO_RETRY = ((b"x-should-retry", b"false"),)
"""SDKs would else try again and again."""


class PointsmanError(Exception):
    """Something went wrong inside the gateway."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    code: str | None = "internal_error"
    param: str | None = None
    retry_after: float | None = None
    alternatives: tuple[str, ...] = ()
    """Names of models that could be asked instead."""
    plain: str | None = None
    """What whoever is no admin is told instead of a message that names addresses; None: the message."""
    decision_id: str | None = None
    """The decision-log entry that tells of it, once there is one."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """What the answer tells beside it, such as how limits stand."""

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(self.message)
        if code is not None:
            self.code = code
        if param is not None:
            self.param = param
        if retry_after is not None:
            self.retry_after = retry_after


class SettingsError(PointsmanError):
    """A setting cannot be used.

    Args:
        value: as it may be shown; None: there is none.
        mend: goes on with the sentence that the setting begins: "must be …", "is needed …".
    """

    code = "settings_error"

    def __init__(self, key: str, value: object, mend: str) -> None:
        self.key, self.value, self.mend = key, value, mend
        super().__init__(f"{key} {mend}" if value is None else f"{key} = {value!r}: {mend}")


class RequestError(PointsmanError):
    """The request cannot be answered as it is."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class InvalidRequest(RequestError):
    """The request is malformed."""


class ReadTooSlowly(RequestError):
    """The answer was not read within the time that the whole request may take."""

    status = 408
    code = "read_too_slowly"


class ContextTooLong(InvalidRequest):
    """The prompt is longer than every model's context window."""

    code = "context_length_exceeded"
    param = "messages"


class NoCapableModel(InvalidRequest):
    """No model in the catalog can do what this request needs."""

    code = "no_capable_model"


class Unauthenticated(RequestError):
    """A valid API key is needed: send it as `Authorization: Bearer KEY`."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class CallerKeyRefused(Unauthenticated):
    """The model's provider refused the key that came with the request."""

    code = "caller_key_refused"


class Forbidden(RequestError):
    """This is not allowed."""

    status = 403
    type = "permission_error"
    code = "forbidden"


class PrivacyWall(Forbidden):
    """This request holds content that must not leave the machine, and the model is not local."""

    code = "privacy_local_only"


class NotFound(RequestError):
    """There is no such thing."""

    status = 404
    code = "not_found"


class ModelNotFound(NotFound):
    """There is no such model."""

    code = "model_not_found"
    param = "model"


class MethodNotAllowed(RequestError):
    """This path does not take this method."""

    status = 405
    code = "method_not_allowed"


class BodyTooLarge(RequestError):
    """The request body is too large."""

    status = 413
    code = "request_too_large"


class RateLimited(RequestError):
    """Too many requests."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    tier: str | None = None
    """The caller's tier, where that set the limit."""
    refused_by: LimitUse | None = None
    """The limit that stood in the way."""
    usage: tuple[LimitUse, ...] = ()
    """Every limit that was looked at, that one too."""

    @classmethod
    def by(
        cls,
        refused_by: LimitUse,
        message: str,
        *,
        tier: str,
        retry_after: float,
        usage: Sequence[LimitUse],
        headers: Sequence[tuple[bytes, bytes]],
    ) -> RateLimited:
        """The error for a caller whose own limit is reached."""
        error = cls(message, retry_after=retry_after)
        error.tier, error.refused_by = tier, refused_by
        error.usage, error.headers = tuple(usage), tuple(headers)
        return error


class ProviderShort(RateLimited):
    """What the model's provider allows this installation is used up for now."""

    code = "provider_limit_reached"

    def __init__(self, provider: str, message: str, *, retry_after: float) -> None:
        self.provider = provider
        super().__init__(message, retry_after=retry_after)


class BudgetExceeded(RateLimited):
    """The budget does not allow this request."""

    type = "insufficient_quota"
    code = "budget_exceeded"
    headers = NO_RETRY


class Overloaded(PointsmanError):
    """The local model's queue is full; try again shortly."""

    status = 503
    type = "overloaded_error"
    code = "overloaded"
    retry_after = 2.0


class StoreError(PointsmanError):
    """A store of the gateway failed."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The database does not answer; try again shortly."""

    status = 503
    code = "store_unavailable"
    retry_after = 1.0


class UpstreamError(PointsmanError):
    """The model's provider failed."""

    status = 502
    type = "upstream_error"
    code = "upstream_error"
    retryable: bool = True
    """Whether another attempt, at this model or the next of the plan, can help."""
    ANYBODY: ClassVar[str] = "The model's provider"
    """How messages begin where it does not matter to the reader which one it was, or is not known yet."""

    def by(self, provider: str) -> None:
        """Say for admins which provider it was; everybody else is told what they were before."""
        if self.message.startswith(self.ANYBODY):
            self.plain = self.plain or self.message
            self.message = provider + self.message.removeprefix(self.ANYBODY)
            self.args = (self.message,)


class UpstreamConnectError(UpstreamError):
    """The model's provider could not be reached."""

    code = "upstream_unreachable"


class OutOfFiles(UpstreamConnectError):
    """The gateway has as many files open as the system lets it, so that nobody could be asked; try again shortly."""

    status = 503
    type = "overloaded_error"
    code = "overloaded"
    retry_after = 2.0


class EngineError(UpstreamConnectError):
    """The embedded engine does not run."""

    code = "engine_unavailable"


class EngineDied(EngineError):
    """The embedded engine died in the middle of its work, and is started again."""

    retry_after = 1.0
    counts: bool = True
    """Whether it is the one that counts against the model: of all calls that one death ended, only one does."""


class WeightsError(UpstreamError):
    """The weights of an embedded model cannot be had."""

    code = "weights_unavailable"


class CircuitOpen(UpstreamError):
    """The model failed too often lately and is left alone for a while."""

    status = 503
    code = "circuit_open"


class NoHealthyModel(UpstreamError):
    """Every model that could answer is down."""

    status = 503
    code = "no_healthy_model"
    models: tuple[str, ...] = ()
    """Their ids."""


class UpstreamTimeout(UpstreamError):
    """The model's provider took too long."""

    status = 504
    code = "upstream_timeout"

    def __init__(self, phase: str, seconds: float) -> None:
        self.phase, self.seconds = phase, seconds
        super().__init__(f"The model's provider took too long ({phase.replace('_', ' ')}: {seconds:g} s).")

    def allowed_by_caller(self, seconds: float) -> UpstreamTimeout:
        """The same, where it was the caller who left no more time for the whole."""
        self.message = f"The {seconds:g} s that the request allowed (x-pointsman-timeout) were over before its answer."
        self.args = (self.message,)
        return self


class UpstreamStatus(UpstreamError):
    """The model's provider answered with an error."""

    code = "upstream_status"

    RETRYABLE: ClassVar[frozenset[int]] = frozenset({401, 402, 403, 404, 408, 409, 429})
    """Beside every 5xx. 401 to 404 cannot be mended by the same model, but the next of the plan may do."""
    LONGEST_WAIT: ClassVar[float] = 300.0
    """Seconds that a Retry-After is believed, and told on: some name the end of the month."""
    MENDS: ClassVar[dict[int, str]] = {
        401: "it does not take the key; check providers.{}.api_key",
        402: "its account has nothing left to pay with; look there, or set another providers.{}.api_key",
        403: "the key may not do this; check providers.{}.api_key, and what its account is allowed",
        404: "it does not know the model or the path; check the model's name and providers.{}.base_url",
    }
    """What an admin may do; `{}` is the provider's name."""

    def __init__(self, upstream_status: int, body: bytes, *, retry_after: float | None = None) -> None:
        self.upstream_status, self.body = upstream_status, body
        self.retryable = upstream_status >= 500 or upstream_status in self.RETRYABLE
        if upstream_status == 402:
            self.headers = NO_RETRY
        wait = None if retry_after is None else min(retry_after, self.LONGEST_WAIT)
        super().__init__(f"The model's provider answered {upstream_status}.", retry_after=wait)

    def named(self, provider: str, word: str | None, *, ours: bool) -> None:
        """Say for admins which provider it was, and the setting that mends it; everybody else is told neither.

        Args:
            word: the upstream's own for what was wrong.
            ours: whether it was asked with our key, and not with the caller's.
        """
        self.plain = self.plain or self.message
        mend = self.MENDS.get(self.upstream_status) if ours else None
        self.message = f"{provider} answered {self.upstream_status}{f' ({word})' if word else ''}"
        self.message += f": {mend.format(provider)}." if mend else "."
        self.args = (self.message,)

    @property
    def asks_to_wait(self) -> bool:
        """Whether the provider says that it will refuse for a while, and for how long."""
        return self.upstream_status in (429, 503, 529) and bool(self.retry_after)


class UpstreamContextTooLong(UpstreamError):
    """The prompt is longer than the model's context."""

    status = 400
    type = "invalid_request_error"
    code = "context_length_exceeded"
    param = "messages"

    def __init__(self, model: str, prompt_tokens: int, context: int) -> None:
        self.prompt_tokens, self.context = prompt_tokens, context
        super().__init__(
            f"The prompt has {prompt_tokens} tokens and {model} has a context of {context}: shorten it by at least"
            f" {prompt_tokens - context + 1} tokens, or use a model with a longer context."
        )


class UpstreamLacks(UpstreamError):
    """The model's provider does not take something that the request holds. Nothing was sent.

    Args:
        param: the field.
        reason: what stands behind the provider's name in the message, such as `does not take it`.
        provider: its name, once it is known.
    """

    status = 400
    type = "invalid_request_error"
    code = "unsupported_parameter"

    def __init__(self, param: str, reason: str = "does not take it", provider: str = "The model's provider") -> None:
        self.reason = reason
        super().__init__(f"Invalid `{param}`: {provider} {reason}.", param=param)

    def at(self, provider: str) -> UpstreamLacks:
        """The same of a named provider."""
        return UpstreamLacks(self.param or "", self.reason, provider)


class UpstreamProtocolError(UpstreamError):
    """The model's provider answered with something that is not its protocol."""

    code = "upstream_protocol_error"


class UpstreamBroken(UpstreamError):
    """The model's provider broke off in the middle of its answer."""

    code = "upstream_broken"

    def by(self, provider: str) -> None:
        super().by(provider)
        if provider not in self.message:  # it names an address
            self.message = f"{provider}: {self.message}"
            self.args = (self.message,)


class UpstreamClosed(UpstreamBroken):
    """The model's provider closed the connection before it answered."""
