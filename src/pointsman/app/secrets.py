"""What is encrypted under the installation's secret."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.core.ports import Clock, SystemClock
from pointsman.settings import Settings
from pointsman.stores.credentials import Credentials
from pointsman.stores.database import Database
from pointsman.stores.envelope import Envelope
from pointsman.stores.sealed import SealedValues
from pointsman.stores.secret_key import SecretKey
from pointsman.stores.signing import SigningSecrets

from .stores import build_secret_key


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
