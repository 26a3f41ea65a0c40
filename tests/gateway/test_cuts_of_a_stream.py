"""Where the blocks of a stream end says nothing of its answer: what is told and charged is the same for every cut."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pointsman.testing import Stream

from .running import Gateway, running


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def gateway(cloud_server, tmp_path_factory) -> Iterator[Gateway]:
    cloud = {"base_url": cloud_server.base_url, "api_key": "sk-x", "models": ["m"]}
    tree = {
        "providers": {
            "cloud": {**cloud, "prices": {"m": {"input": 1000, "output": 1000}}},
            "ollama": {"enabled": False},
        },
        "execution": {"retries": 0, "breaker": {"enabled": False}},
    }
    with running(tmp_path_factory.mktemp("cuts"), tree) as gateway:
        yield gateway


def frame(delta: dict[str, Any] | None = None, finish: str | None = None, **fields: object) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    chunk = {"id": "c", "object": "chat.completion.chunk", "choices": choices, **fields}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


TEXT = [frame({"content": f"word number {at} "}) for at in range(8)]
END = [frame({}, "stop"), frame(usage={"prompt_tokens": 10, "completion_tokens": 150, "total_tokens": 160})]
ERROR = b'data: {"error": {"message": "x", "code": "server_error"}}\n\n'
CALL = frame({"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": "{}"}}]})


@pytest.mark.parametrize(
    ("frames", "status", "cost", "reason"),
    [
        ([*TEXT, ERROR], "error", None, None),
        ([*TEXT, *END, ERROR], "ok", 160_000, "stop"),
        ([CALL, *TEXT, b"data: [DONE]\n\n"], "ok", None, "tool_calls"),
    ],
)
def test_what_is_told_and_charged(
    gateway, cloud, frames: Sequence[bytes], status: str, cost: int | None, reason: str | None
) -> None:
    whole = b"".join(frames)
    came = set()
    for blocks in ([whole], frames, [whole[:-9], whole[-9:]], [whole[: -len(ERROR)], whole[-len(ERROR) :]]):
        cloud.default = Stream(blocks, delay=0.02)
        reply = gateway.chat(model="cloud:m", stream=True)
        outcome = gateway.decision(reply)["outcome"]
        attempt = outcome["attempts"][0]
        said = "".join(re.findall(r"word number \d ", reply.body.decode()))
        reasons = tuple(re.findall(rb'finish_reason": ?"(\w+)"', reply.body))
        bill = (outcome["cost_micro_usd"], attempt["completion_tokens"], attempt["estimated"])
        came.add((reply.status, said, reasons, b'"error"' in reply.body, outcome["status"], *bill))
    assert len(came) == 1, came
    code, said, reasons, _, told, charged, *_ = came.pop()
    assert (code, said, told) == (200, "".join(f"word number {at} " for at in range(8)), status)
    assert reasons == (() if reason is None else (reason.encode(),))
    assert charged == cost if cost is not None else (charged or 0) >= 0
    assert status != "error" or charged > 0
