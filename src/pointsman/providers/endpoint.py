"""One upstream's address and headers: what every provider over HTTP needs to make a call and judge its head."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from urllib.parse import urlsplit

import msgspec

from pointsman.core.errors import SettingsError, UpstreamError, UpstreamProtocolError, UpstreamStatus
from pointsman.core.locality import Destination
from pointsman.core.mask import Clears
from pointsman.core.ports import Timeouts
from pointsman.dialects.openai.errors import status_of, word_of
from pointsman.transport.http import Headers, Origin, Outbound, UpstreamRequest, UpstreamResponse, header
from pointsman.transport.outgoing import FixedHeaders

log = logging.getLogger(__name__)

MAX_ERROR_BODY = 64 * 1024
MAX_ANSWER = 64 * 1024 * 1024
MAX_LIST = 8 * 1024 * 1024
MAX_MODELS = 5000
MAX_NAME = 200
SHORTEST_SECRET = 8
_errors_decoder = msgspec.json.Decoder(list[msgspec.Raw])
OF_THE_REQUEST = frozenset({400, 408, 409, 413, 422, 429})
"""Statuses that say nothing of the settings or of the provider's health."""
LOG_SECONDS = 60.0
"""Between lines of the log about one provider's errors."""
SETTLE_SECONDS = 0.1
"""How long the end of a body may take to follow an answer's own end, so that the connection can be used again."""
ASKING = Timeouts(connect=2.0, first_byte=5.0, between_bytes=5.0, total=10.0)
"""For lists, versions and health, which no request waits for."""


_USUAL_MEDIA = {
    b"application/json": "application/json",
    b"text/event-stream": "text/event-stream",
    b"text/event-stream; charset=utf-8": "text/event-stream",
}


