"""TLS 1.2 or newer, to both sides.

Towards upstreams: the system's trust store and certifi's together, host names checked. Towards clients: a certificate
and its key from files, read again when they are renewed.
"""

from __future__ import annotations

import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pointsman.core.errors import SettingsError

if TYPE_CHECKING:
    import ssl


@lru_cache(maxsize=8)
def client_context(ca_file: str | None = None) -> ssl.SSLContext:
    """The context for upstream connections, made once for each CA file. Reads files: takes about 20 ms.

    `ca_file` names PEM certificates that are trusted beside the public ones, such as a company's own CA.

    Raises:
        SettingsError: `ca_file` cannot be read or holds no certificate.
    """
    import ssl

    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or error.__class__.__name__
            raise SettingsError(
                "ca_file", ca_file, f"cannot be used ({reason}): name a file of PEM certificates"
            ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class ServerTls:
    """The listener's certificate. `context` serves for as long as the process does: a renewal changes it in place, for
    connections that are made from then on.

    Raises:
        SettingsError: a file cannot be read or used, the two do not belong together, or others may read the key.
    """

    def __init__(self, certificate: Path, key: Path | None = None) -> None:
        self._certificate = certificate
        self._key = key
        self._stamps = self._look()
        self.context = _server_context()
        self._load(self.context)

    def changed(self) -> bool:
        """Whether a file is another one than at the last look; looks."""
        before, self._stamps = self._stamps, self._look()
        return self._stamps != before

    def reload(self) -> None:
        """Read the files again. Raises SettingsError; the certificate from before is then kept."""
        self._load(_server_context())  # a pair that does not fit must not touch the one in use
        self._load(self.context)

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in (self._certificate, self._key or self._certificate)]

    def _load(self, context: ssl.SSLContext) -> None:
        import ssl

        key, what = (self._key, "server.tls_key") if self._key else (self._certificate, "server.tls_certificate")
        for path, setting in ((self._certificate, "server.tls_certificate"), (key, what)):
            try:
                text = path.read_bytes()
            except OSError as error:
                raise SettingsError(setting, str(path), f"cannot be read: {error.strerror or error}") from None
        _check_mode(key, what)
        if b"ENCRYPTED" in text:
            raise SettingsError(
                what, str(key), "is encrypted, and nobody is there to be asked for the password: `openssl pkey -in KEY"
                " -out PLAIN` writes it in the clear; make that file readable by its owner alone",
            )  # fmt: skip
        try:
            context.load_cert_chain(self._certificate, key, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or ""
            if "MISMATCH" in reason:
                mend = "is not the key of server.tls_certificate; name the pair that belongs together"
            elif b"PRIVATE KEY" not in text:
                mend = "holds no private key in PEM; name its file in server.tls_key"
            elif b"BEGIN CERTIFICATE" not in self._certificate.read_bytes():
                what, key, mend = "server.tls_certificate", self._certificate, "holds no certificate in PEM"
            else:
                mend = f"cannot be used with its certificate ({reason.replace('_', ' ').lower() or 'not PEM'})"
            raise SettingsError(what, str(key), mend) from None


def _server_context() -> ssl.SSLContext:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> str:
    """Asked for where a key is encrypted; without this the program would ask at the terminal."""
    raise ValueError("encrypted")


def _check_mode(key: Path, setting: str) -> None:
    """Others may not read a key; a group may where root owns it, as system services keep theirs."""
    status = key.stat()
    allowed = 0o740 if status.st_uid == 0 and os.geteuid() != 0 else 0o700
    if stat.S_IMODE(status.st_mode) & ~allowed & 0o777:
        raise SettingsError(setting, str(key), f"may be read by others, so it is not secret: chmod 600 {key}")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
