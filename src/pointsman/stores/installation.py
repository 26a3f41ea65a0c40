"""Which secret a database belongs to: replicas that share it must share their secret."""

from __future__ import annotations

import logging

from pointsman.core.errors import StoreError

from .database import Database, Statement
from .secret_key import SecretKey

log = logging.getLogger(__name__)

OTHER_SECRET = "other_secret"  # noqa: S105 - the code of an error


async def claim(database: Database, secret: SecretKey, previous: SecretKey | None = None) -> None:
    """See that everything in this database was derived from our secret; a fresh database is ours from now on.

    Args:
        previous: the secret before a rotation. A database that still belongs to it is fine: stored credentials are
            read with either, and the rotation's command makes it the new secret's.

    Raises:
        StoreError: it belongs to another secret, or the database is away. With the embedded database that is only
            warned of: who deletes the key file means to begin anew.
    """
    await database.execute(
        "INSERT INTO installation VALUES ('this', $1) ON CONFLICT (id) DO NOTHING", secret.fingerprint
    )
    [(known,)] = await database.fetch("SELECT secret_fingerprint FROM installation WHERE id = 'this'")
    if known == secret.fingerprint or (previous is not None and known == previous.fingerprint):
        return
    if database.dialect == "sqlite":
        log.warning("The secret is another one than before: API keys, sessions and stored credentials are void.")
        await database.transaction([belongs_to(secret)])
        return
    raise StoreError(
        "This database belongs to another POINTSMAN_SECRET_KEY: API keys, sessions and stored credentials in it could"
        " not be read. Give every replica the same secret; after a rotation, also the old one as"
        " POINTSMAN_PREVIOUS_SECRET_KEY.",
        code=OTHER_SECRET,
    )


def belongs_to(secret: SecretKey) -> Statement:
    """The statement that makes the database another secret's: the last of a rotation's transaction."""
    return Statement(
        "INSERT INTO installation VALUES ('this', $1)"
        " ON CONFLICT (id) DO UPDATE SET secret_fingerprint = excluded.secret_fingerprint",
        (secret.fingerprint,),
        1,
    )
