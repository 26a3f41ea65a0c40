"""A fast mock upstream in a process of its own: `python -m pointsman.evals.gateway.mock [CERTIFICATE KEY]`.

Answers every POST at once with a fixed completion, or with a stream of chunks, each in a write of its own. It prints
its port and stops when its standard input closes. Its processor time is nobody's: only latencies pass through it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import Sequence
from typing import cast

from .cases import APART

USAGE = b'"usage":{"prompt_tokens":500,"completion_tokens":50,"total_tokens":550}'
ANSWER = (
    b'{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"mock","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"' + b"word " * 50 + b'"},"finish_reason":"stop"}],' + USAGE + b"}"
)
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
MODELS = b'{"object":"list","data":[{"id":"mock","object":"model"}]}'
MODEL_LIST = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(MODELS),
    MODELS,
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = 50
PAUSE, APART_PAUSE = 0.0002, 0.01
"""Seconds between two chunks; a gateway that is behind gets several at once. From request to request it may be asked
for a pause in which each chunk is passed on alone."""
_APART = b'"user":"%b"' % APART.encode()


def _chunk(payload: bytes) -> bytes:
    frame = b"data: " + payload + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(frame), frame)


def _delta(choices: bytes, extra: bytes = b"") -> bytes:
    return _chunk(
        b'{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"mock","choices":['
        + choices
        + b"]"
        + extra
        + b"}"
    )


TOKEN = _delta(b'{"index":0,"delta":{"content":"word "},"finish_reason":null}')
LAST = _delta(b'{"index":0,"delta":{},"finish_reason":"stop"}') + _delta(b"", b"," + USAGE) + _chunk(b"[DONE]")


class Mock(asyncio.Protocol):
    """Reads requests by their Content-Length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._buffer = bytearray()
        self._needed = 0

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= self._needed:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            self._needed = end + 4 + length
            if len(self._buffer) < self._needed:
                return
            body = bytes(self._buffer[end + 4 : self._needed])
            del self._buffer[: self._needed]
            self._needed = 0
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        """Answer one request; `head` is in small letters."""
        if head.startswith(b"get "):
            self._transport.write(MODEL_LIST)
        elif is_streamed(body):
            self._transport.write(STREAM_HEAD)
            self._emit(CHUNKS, APART_PAUSE if _APART in body else PAUSE)
        else:
            self._transport.write(WHOLE)

    def _emit(self, left: int, pause: float) -> None:
        if self._transport.is_closing():
            return
        if left:
            self._transport.write(TOKEN)
            asyncio.get_running_loop().call_later(pause, self._emit, left - 1, pause)
        else:
            self._transport.write(LAST + b"0\r\n\r\n")


def is_streamed(body: bytes) -> bool:
    return b'"stream":true' in body or b'"stream": true' in body


async def main(protocol: type[Mock] = Mock, certificate: Sequence[str] = ()) -> None:
    """Serve until standard input closes.

    Args:
        certificate: files of a certificate and its key, to speak TLS.
    """
    loop = asyncio.get_running_loop()
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=context)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(certificate=sys.argv[1:]))
