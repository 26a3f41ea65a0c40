"""How an upstream plays an answer badly, one function each.

Each gets the right answer, the wire, and a number in [0, 1) that says where; it writes to the wire what the gateway
gets to read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pointsman.testing.answers import SeenRequest, Status, Wire

from .good import Good

JSON = "application/json"
Play = Callable[[Good, Wire, float], Awaitable[None]]
"""Plays an answer badly."""


async def right(good: Good, wire: Wire, at: float) -> None:
    await good.open(wire)
    await good.send(wire)
    await good.close(wire)


# Before the first byte


async def reset(good: Good, wire: Wire, at: float) -> None:
    wire.reset()


async def hang_up(good: Good, wire: Wire, at: float) -> None:
    wire.hang_up()


async def stall(good: Good, wire: Wire, at: float) -> None:
    await wire.until_closed()


async def stall_behind_head(good: Good, wire: Wire, at: float) -> None:
    await good.open(wire)
    await wire.until_closed()


async def no_http(good: Good, wire: Wire, at: float) -> None:
    await wire.write(b"SSH-2.0-OpenSSH_9.9\r\n")
    wire.hang_up()


def status(code: int, *, body: bytes | None = None, retry_after: float | None = None, content_type: str = JSON) -> Play:
    step = Status(code, body, retry_after=retry_after, content_type=content_type)

    async def play(good: Good, wire: Wire, at: float) -> None:
        await step.play(SeenRequest("POST", good.path, {}, b""), wire)

    return play


async def body(body: bytes, content_type: str, good: Good, wire: Wire, at: float) -> None:
    await wire.head(200, {"content-type": content_type}, length=len(body))
    await wire.body(body)


async def empty(good: Good, wire: Wire, at: float) -> None:
    await good.open(wire) if good.streamed else await wire.head(200, good.headers, length=0)
    await good.close(wire)


async def half_json(good: Good, wire: Wire, at: float) -> None:
    half = b"".join(good.blocks)[: max(1, int(at * 200))]
    await wire.head(200, good.headers, length=len(half))
    await wire.body(half)


async def wrong_type(good: Good, wire: Wire, at: float) -> None:
    await good.open(wire, content_type="text/plain")
    await good.send(wire)
    await good.close(wire)


# Behind the first byte


async def broken(good: Good, wire: Wire, at: float, *, end: Callable[[Wire], None]) -> None:
    """The connection ends in the middle of a body whose framing promises more."""
    await good.open(wire)
    await good.send(wire, good.until_byte(at))
    end(wire)


async def stalled(good: Good, wire: Wire, at: float, *, first: bool = False) -> None:
    await good.open(wire)
    await good.send(wire, good.until_first_words() if first else good.until_byte(at))
    await wire.until_closed()


async def cut(good: Good, wire: Wire, at: float, *, frames: bool = False) -> None:
    """The HTTP framing ends well, behind whole frames or inside one; the answer has not finished."""
    await good.open(wire)
    await good.send(wire, good.until_frame(at) if frames else good.until_byte(at * 0.9))
    await good.close(wire)


async def inside(good: Good, wire: Wire, at: float, *, told: Callable[[Good], bytes]) -> None:
    """Something else in the middle of a stream, which then ends as if all were well."""
    await good.open(wire)
    await good.send(wire, [*good.until_frame(at), told(good)])
    await good.close(wire)


async def bad_chunk(good: Good, wire: Wire, at: float) -> None:
    await good.open(wire)
    await good.send(wire, good.until_byte(at))
    await wire.write(b"no-size\r\n" * 3)
    await wire.until_closed()


async def endless_line(good: Good, wire: Wire, at: float) -> None:
    """More than any frame may hold, without an end of line."""
    await good.open(wire)
    await good.send(wire, good.until_frame(at))
    await wire.body(b'data: {"x":"' if good.kind != "ollama" else b'{"x":"')
    for _ in range(20):
        await wire.body(b"x" * 2**20)
    await wire.until_closed()


_DELTAS = {"messages": "content_block_delta", "responses": "response.output_text.delta"}
"""What an event with a piece of the text is called, where events have names."""


def malformed(good: Good) -> bytes:
    """A frame that is cut off inside its JSON."""
    return good.frame(b'{"choices": [{"del', event=_DELTAS.get(good.kind, ""))


def no_utf8(good: Good) -> bytes:
    """A frame of bytes that are no text."""
    return good.frame(b'{"x": "\xff\xfe"}', event=_DELTAS.get(good.kind, ""))


def error_of(good: Good) -> bytes:
    """An error in the dialect's own words, in the framing of the answer."""
    message = "scripted trouble"
    if good.kind == "ollama":
        told: dict[str, Any] = {"error": message}
    elif good.kind == "messages":
        told = {"type": "error", "error": {"type": "overloaded_error", "message": message}}
    elif good.kind == "responses" and good.streamed:
        told = {"type": "error", "code": "server_error", "message": message, "param": None, "sequence_number": 99}
    else:
        told = {"error": {"message": message, "type": "server_error", "code": "scripted", "param": None}}
    return good.frame(json.dumps(told).encode(), event="error")


