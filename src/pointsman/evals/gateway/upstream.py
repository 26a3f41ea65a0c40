"""The mock upstream of a measurement, in a process of its own, with TLS under an authority of the moment if wanted."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DAYS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Where it is."""

    port: int
    authority: Path | None = None
    """The certificate that whoever asks it must trust; None: it speaks no TLS."""

    @property
    def url(self) -> str:
        return f"{'https' if self.authority else 'http'}://127.0.0.1:{self.port}"

    def context(self) -> ssl.SSLContext | None:
        """To ask it directly."""
        return ssl.create_default_context(cafile=str(self.authority)) if self.authority else None

    def environment(self) -> dict[str, str]:
        """Variables by which programs learn whom to trust: OpenSSL's and Python's, LiteLLM's, and Node's."""
        if self.authority is None:
            return {}
        path = str(self.authority)
        return {"SSL_CERT_FILE": path, "REQUESTS_CA_BUNDLE": path, "NODE_EXTRA_CA_CERTS": path}


@contextlib.contextmanager
def mock_upstream(module: str = "pointsman.evals.gateway.mock", *, tls: bool = False) -> Iterator[Upstream]:
    """A running mock."""
    with contextlib.ExitStack() as stack:
        files: list[str] = []
        authority = None
        if tls:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pointsman-bench-")))
            authority = folder / "authority.pem"
            files = [str(folder / "certificate.pem"), str(folder / "key.pem")]
            _write_certificates(folder)
        process = stack.enter_context(
            subprocess.Popen([sys.executable, "-m", module, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield Upstream(port=int(process.stdout.readline()), authority=authority)
        finally:
            process.stdin.close()


def _write_certificates(folder: Path) -> None:
    """An authority, and a certificate of it for 127.0.0.1, for two days."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.UTC)

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def certificate(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named("Benchmark authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=DAYS))
        )

    signer, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(signer.public_key())
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    authority = (
        certificate("Benchmark authority", signer)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(signer, hashes.SHA256())
    )
    leaf = (
        certificate("127.0.0.1", own)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]),
            critical=False,
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(signer, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "authority.pem").write_bytes(authority.public_bytes(pem))
    (folder / "certificate.pem").write_bytes(leaf.public_bytes(pem) + authority.public_bytes(pem))
    key = own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").touch(0o600)
    (folder / "key.pem").write_bytes(key)
