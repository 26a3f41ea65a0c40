"""The mock upstream of a soak: `python -m pointsman.evals.soak.upstream`.

Answers at once, unless a word in the request wants something else of it: the words are `mix.WORDS`.
"""

from __future__ import annotations

import re

from pointsman.evals.gateway.mock import CHUNKS, STREAM_HEAD, TOKEN, Mock, is_streamed, main

SLOW_SECONDS = 0.03
"""Between two chunks of a stream that somebody leaves."""

_WORD = re.compile(rb"soak-(slow|silent|500|429|reset)\b")
_ERROR = b'{"error":{"message":"scripted","type":"server_error","code":null,"param":null}}'
_VECTOR = (
    b'{"object":"list","model":"mock","data":[{"object":"embedding","index":0,"embedding":[0.5,0.25,0.125]}],'
    b'"usage":{"prompt_tokens":5,"total_tokens":5}}'
)


def _page(status: bytes, body: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b" % (
        status, headers, len(body), body,
    )  # fmt: skip


class SoakMock(Mock):
    """Answers as the request says."""

    def answer(self, head: bytes, body: bytes) -> None:
        found = _WORD.search(body)
        word = found[1] if found is not None else b""
        if word == b"silent":
            return
        if word == b"500":
            self._transport.write(_page(b"500 Internal Server Error", _ERROR))
        elif word == b"429":
            self._transport.write(_page(b"429 Too Many Requests", _ERROR, b"Retry-After: 1\r\n"))
        elif word == b"reset":
            if is_streamed(body):
                self._transport.write(STREAM_HEAD + TOKEN)
            self._transport.close()
        elif word == b"slow":
            self._transport.write(STREAM_HEAD)
            self._emit(CHUNKS, SLOW_SECONDS)
        elif head.partition(b" http/")[0].endswith(b"/embeddings"):
            self._transport.write(_page(b"200 OK", _VECTOR))
        else:
            super().answer(head, body)


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(SoakMock))
