"""Envelope encryption of what must be readable again: AES-256-GCM (NIST SP 800-38D) under a key of its own, wrapped.

Each value is encrypted under a fresh data key, and the data key under a key-encryption key that is derived from the
installation's secret. A rotation of the secret re-wraps the data keys; the values themselves are not touched.

    3 bytes   PE1
    8 bytes   fingerprint of the secret that wraps
    12 bytes  nonce of the wrapping
    48 bytes  the data key, encrypted, with its tag; bound to the fingerprint and to what the value is for
    12 bytes  nonce of the value
    rest      the value, encrypted, with its tag; bound to what it is for
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from pointsman.core.errors import StoreError

from .secret_key import SecretKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"PE1"
NONCE = 12
KEY = 32
TAG = 16
HEAD = len(MAGIC) + 8 + NONCE + KEY + TAG


class EnvelopeError(StoreError):
    """A stored secret cannot be decrypted."""

    code = "sealed_unreadable"


class UnknownSecret(EnvelopeError):
    """It was encrypted under a secret that this process does not have."""


class Envelope:
    """Seals and opens.

    Args:
        secret: what new envelopes are wrapped under.
        previous: secrets whose envelopes are still opened.
        more: asked for secrets when an envelope names none of ours: the key file may have been rotated meanwhile.
        random: where nonces and data keys come from; only tests name another.
    """

    def __init__(
        self,
        secret: SecretKey,
        previous: Sequence[SecretKey] = (),
        *,
        more: Callable[[], Iterable[SecretKey]] = tuple,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._more = more
        self._random = random
        self._current = _identifier(secret)
        self._keys = {_identifier(key): key.derive("credentials") for key in (*previous, secret)}

    def seal(self, value: bytes, bound: bytes) -> bytes:
        """Encrypt; `bound` is authenticated with it and must be given again to open it."""
        data_key, nonce = self._random(KEY), self._random(NONCE)
        return self._wrap(data_key, bound) + nonce + _aead(data_key).encrypt(nonce, value, b"value\0" + bound)

    def open(self, envelope: bytes, bound: bytes) -> bytes:
        """
        Raises:
            UnknownSecret: it was sealed under another secret.
            EnvelopeError: it was changed, belongs to another row, or is no envelope.
        """
        from cryptography.exceptions import InvalidTag

        data_key = self._unwrap(envelope, bound)
        nonce, sealed = envelope[HEAD : HEAD + NONCE], envelope[HEAD + NONCE :]
        try:
            return _aead(data_key).decrypt(nonce, sealed, b"value\0" + bound)
        except InvalidTag:
            raise _tampered() from None

    def rewrap(self, envelope: bytes, bound: bytes) -> bytes:
        """The same value under the current secret. Raises as `open`, except for a change to the value itself."""
        return self._wrap(self._unwrap(envelope, bound), bound) + envelope[HEAD:]

    def is_current(self, envelope: bytes) -> bool:
        """Whether the current secret wraps it."""
        return envelope[len(MAGIC) : len(MAGIC) + 8] == self._current

    def knows(self, envelope: bytes) -> bool:
        """Whether one of our secrets wraps it."""
        return envelope[len(MAGIC) : len(MAGIC) + 8] in self._keys

    def _wrap(self, data_key: bytes, bound: bytes) -> bytes:
        nonce = self._random(NONCE)
        wrapped = _aead(self._keys[self._current]).encrypt(nonce, data_key, b"key\0" + self._current + bound)
        return MAGIC + self._current + nonce + wrapped

    def _unwrap(self, envelope: bytes, bound: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        if len(envelope) < HEAD + NONCE + TAG or not envelope.startswith(MAGIC):
            raise EnvelopeError("A stored secret is no envelope that this version knows; put the database back.")
        identifier = envelope[len(MAGIC) : len(MAGIC) + 8]
        if identifier not in self._keys:
            self._keys |= {_identifier(key): key.derive("credentials") for key in self._more()}
        key = self._keys.get(identifier)
        if key is None:
            raise UnknownSecret(
                f"A stored secret is encrypted under the installation secret {identifier.hex()}, which is not at hand."
                " Set POINTSMAN_PREVIOUS_SECRET_KEY to the secret from before, or put its key file back."
            )
        nonce, wrapped = envelope[len(MAGIC) + 8 : HEAD - KEY - TAG], envelope[HEAD - KEY - TAG : HEAD]
        try:
            return _aead(key).decrypt(nonce, wrapped, b"key\0" + identifier + bound)
        except InvalidTag:
            raise _tampered() from None

    def __repr__(self) -> str:
        return "Envelope(…)"


def _identifier(secret: SecretKey) -> bytes:
    return bytes.fromhex(secret.fingerprint)


def _aead(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _tampered() -> EnvelopeError:
    return EnvelopeError(
        "A stored secret was changed in the database, or belongs to another row. Set it anew, or put the database back."
    )
