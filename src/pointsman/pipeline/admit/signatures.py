"""Signed requests: proof that a request comes from the holder of a key's signing secret, is whole, and is new.

The signature is the HMAC-SHA256, in hex, of these seven lines joined by line feeds, with no line feed at the end:

    POINTSMAN-HMAC-SHA256
    METHOD                      in capitals
    PATH                        percent-decoded, UTF-8
    QUERY                       as it stands in the request line after `?`; empty where there is none
    TIMESTAMP                   `x-pointsman-timestamp`: whole seconds since the epoch
    NONCE                       `x-pointsman-nonce`: 16 to 64 letters, digits, `-` and `_`, another for each request
    SHA-256 of the body         in small hex; of no body that of nothing

No line but PATH can hold a line feed, so that no two requests have one canonical form. The HMAC's key is the text of
the signing secret, its prefix included. `x-pointsman-signature` carries the result.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Literal

from pointsman.core.caller import Caller
from pointsman.core.errors import StoreError, Unauthenticated
from pointsman.core.shared import SharedState
from pointsman.transport.http import HttpRequest

SCHEME = b"POINTSMAN-HMAC-SHA256"
TIMESTAMP = b"x-pointsman-timestamp"
NONCE = b"x-pointsman-nonce"
SIGNATURE = b"x-pointsman-signature"

_TIMESTAMP = re.compile(rb"[0-9]{1,12}")
_NONCE = re.compile(rb"[A-Za-z0-9_-]{16,64}")
_SIGNATURE = re.compile(rb"[0-9a-f]{64}")

MOST_NONCES = 100_000
"""Nonces of a key that are remembered, the latest: 330 requests a second for as long as a signature holds."""
MARGIN = 60.0
"""Seconds that a nonce is remembered beyond its signature's end: a body is hashed and the store is asked in between."""
LARGE_BODY = 1024 * 1024
"""Bytes from which a body is hashed in a thread, about a millisecond's work, so that others go on meanwhile."""


class Signatures:
    """Checks signatures; an `Entry`'s `verify`.

    Args:
        secret_of: a key's signing secret by its id; None where it has none, empty where it cannot be read.
        state: remembers nonces. While it is away signed requests are refused: a replay could not be told.
        mode: `optional`: keys with a signing secret must sign. `required`: everybody must but the local user of an
            open port and whoever has shown nothing (who sees public pages alone).
        seconds: how far a timestamp may be from now, to either side, by the clock of `state`.
    """

    def __init__(
        self,
        *,
        secret_of: Callable[[str], bytes | None],
        state: SharedState,
        mode: Literal["optional", "required"] = "optional",
        seconds: float = 300.0,
    ) -> None:
        self._secret_of = secret_of
        self._state = state
        self._required = mode == "required"
        self._seconds = seconds

    async def __call__(self, request: HttpRequest, caller: Caller) -> None:
        """
        Raises:
            Unauthenticated: unsigned, stale, replayed, or not signed with this key's secret; the code says which.
            StateUnavailable: nonces cannot be remembered now.
            StoreError: the key's secret cannot be decrypted.
        """
        secret = self._secret_of(caller.key_id) if caller.key_id is not None else None
        if secret is None:
            if self._required and not _may_come_unsigned(caller):
                raise Unauthenticated(
                    "Requests must be signed here, and this caller has no signing secret. An admin makes one with"
                    " `pointsman keys signing`.",
                    code="signature_required",
                )
            return
        if not secret:
            raise StoreError("This key's signing secret cannot be decrypted; `pointsman secret status` says why.")
        timestamp, nonce, signature = (_only(request, name) for name in (TIMESTAMP, NONCE, SIGNATURE))
        if not (timestamp and nonce and signature):
            raise Unauthenticated(
                "This key must sign its requests: send x-pointsman-timestamp, x-pointsman-nonce and"
                " x-pointsman-signature, each once.",
                code="signature_required",
            )
        if not (_TIMESTAMP.fullmatch(timestamp) and _NONCE.fullmatch(nonce) and _SIGNATURE.fullmatch(signature)):
            raise Unauthenticated(
                "The signature's headers cannot be read: whole seconds since the epoch, a nonce of 16 to 64 letters,"
                " digits, - and _, and 64 small hex digits.",
                code="signature_invalid",
            )
        now = self._state.now()
        if abs(now - int(timestamp)) > self._seconds:
            raise Unauthenticated(
                f"The signature's timestamp is more than {self._seconds:g} s from now, which is {now:.0f}; set the"
                " clock, and sign when you send.",
                code="signature_stale",
            )
        body = request.body
        digest = await asyncio.to_thread(_sha256, body) if len(body) >= LARGE_BODY else _sha256(body)
        canonical = canonical_form(request.method, request.path, request.query, timestamp, nonce, digest)
        if not hmac.compare_digest(hmac.digest(secret, canonical, "sha256").hex().encode(), signature):
            raise Unauthenticated(
                "The signature is not the one of this request under this key's signing secret.",
                code="signature_invalid",
            )
        made = int(timestamp)
        seen = await self._state.once_of(
            f"key:{caller.key_id}", nonce.decode(), at=made, seconds=self._seconds + MARGIN, most=MOST_NONCES
        )
        if seen == "again":
            raise Unauthenticated(
                "A request with this nonce was received before; sign every request anew.", code="signature_replayed"
            )
        if seen == "unknown":
            raise Unauthenticated(
                f"This key has signed {MOST_NONCES:,} requests since, and nobody knows any more whether this one was"
                " received before; sign it anew.",
                code="signature_stale",
            )
        if made < int(self._state.once_since()):
            raise Unauthenticated(
                "The request was signed before nonces were remembered here, and may have been received before; sign it"
                " anew.",
                code="signature_stale",
            )


def canonical_form(method: str, path: str, query: bytes, timestamp: bytes, nonce: bytes, digest: bytes) -> bytes:
    """What is signed; `path` percent-decoded, `digest` the body's SHA-256 in small hex."""
    return b"\n".join((SCHEME, method.encode(), path.encode(), query, timestamp, nonce, digest))


def _sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _may_come_unsigned(caller: Caller) -> bool:
    local = caller.key_id is None and caller.user_id is None and caller.admin
    return local or caller.role == "anonymous"


def _only(request: HttpRequest, name: bytes) -> bytes | None:
    """A header's value; None where it is missing or stands several times."""
    found = [value for key, value in request.headers if key == name]
    return found[0] if len(found) == 1 else None
