"""What the front door knows of a request before anything reads its body."""

from __future__ import annotations

import msgspec

from .caller import EndpointClass


class Screened(msgspec.Struct, gc=False):
    """What stands fast of a knock, whatever keys and users there are: found once for requests that knock alike."""

    public: bool
    """Everybody may see what is asked for."""
    token: bytes | None = None
    """The key or token that was sent, once it was looked for."""
    digest: bytes | None = None
    """Its SHA-256, once it was needed."""
    searched: bool = False
    """Whether a token was looked for."""


class Knock(msgspec.Struct, kw_only=True, gc=False):
    """Headers that decide who may enter. One that stands several times is empty: it is worth nothing."""

    method: str
    path: str
    endpoint: EndpointClass
    peer: str | None = None
    """The client's address; behind a trusted proxy the one that it names."""
    query: bytes = b""
    host: bytes | None = None
    origin: bytes | None = None
    fetch_site: bytes | None = None
    fetch_mode: bytes | None = None
    content_type: bytes | None = None
    authorization: bytes | None = None
    api_key: bytes | None = None
    cookie: bytes | None = None
    csrf: bytes | None = None
    """`x-csrf-token`, which requests with a session's cookie must carry when they change something."""
    screened: Screened | None = None
    """Kept by who admits; None: it was never looked at, or refused."""
