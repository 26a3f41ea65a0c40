"""A client and an answer, byte by byte: what the measures of budgets ask with and are answered with."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

LEAVE = b"leave-now"
"""In an answer: its client goes at once."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes


async def exchange(port: int, method: str, path: str, body: bytes) -> Reply:
    """One request on a connection of its own; leaves in the middle of an answer that says so."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return Reply(0, b"")
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    received = b""
    try:
        writer.write(head.encode() + body)
        while block := await reader.read(65_536):
            received += block
            if LEAVE in received:
                break
    except OSError:
        pass
    finally:
        writer.close()
    line = received.split(b"\r\n", 1)[0].split(b" ")
    status = int(line[1]) if len(line) > 1 and line[1].isdigit() else 0
    return Reply(status, received.partition(b"\r\n\r\n")[2])


def whole(value: object) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def frame(value: object) -> bytes:
    return chunk(b"data: " + json.dumps(value).encode() + b"\n\n")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
