"""Everything that goes wrong with an upstream, by name.

Faults of a connection that is never made (`CONNECTIONS`) have no wire: they are providers of their own, see
`upstream.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from . import plays
from .plays import JSON, Play


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to fail.

    Attributes:
        harmless: whether the answer is right all the same, so that the caller must get it whole.
        streams_only: whether only a stream can have it; an answer that is not streamed is then right.
        apart: whether it is played by a provider of its own, because the gateway remembers it of the provider.
        retold: whether the text that is said is another one than the request's.
        weight: how often it is drawn, beside the others.
    """

    play: Play
    harmless: bool = False
    streams_only: bool = False
    apart: bool = False
    retold: bool = False
    weight: float = 1.0


FAULTS: dict[str, Fault] = {
    "none": Fault(play=plays.right, harmless=True, weight=4.0),
    "slow drip": Fault(play=plays.drip, harmless=True),
    "huge line": Fault(play=plays.huge_line, harmless=True, weight=0.5),
    "comments": Fault(play=plays.comments, harmless=True, streams_only=True, weight=0.5),
    "closed behind the answer": Fault(play=plays.late_close, harmless=True, weight=0.5),
    "early hints": Fault(play=plays.interim, harmless=True, weight=0.5),
    "surplus answer": Fault(play=plays.surplus, harmless=True, weight=0.5),
    "framing twice": Fault(play=plays.frames_twice, harmless=True, streams_only=True),
    "token twice": Fault(play=plays.token_twice, harmless=True, streams_only=True, retold=True),
    "reset before the first byte": Fault(play=plays.reset),
    "hang-up before the first byte": Fault(play=plays.hang_up),
    "stall before the first byte": Fault(play=plays.stall),
    "stall behind the head": Fault(play=plays.stall_behind_head, weight=0.5),
    "not HTTP": Fault(play=plays.no_http, weight=0.5),
    "400": Fault(play=plays.status(400), weight=0.5),
    "401": Fault(play=plays.status(401), weight=0.5),
    "429": Fault(play=plays.status(429)),
    "429 with Retry-After": Fault(play=plays.status(429, retry_after=1), apart=True),
    "500": Fault(play=plays.status(500)),
    "502 with a web page": Fault(play=plays.status(502, body=b"<html>Bad gateway</html>", content_type="text/html")),
    "503 with Retry-After": Fault(play=plays.status(503, retry_after=1), apart=True),
    "529": Fault(play=plays.status(529), weight=0.5),
    "web page": Fault(play=partial(plays.body, b"<html><body>Sign in to the network</body></html>", "text/html")),
    "web page called JSON": Fault(play=partial(plays.body, b"<html><body>Sign in</body></html>", JSON), weight=0.5),
    "wrong content type": Fault(play=plays.wrong_type),
    "empty body": Fault(play=plays.empty),
    "another object": Fault(play=partial(plays.body, b'{"ok":true}', JSON), weight=0.5),
    "half JSON": Fault(play=plays.half_json),
    "error for an answer": Fault(play=plays.error_for_answer),
    "reset behind the first byte": Fault(play=partial(plays.broken, end=lambda wire: wire.reset())),
    "hang-up behind the first byte": Fault(play=partial(plays.broken, end=lambda wire: wire.hang_up())),
    "stall after one token": Fault(play=partial(plays.stalled, first=True)),
    "stall in the middle": Fault(play=plays.stalled),
    "truncated inside a frame": Fault(play=plays.cut, streams_only=True),
    "truncated behind a frame": Fault(play=partial(plays.cut, frames=True), streams_only=True),
    "malformed frame": Fault(
        play=partial(plays.inside, told=plays.malformed),
        streams_only=True,
    ),
    "no UTF-8": Fault(
        play=partial(plays.inside, told=plays.no_utf8),
        streams_only=True,
        weight=0.5,
    ),
    "error inside the stream": Fault(play=partial(plays.inside, told=plays.error_of), streams_only=True),
    "finish with error": Fault(play=partial(plays.inside, told=plays.finish_of_error), streams_only=True),
    "broken chunk framing": Fault(play=plays.bad_chunk, streams_only=True, weight=0.5),
    "endless line": Fault(play=plays.endless_line, streams_only=True, weight=0.1),
}
"""Name → what an upstream does."""

CONNECTIONS = (
    "refused connection",
    "unknown host",
    "bad certificate",
    "plain text on a TLS port",
    "silent TLS port",
)
"""What keeps a connection from being made at all."""