class Endpoint:
    """Sends requests to one base address.

    Args:
        name: the provider's, for messages.
        base_url: `http://` or `https://`, with a path and a query if the upstream wants them on every call.
        headers: sent with every call; names in any case.
        secrets: strings that no error may hold; they are cut out of upstream error bodies.

    Raises:
        SettingsError: the address or a header cannot be used.
    """

    def __init__(
        self, name: str, *, base_url: str, outbound: Outbound, headers: Mapping[str, str], secrets: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.shown_url, self.origin, self._path, self._query = _address(name, base_url)
        self._outbound = outbound
        self._headers = _encoded(name, {"user-agent": "pointsman", "accept-encoding": "identity", **headers})
        self._fixed: dict[tuple[bytes, bool], FixedHeaders] = {}
        """Of calls without headers of their own, by the media type that is accepted and whether there is no body."""
        self._logs_at = 0.0
        self._secrets = tuple(secret.encode() for secret in secrets if len(secret) >= SHORTEST_SECRET)

    def send(
        self,
        method: str,
        path: str,
        *,
        destination: Destination,
        local_only: bool,
        timeouts: Timeouts,
        body: bytes = b"",
        accept: bytes = b"application/json",
        clears: Clears | None = None,
        on_resend: Callable[[], None] | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        from_root: bool = False,
    ) -> Awaitable[UpstreamResponse]:
        """Send a request; comes when the answer's head has arrived, whatever its status.

        Args:
            headers: of this call alone, in place of those of the same name; an empty value leaves one out.
            from_root: whether the path stands on the host itself, not under the base address.

        Raises:
            PrivacyWall, UpstreamError: as `Outbound.send`.
        """
        sent: Headers | None = None if headers else self._fixed.get((accept, not body))
        if sent is None:
            sent = [(b"accept", accept), *self._headers]
            if headers:
                own = {name.lower().encode() for name in headers}
                given = _encoded(self.name, {name: value for name, value in headers.items() if value})
                sent = [*(pair for pair in sent if pair[0] not in own), *given]
            if body:
                sent = [(b"content-type", b"application/json"), *sent]
            if not headers:
                sent = self._fixed[accept, not body] = FixedHeaders(sent)
        target = path if from_root else self._path + path
        if self._query:
            target += f"{'&' if '?' in path else '?'}{self._query}"
        return self._outbound.send(
            UpstreamRequest(
                destination=destination,
                local_only=local_only,
                origin=self.origin,
                method=method,
                target=target,
                headers=sent,
                body=body,
                timeouts=timeouts,
                clears=clears,
                on_resend=on_resend,
            )
        )

    async def accepted(self, response: UpstreamResponse, *secrets: str) -> str:
        """Make sure that an answer is a 200 that can be read; returns its media type in lower case.

        Args:
            secrets: of this call alone, to be cut out of an error's body too.

        Raises:
            UpstreamStatus: an error status, 402 where the body says that nothing is left to pay with; the body is kept
                up to 64 KiB, and Retry-After in seconds.
            UpstreamProtocolError: a redirect, a status that says nothing, an encoding nobody asked for, a web page.
        """
        if response.status != 200:
            raise await self._refusal(response, *secrets)
        told = dict(reversed(response.headers))
        encoding = told.get(b"content-encoding")
        if encoding and encoding.lower() != b"identity":
            raise UpstreamProtocolError(f"{self.name} answered in an encoding that was not asked for.")
        kind = told.get(b"content-type", b"")
        return _USUAL_MEDIA.get(kind) or self._media(kind)

    async def _refusal(self, response: UpstreamResponse, *secrets: str) -> UpstreamError:
        """What an answer of another status than 200 says."""
        status = response.status
        if 300 <= status < 400:
            return UpstreamProtocolError(
                f"{self.name} answered {status}, a redirect, which is never followed; check"
                f" providers.{self.name}.base_url ({self.shown_url})."
            )
        if status >= 400:
            body = await _bounded(response)
            said = UpstreamStatus(status_of(status, body), body, retry_after=retry_after(response.headers))
            return self.cleaned(said, *secrets)
        return UpstreamProtocolError(f"{self.name} answered {status} where 200 was expected.")

    def _media(self, kind: bytes) -> str:
        """The media type in a content type. Raises UpstreamProtocolError: it is that of a web page."""
        media = kind.decode("latin-1").partition(";")[0].strip().lower()
        if media in ("text/html", "application/xhtml+xml"):
            raise UpstreamProtocolError(
                f"{self.name} answered with a web page; check providers.{self.name}.base_url ({self.shown_url})."
            )
        return media

    def cleaned(self, error: UpstreamStatus, *secrets: str) -> UpstreamStatus:
        """The error, which names this provider, without our keys or these in the body: some upstreams quote them.

        Args:
            secrets: of the caller, in place of ours.
        """
        for secret in (*self._secrets, *(secret.encode() for secret in secrets if len(secret) >= SHORTEST_SECRET)):
            error.body = error.body.replace(secret, b"[removed]")
        error.named(self.name, word_of(error.body), ours=not secrets)
        if not secrets and error.upstream_status not in OF_THE_REQUEST and time.monotonic() >= self._logs_at:
            self._logs_at = time.monotonic() + LOG_SECONDS
            log.warning("%s", error.message)
        return error

    async def ask(self, path: str, *, local: bool, body: bytes = b"") -> bytes:
        """A small JSON answer about the upstream itself, whole: POSTed when there is a body.

        Raises:
            UpstreamError: it could not be had.
        """
        response = await self.send(
            "POST" if body else "GET",
            path,
            destination=Destination(f"{self.name}:{path}", local=local),
            local_only=False,
            timeouts=ASKING,
            body=body,
        )
        try:
            await self.accepted(response)
            return await response.read(MAX_LIST)
        finally:
            response.close()


async def settled(response: UpstreamResponse) -> None:
    """Read what is left of a body behind its answer, if it is there; whatever goes wrong, the answer is whole."""
    if response.ended:
        return
    late = asyncio.get_running_loop().call_later(SETTLE_SECONDS, response.close)
    try:
        async for _ in response:
            pass
    except UpstreamError:
        pass
    finally:
        late.cancel()


def retry_after(headers: Headers, now: float | None = None) -> float | None:
    """Seconds that an upstream wants us to wait; None when it does not say, or not in a readable way.

    Reads `retry-after-ms`, and `retry-after` as seconds or as an HTTP date (against `now`, seconds since the epoch);
    LiteLLM hands on its provider's under a name of its own.
    """
    milliseconds = _number(header(headers, b"retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = header(headers, b"retry-after") or header(headers, b"llm_provider-retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        moment = parsedate_to_datetime(value.decode("latin-1")).timestamp()
    except (ValueError, OverflowError):
        return None
    return _told(max(0.0, moment - (time.time() if now is None else now)))


def unreadable(name: str, what: str, error: Exception) -> UpstreamError:
    """The error for an answer about the upstream itself that is not what its API promises."""
    return UpstreamProtocolError(f"{name} answered with {what} that cannot be read: {error}.")


def _number(value: bytes | None) -> float | None:
    try:
        number = float(value or b"")
    except ValueError:
        return None
    return _told(number)


def _told(seconds: float) -> float | None:
    return seconds if 0 <= seconds < 1e9 else None


async def _bounded(response: UpstreamResponse) -> bytes:
    """An error's body as far as it is wanted; what cannot be read of it is not worth another error."""
    body = b""
    try:
        async for block in response:
            body += block
            if len(body) >= MAX_ERROR_BODY:
                break
    except UpstreamError:
        pass
    return _one(body[:MAX_ERROR_BODY])


def _one(body: bytes) -> bytes:
    """An error that comes as a list of one, as Gemini's do, as that one."""
    if not body.lstrip().startswith(b"["):
        return body
    try:
        listed = _errors_decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return body
    return bytes(listed[0]) if listed else body


def origin_of(name: str, base_url: str) -> Origin:
    """Where a provider of this address is asked. Raises SettingsError."""
    return _address(name, base_url)[1]


def _address(name: str, base_url: str) -> tuple[str, Origin, str, str]:
    key = f"providers.{name}.base_url"
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:  # the address may hold a password: it is not shown
        raise SettingsError(key, "…", "is no address; check the host and the port") from None
    if parts.username or parts.password:
        raise SettingsError(key, "…", f"holds a user name or password; put the key in providers.{name}.api_key")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(key, base_url.partition("?")[0], "must be an http:// or https:// address")
    if not base_url.isascii() or any(character <= " " for character in base_url):
        raise SettingsError(
            key, base_url.partition("?")[0], "holds characters that an address may not; percent-encode them"
        )
    port = port or (443 if parts.scheme == "https" else 80)
    shown = f"{parts.scheme}://{parts.netloc}{parts.path}"
    origin = Origin(scheme=parts.scheme, host=parts.hostname, port=port)
    return shown, origin, parts.path.rstrip("/"), parts.query


def _encoded(name: str, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    encoded = []
    for key, value in headers.items():
        value = value.strip()
        fine = value.isascii() and value.isprintable() and key.replace("-", "").replace("_", "").isalnum()
        if not fine or not key.isascii():
            raise SettingsError(
                f"providers.{name}.headers.{key}", "…", "a header's name and value must be printable ASCII"
            )
        encoded.append((key.lower().encode(), value.encode()))
    return encoded
