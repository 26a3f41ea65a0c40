"""What browsers are told about pages of other origins (the Fetch standard's CORS protocol).

Nothing here says `*`, and no answer allows credentials: pages of other origins send a key, never a cookie.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pointsman.transport.http import Headers

METHODS = b"GET, POST, PUT, PATCH, DELETE"
SENT = (
    b"authorization",
    b"content-type",
    b"idempotency-key",
    b"x-api-key",
    b"x-csrf-token",
    b"x-pointsman-credential",
    b"x-pointsman-nonce",
    b"x-pointsman-priority",
    b"x-pointsman-privacy",
    b"x-pointsman-signature",
    b"x-pointsman-timestamp",
)
"""Request headers that pages may set."""
ALSO_SENT = re.compile(rb"x-stainless-[a-z0-9-]{1,40}")
"""And those that OpenAI's own client adds in a browser; they say what it runs on."""
EXPOSED = (
    b"ratelimit",
    b"ratelimit-limit",
    b"ratelimit-policy",
    b"ratelimit-remaining",
    b"ratelimit-reset",
    b"retry-after",
    b"x-pointsman-decision",
    b"x-pointsman-estimated-cost-usd",
    b"x-pointsman-intent",
    b"x-pointsman-model",
    b"x-pointsman-provider",
    b"x-pointsman-reason",
    b"x-ratelimit-limit-requests",
    b"x-ratelimit-remaining-requests",
    b"x-ratelimit-reset-requests",
)
"""Answer headers that pages may read."""

VARY: Headers = ((b"vary", b"origin"),)
_EXPOSE = (b"access-control-expose-headers", b", ".join(EXPOSED))


def granted(origin: bytes) -> Headers:
    """Headers of an answer that a page of this origin may read."""
    return (b"access-control-allow-origin", origin), _EXPOSE, *VARY


def preflight(headers: Mapping[bytes, bytes]) -> Headers:
    """The grant to an allowed origin. The browser compares it with what the page means to do.

    An allowed origin may call from the wider network into this one too (Private Network Access): being listed is the
    owner's word for it.
    """
    asked = headers.get(b"access-control-request-headers", b"").lower().split(b",")
    also = [name for name in (name.strip() for name in asked[:50]) if ALSO_SENT.fullmatch(name)]
    grant = [
        (b"access-control-allow-methods", METHODS),
        (b"access-control-allow-headers", b", ".join([*SENT, *also])),
        (b"access-control-max-age", b"600"),
    ]
    if headers.get(b"access-control-request-private-network") == b"true":
        grant.append((b"access-control-allow-private-network", b"true"))
    return grant
