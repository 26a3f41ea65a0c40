"""A client that takes its stream slower than it comes: it holds an engine's slot no longer than a request may last."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest

from pointsman.testing import Answer, ScriptedUpstream

from .running import Background, Gateway, running

SECONDS = 2.0


@pytest.fixture(scope="module")
def upstream(background: Background) -> Iterator[ScriptedUpstream]:
    server = ScriptedUpstream(models=("a",))
    background.run(server.__aenter__())
    yield server
    background.run(server.refuse())


@pytest.fixture(scope="module")
def gateway(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    lan = {"base_url": upstream.base_url, "local": True, "models": ["a"], "slots": 1, "queue": 4, "queue_seconds": 30}
    tree = {
        "providers": {"lan": lan},
        "limits": {"request_timeout": SECONDS, "first_byte_timeout": SECONDS, "between_bytes_timeout": SECONDS},
    }
    with running(tmp_path_factory.mktemp("slow"), tree) as gateway:
        yield gateway


def test_a_slow_reader_gives_the_slot_back_at_the_deadline(gateway: Gateway, upstream: ScriptedUpstream):
    upstream.script(Answer(text="word " * 1_200_000, pieces=2_000))  # 6 MB, more than what sockets hold
    body = json.dumps({"model": "lan:a", "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", gateway.port))
        client.settimeout(30)
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        told = client.recv(2_000)
        (decision,) = [
            line.split(b": ")[1].decode()
            for line in told.split(b"\r\n")
            if line.lower().startswith(b"x-pointsman-decision:")
        ]
        began = time.monotonic()
        while time.monotonic() - began < SECONDS * 1.5:  # never still, so that no write takes too long
            time.sleep(0.1)
            told = told[-2_000:] + client.recv(1_000)
        assert gateway.chat(model="lan:a").status == 200  # the slot is free
        outcome = gateway.record(decision)["outcome"]
        while chunk := client.recv(1 << 20):
            told = told[-2_000:] + chunk
    assert outcome["status"] == "cancelled"
    (attempt,) = outcome["attempts"]
    assert (attempt["status"], attempt["estimated"]) == ("cancelled", True)
    assert b'"read_too_slowly"' in told
    assert b"[DONE]" not in told
