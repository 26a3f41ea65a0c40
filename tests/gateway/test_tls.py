"""The listener speaks TLS itself, holds clients to the same limits, and takes renewed certificates while it runs."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pointsman.core.errors import SettingsError
from pointsman.transport.tls import ServerTls
from waiting import until

from .running import Gateway, running

PINNED = "lan:llama3.1:8b"
PATIENCE = 30.0


@dataclass(frozen=True)
class Pair:
    certificate: Path
    key: Path

    @property
    def settings(self) -> dict[str, str]:
        return {"tls_certificate": str(self.certificate), "tls_key": str(self.key)}

    def put(self, folder: Path) -> Pair:
        """A copy, which a test may change."""
        copy = Pair(folder / "tls.pem", folder / "tls.key")
        for source, target in ((self.certificate, copy.certificate), (self.key, copy.key)):
            fresh = target.with_suffix(".fresh")
            shutil.copyfile(source, fresh)
            fresh.chmod(0o600)
            os.replace(fresh, target)
        return copy


def make(folder: Path, name: str) -> Pair:
    folder.mkdir(parents=True, exist_ok=True)
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(pair.key), "-out", str(pair.certificate), "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    pair.key.chmod(0o600)
    return pair


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Pair:
    return make(tmp_path_factory.mktemp("first"), "first")


@pytest.fixture(scope="module")
def second(tmp_path_factory) -> Pair:
    return make(tmp_path_factory.mktemp("second"), "second")


@pytest.fixture(scope="module")
def gateway(settings, data_plane, first, tmp_path_factory) -> Iterator[Gateway]:
    server = {**first.settings, "data_plane": data_plane, "header_timeout": 1.0, "max_body_bytes": 200_000}
    server["max_body_memory"] = 2048
    with running(tmp_path_factory.mktemp("gateway"), {**settings, "server": server}) as gateway:
        yield gateway


def dial(gateway: Gateway, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE)
    return (context or gateway.context()).wrap_socket(plain, server_hostname="localhost")


def read_all(client: socket.socket) -> bytes:
    received = b""
    try:
        while block := client.recv(65536):
            received += block
    except (ConnectionResetError, ssl.SSLError):
        pass
    return received


def read_answer(client: ssl.SSLSocket) -> bytes:
    """An answer to its end, without waiting until the connection is closed too."""
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return b"%d " % answer.status + str(answer.headers).lower().encode() + answer.read()


def presented(gateway: Gateway) -> bytes:
    """The certificate that a new connection sees."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with dial(gateway, context) as client:
        found = client.getpeercert(binary_form=True)
    assert found is not None
    return found


def der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())


def test_answers_whole_and_streamed(gateway, lan):
    whole = gateway.chat("hi", model=PINNED)
    assert whole.status == 200
    assert whole.headers["strict-transport-security"].startswith("max-age=")
    streamed = gateway.chat("hi", model=PINNED, stream=True)
    assert streamed.status == 200
    assert streamed.body.endswith(b"data: [DONE]\n\n")
    assert gateway.ask("GET", "/docs").status == 200


def test_large_bodies_cross(gateway, lan):
    assert gateway.chat("word " * 30_000, model=PINNED).status == 200


def test_old_versions_are_refused(gateway):
    context = gateway.context()
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        dial(gateway, context)
    with dial(gateway) as client:
        assert client.version() in ("TLSv1.2", "TLSv1.3")
        assert gateway.ask("GET", "/api/health").status == 200


def test_plain_http_gets_nothing(gateway):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) as client:
        client.sendall(b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"HTTP/1.1 200" not in read_all(client)
    assert gateway.ask("GET", "/api/health").status == 200


def test_a_body_over_the_limit(gateway):
    reply = gateway.ask("POST", "/v1/chat/completions", b"x" * 200_001)
    assert (reply.status, reply.json["error"]["code"]) == (413, "request_too_large")


def test_a_body_that_trickles(gateway):
    with dial(gateway) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000\r\n\r\n{"
        )
        answer = read_answer(client)
    assert answer.startswith(b"408")
    assert b'"request_timeout"' in answer
    assert b"x-content-type-options: nosniff" in answer


def test_bodies_that_together_are_too_much(gateway, lan):
    """`max_body_memory` is below what two need; one of the largest size always fits."""
    with dial(gateway) as holder:
        holder.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 190000\r\n\r\n" + b"x" * 150_000
        )
        reply = until(lambda: (reply := gateway.chat("word " * 30_000, model=PINNED)).status == 503 and reply)
        assert reply.json["error"]["code"] == "overloaded"
    until(lambda: gateway.chat("word " * 30_000, model=PINNED).status == 200)


