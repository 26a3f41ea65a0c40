"""What is encrypted under the installation's secret."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pointsman.core.errors import InvalidRequest
from pointsman.core.ports import Clock, SystemClock
from pointsman.settings import Settings
from pointsman.stores.credentials import Credentials
from pointsman.stores.database import Database
from pointsman.stores.envelope import Envelope, UnknownSecret
from pointsman.stores.installation import belongs_to
from pointsman.stores.sealed import SealedValues, Wrapping
from pointsman.stores.secret_key import SecretKey, renew_key_file, rotation_lock
from pointsman.stores.signing import SigningSecrets

from .stores import build_secret_key

PEPPER = "api-keys"
"""The installation's value that API keys are hashed under."""


def build_sealed(
    settings: Settings,
    database: Database,
    *,
    secrets: tuple[SecretKey, SecretKey | None] | None = None,
    clock: Clock | None = None,
) -> SealedValues:
    """The encrypted values of a database. A key file that is rotated while the process runs is read again.

    Args:
        secrets: the installation's secret and the one before; read from the settings where they are not given.

    Raises:
        SettingsError, StoreError: the secrets cannot be had.
    """

    def at_hand() -> Iterable[SecretKey]:
        return [key for key in build_secret_key(settings) if key is not None]

    secret, previous = secrets or build_secret_key(settings)
    envelope = Envelope(secret, [previous] if previous is not None else [], more=at_hand)
    return SealedValues(database, envelope, clock or SystemClock())


def build_credentials(settings: Settings, database: Database) -> Credentials:
    return Credentials(build_sealed(settings, database))


def build_signing(settings: Settings, database: Database) -> SigningSecrets:
    return SigningSecrets(build_sealed(settings, database))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What a rotation did."""

    made: bool
    """Whether a new key file was made; otherwise the new secret was there already."""
    rewrapped: int
    """Stored secrets that the new secret wraps since now."""
    fingerprint: str
    """Of the secret in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Which secrets are at hand and in use."""

    fingerprint: str
    previous: str | None
    database: str | None
    """Fingerprint of the secret that the database was last told to be encrypted under."""
    wrapping: Wrapping
    configured: bool
    """Whether the secret comes from the settings or the environment, and not from the key file."""

    @property
    def unfinished(self) -> bool:
        """Whether a rotation has begun and not ended."""
        moved = self.previous is not None and self.database == self.previous != self.fingerprint
        return bool(self.wrapping.previous) or moved


async def standing(settings: Settings, database: Database) -> Standing:
    """Raises SettingsError, StoreError."""
    secret, previous = secrets = build_secret_key(settings)
    claimed = await database.fetch("SELECT secret_fingerprint FROM installation WHERE id = 'this'")
    return Standing(
        fingerprint=secret.fingerprint,
        previous=previous.fingerprint if previous is not None else None,
        database=claimed[0][0] if claimed else None,
        wrapping=await build_sealed(settings, database, secrets=secrets).wrapping(),
        configured=settings.security.secret_key is not None,
    )


async def rotate(settings: Settings, database: Database) -> Rotated:
    """Bring everything stored under a new secret: the configured one, or one made for the key file.

    One that was interrupted is taken up where it stopped: a key file that was renewed is not renewed again.

    Raises:
        SettingsError, StoreError: nothing was changed in the database.
    """
    with rotation_lock(settings.data_dir):
        return await _rotate(settings, database)


async def _rotate(settings: Settings, database: Database) -> Rotated:
    now = await standing(settings, database)
    if now.wrapping.unknown:
        raise UnknownSecret(
            f"{now.wrapping.unknown} stored secrets are encrypted under a secret that is not at hand: set"
            " POINTSMAN_PREVIOUS_SECRET_KEY to it or put its key file back, or give them up with `pointsman secret"
            " forget`."
        )
    make = not now.configured and not now.unfinished
    if now.configured and not now.unfinished and now.database == now.fingerprint:
        raise InvalidRequest(
            "Everything is under this secret already. To rotate, set POINTSMAN_SECRET_KEY to a new one (`openssl rand"
            " -hex 32`) and POINTSMAN_PREVIOUS_SECRET_KEY to the one of now, in every gateway, and come back."
        )
    if make:
        await build_sealed(settings, database).verify()  # before anything is changed
        renew_key_file(settings.data_dir)
    secret, _ = secrets = build_secret_key(settings)
    rewrapped = await build_sealed(settings, database, secrets=secrets).rewrap((belongs_to(secret),))
    return Rotated(made=make, rewrapped=rewrapped, fingerprint=secret.fingerprint)
