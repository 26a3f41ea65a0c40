"""TLS towards upstreams, with certificates made for the test by the openssl program."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from transport_support import StartUpstream, answering, outgoing

from pointsman.core.errors import SettingsError, UpstreamConnectError
from pointsman.transport.http import Origin, Outbound

FAILED = r"localhost:\d+ .*(TLS handshake failed|closed the connection)"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(frozen=True)
class Certificate:
    path: str
    key: str

    def server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.path, self.key)
        return context


def make_certificate(folder: Path, name: str, *, days: int = 2) -> Certificate:
    """Self-signed, for one DNS name: its own authority."""
    certificate, key = str(folder / f"{name}.pem"), str(folder / f"{name}.key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", key, "-out", certificate, "-days", str(days), "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run(command, check=True, capture_output=True)
    return Certificate(certificate, key)


@pytest.fixture(scope="module")
def localhost(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "elsewhere.test")


def secure(port: int, host: str = "localhost") -> Origin:
    return Origin(scheme="https", host=host, port=port)


async def test_a_company_authority_can_be_trusted(
    make_out: Callable[..., Outbound], start_upstream: StartUpstream, localhost: Certificate
) -> None:
    upstream = await start_upstream(answering(OK), ssl=localhost.server_context())
    out = make_out(ca_file=localhost.path)
    for _ in range(2):
        assert await (await out.send(outgoing(secure(upstream.port)))).read() == b"{}"
    assert upstream.connections == 1


async def test_an_unknown_authority_is_refused(
    make_out: Callable[..., Outbound], start_upstream: StartUpstream, localhost: Certificate
) -> None:
    upstream = await start_upstream(answering(OK), ssl=localhost.server_context())
    with pytest.raises(UpstreamConnectError, match=f"localhost:{upstream.port} .*certificate is not accepted .*self"):
        await make_out().send(outgoing(secure(upstream.port)))
    assert upstream.requests == []


async def test_a_wrong_host_name_is_refused(
    make_out: Callable[..., Outbound], start_upstream: StartUpstream, elsewhere: Certificate
) -> None:
    upstream = await start_upstream(answering(OK), ssl=elsewhere.server_context())
    out = make_out(ca_file=elsewhere.path)
    with pytest.raises(UpstreamConnectError, match=f"localhost:{upstream.port} .*not valid for 'localhost'"):
        await out.send(outgoing(secure(upstream.port)))
    assert upstream.requests == []


async def test_old_versions_of_tls_are_refused(
    make_out: Callable[..., Outbound], start_upstream: StartUpstream, localhost: Certificate
) -> None:
    context = localhost.server_context()
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the very versions that are to be refused
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    upstream = await start_upstream(answering(OK), ssl=context)
    with pytest.raises(UpstreamConnectError, match=FAILED):
        await make_out(ca_file=localhost.path).send(outgoing(secure(upstream.port)))


async def test_an_upstream_that_speaks_no_tls_is_named(
    make_out: Callable[..., Outbound], start_upstream: StartUpstream
) -> None:
    async def plain(upstream: object, reader: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    upstream = await start_upstream(plain)
    with pytest.raises(UpstreamConnectError, match=FAILED):
        await make_out().send(outgoing(secure(upstream.port)))


async def test_an_unusable_authority_file_is_named(make_out: Callable[..., Outbound], tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("nothing")
    for path in (str(empty), str(tmp_path / "absent.pem")):
        with pytest.raises(SettingsError, match="PEM"):
            await make_out(ca_file=path).send(outgoing(secure(1)))