def test_heads_and_handshakes_that_trickle(gateway, data_plane):
    if data_plane == "asgi":
        pytest.skip("uvicorn has no such limits; see transport/asgi_server.py")
    with dial(gateway) as slow, socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) as silent:
        slow.sendall(b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        silent.sendall(b"\x16\x03\x01")
        assert read_answer(slow).startswith(b"408")
        assert read_all(silent) == b""
    with dial(gateway) as wide:
        wide.sendall(b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-Wide: " + b"x" * 70_000)
        answer = read_answer(wide)
    assert answer.startswith(b"431")
    assert b'"headers_too_large"' in answer


def test_the_command_line_speaks_it(gateway, first, lan):
    def models(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pointsman", "--url", f"https://localhost:{gateway.port}", *options, "models"]
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=kept)

    trusted = models("--ca-file", str(first.certificate))
    assert trusted.returncode == 0, trusted.stderr
    assert "llama3.1:8b" in trusted.stdout
    refused = models()
    assert refused.returncode == 1
    assert "--ca-file" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_renewed_certificates(tmp_path, settings, data_plane, first, second):
    pair = first.put(tmp_path)
    with running(tmp_path, {**settings, "server": {**pair.settings, "data_plane": data_plane}}) as gateway:
        assert presented(gateway) == der(first)
        with dial(gateway) as before:
            second.put(tmp_path)
            gateway.process.send_signal(signal.SIGHUP)
            until(lambda: presented(gateway) == der(second))
            before.sendall(b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            assert read_all(before).startswith(b"HTTP/1.1 200")
        pair.certificate.write_bytes(first.certificate.read_bytes())  # half of a renewal, or a mistake
        until(lambda: "The new certificate is not used" in gateway.log_text)
        assert presented(gateway) == der(second)
        first.put(tmp_path)  # noticed without a signal
        until(lambda: presented(gateway) == der(first))


def test_what_cannot_be_used_is_said(tmp_path, first, second):
    def refused(certificate: Path, key: Path | None) -> SettingsError:
        with pytest.raises(SettingsError) as error:
            ServerTls(certificate, key)
        return error.value

    pair = first.put(tmp_path)
    missing = refused(tmp_path / "none.pem", pair.key)
    assert (missing.key, "cannot be read" in missing.mend) == ("server.tls_certificate", True)
    assert refused(pair.certificate, tmp_path / "none.key").key == "server.tls_key"
    assert "not the key of" in refused(pair.certificate, second.key).mend
    assert "holds no private key" in refused(pair.certificate, None).mend
    pair.key.chmod(0o644)
    assert f"chmod 600 {pair.key}" in refused(pair.certificate, pair.key).mend
    pair.key.chmod(0o600)
    assert ServerTls(pair.certificate, pair.key).context.minimum_version == ssl.TLSVersion.TLSv1_2

    locked = tmp_path / "locked.key"
    command = ["openssl", "pkcs8", "-topk8", "-in", str(pair.key), "-out", str(locked), "-passout", "pass:planted"]
    subprocess.run(command, check=True, capture_output=True)
    locked.chmod(0o600)
    assert "is encrypted" in refused(pair.certificate, locked).mend
    words = tmp_path / "words.pem"
    words.write_text("no certificate at all")
    words.chmod(0o600)
    assert refused(words, pair.key).key == "server.tls_certificate"
    assert "holds no private key" in refused(pair.certificate, words).mend
    both = tmp_path / "both.pem"
    both.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    both.chmod(0o600)
    ServerTls(both)


def test_a_start_that_cannot_be_ends_with_one_line(tmp_path, first, second):
    (tmp_path / "pointsman.yaml").write_text(
        f"data_dir: {tmp_path}\nserver: {{port: 0, tls_certificate: {first.certificate}, tls_key: {second.key}}}\n"
        "embedded: {enabled: false}\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "pointsman", "--config", str(tmp_path / "pointsman.yaml"), "serve"],
        capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "server.tls_key" in ended.stderr
