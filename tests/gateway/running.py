"""A real gateway in a process of its own, and plain HTTP to talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from waiting import PATIENCE, until

T = TypeVar("T")


class Background:
    """An event loop in a thread, where scripted upstreams live while tests of any kind run."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


@dataclass
class Reply:
    """An HTTP answer, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Gateway:
    """A running gateway."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    headers: dict[str, str] = field(default_factory=dict)
    certificate: Path | None = None
    """Of a gateway that speaks TLS: trusted, whatever names it has."""

    @property
    def url(self) -> str:
        return f"http{'s' if self.certificate else ''}://127.0.0.1:{self.port}"

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.certificate)
        context.check_hostname = False
        return context

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def log_text(self) -> str:
        return (self.folder / "gateway.log").read_text(errors="replace")

    def ask(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None, timeout: float = 30
    ) -> Reply:
        """One request on a connection of its own; `body` is bytes as they are, or anything JSON can say."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        if self.certificate is not None:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=self.context())
        try:
            sent = {**self.headers, **(headers or {})}
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            if body is not None and not any(name.lower() == "content-type" for name in sent):
                sent["Content-Type"] = "application/json"
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def chat(self, content: str = "hi", *, headers: Mapping[str, str] | None = None, **fields: Any) -> Reply:
        body = {"model": "auto", "messages": [{"role": "user", "content": content}], **fields}
        return self.ask("POST", "/v1/chat/completions", body, headers=headers)

    def decision(self, reply: Reply) -> dict[str, Any]:
        """The log's record of an answer, once its outcome is there."""
        identifier = reply.headers["x-pointsman-decision"]
        return self.record(identifier)

    def record(self, identifier: str) -> dict[str, Any]:
        def known() -> dict[str, Any] | None:
            found = self.ask("GET", f"/api/v1/decisions/{identifier}")
            return found.json if found.status == 200 and found.json.get("outcome") else None

        return until(known, identifier, every=0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(
    folder: Path,
    settings: Mapping[str, Any],
    *,
    env: Mapping[str, str] | None = None,
    patience: float = PATIENCE,
    under: Sequence[str] = (),
) -> Iterator[Gateway]:
    """Start a gateway with these settings, as an argument of the command `under`; stop it and check that it stopped
    well."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    tree = {"data_dir": str(folder / "data"), "cache_dir": str(folder / "cache"), **settings}
    tree["server"] = {"port": port, **tree.get("server", {})}
    port = tree["server"]["port"]
    tree.setdefault("embedded", {"enabled": False})
    tree["routing"] = {"exploration": {"share": 0.0}, **tree.get("routing", {})}  # tests know what is chosen
    # And what is asked.
    tree["execution"] = {"retries": 0, "breaker": {"enabled": False}, **tree.get("execution", {})}
    config = folder / "pointsman.yaml"
    config.write_text(yaml.safe_dump(tree))
    environ = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG", "TMPDIR") or name.startswith(("PIP_", "SSL_"))
    }
    with (folder / "gateway.log").open("ab") as log:
        process = subprocess.Popen(
            [*under, sys.executable, "-m", "pointsman", "--config", str(config), "serve"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**environ, **(env or {})},
        )
    certificate = tree["server"].get("tls_certificate")
    gateway = Gateway(process, port, folder, certificate=Path(certificate) if certificate else None)
    try:

        def serving() -> bool:
            assert process.poll() is None, gateway.log_text
            with contextlib.suppress(OSError, http.client.HTTPException):
                return gateway.ask("GET", "/api/health", timeout=2).status == 200
            return False

        until(serving, lambda: gateway.log_text, seconds=patience, every=0.02)
        yield gateway
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(f"the gateway did not stop: {gateway.log_text}") from None
    assert "Traceback" not in gateway.log_text, gateway.log_text