async def error_for_answer(good: Good, wire: Wire, at: float) -> None:
    """An error whose status is 200."""
    told = error_of(good)
    await wire.head(200, good.headers, length=None if good.streamed else len(told))
    await wire.body(told)
    await good.close(wire)


def finish_of_error(good: Good) -> bytes:
    """A regular last frame whose reason to finish is a failure."""
    told: Mapping[str, Any]
    event = "message"
    if good.kind == "ollama":
        told = {"error": "an error was encountered while running the model"}
    elif good.kind == "messages":
        event = "error"
        told = {"type": "error", "error": {"type": "api_error", "message": "Internal server error"}}
    elif good.kind == "responses":
        event = "response.failed"
        failed = {"id": "resp_x", "object": "response", "created_at": 1, "model": "m", "status": "failed", "output": []}
        error = {"code": "server_error", "message": "The model failed."}
        told = {"type": event, "sequence_number": 99, "response": {**failed, "error": error}}
    else:
        kind = "chat.completion.chunk" if good.kind == "chat" else "text_completion"
        choice = {"index": 0, "delta": {}} if good.kind == "chat" else {"index": 0, "text": ""}
        told = {
            "id": "x",
            "object": kind,
            "created": 1,
            "model": "m",
            "choices": [{**choice, "finish_reason": "error"}],
        }
        told = {**told, "error": {"message": "The model failed.", "code": 502}}
    return good.frame(json.dumps(told).encode(), event=event)


# Odd, and right all the same


async def drip(good: Good, wire: Wire, at: float) -> None:
    """A few bytes at a time, over a quarter of a second."""
    await good.open(wire)
    body = b"".join(good.blocks)
    step = max(3, len(body) // 60)
    for start in range(0, len(body), step):
        await wire.body(body[start : start + step])
        await asyncio.sleep(0.004)
    await good.close(wire)


async def huge_line(good: Good, wire: Wire, at: float) -> None:
    """One frame of half a megabyte."""
    padded = list(good.blocks)
    index = next(index for index, block in enumerate(padded) if b"{" in block)
    padded[index] = padded[index].replace(b"{", b'{"padding":"' + b"x" * 500_000 + b'",', 1)
    await wire.head(200, good.headers, length=None if good.streamed else sum(map(len, padded)))
    await good.send(wire, padded)
    await good.close(wire)


async def comments(good: Good, wire: Wire, at: float) -> None:
    """Lines that say nothing, before every frame."""
    idle = b"\n" if good.kind == "ollama" else b": still here\n\n"
    await good.open(wire)
    await good.send(wire, [idle + block for block in good.blocks])
    await good.close(wire)


async def late_close(good: Good, wire: Wire, at: float) -> None:
    """A connection that said nothing of closing closes behind the answer."""
    await right(good, wire, at)
    wire.hang_up()


async def interim(good: Good, wire: Wire, at: float) -> None:
    await wire.write(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n")
    await right(good, wire, at)


async def surplus(good: Good, wire: Wire, at: float) -> None:
    """Behind the answer, in one write with its end, another one that nobody asked for, which must not answer the next
    request. One that comes later cannot be told from the next answer: HTTP/1.1 numbers nothing."""
    foreign = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"foreign"},"finish_reason":"stop"}]}'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(foreign)
    await good.open(wire)
    await good.send(wire, good.blocks[:-1])
    last = good.blocks[-1]
    end = b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last) if good.streamed else last
    await wire.write(end + head + foreign)


async def frames_twice(good: Good, wire: Wire, at: float) -> None:
    """What frames the text is told twice: the last chunk, the usage, `[DONE]`."""
    marks = (b'"finish_reason":"stop"', b'"finish_reason":"tool_calls"', b'"choices":[]', b"[DONE]", b'"type":"ping"')
    said = [piece.encode() for piece in good.pieces] + [b'"tool_calls":[']
    twice = [any(mark in block for mark in marks) and not any(part in block for part in said) for block in good.blocks]
    again = [block for block, more in zip(good.blocks, twice, strict=True) for _ in range(1 + more)]
    await good.open(wire)
    await good.send(wire, again)
    await good.close(wire)


async def token_twice(good: Good, wire: Wire, at: float) -> None:
    """One piece of the text comes twice, byte for byte: nothing in the protocols tells it from a model that
    repeats itself, so the answer is what was sent."""
    told = list(good.blocks)
    index = int(at * (len(good.pieces) - 1))
    places = (place for place, block in enumerate(told) if good.pieces and good.pieces[index].encode() in block)
    place = next(places, None)
    if place is not None and good.kind != "responses":  # there the whole text follows, which would belie it
        told.insert(place, told[place])
        good.text = "".join([*good.pieces[: index + 1], *good.pieces[index:]])
    await good.open(wire)
    await good.send(wire, told)
    await good.close(wire)
