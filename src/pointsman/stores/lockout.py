"""Slows down who guesses passwords: each failure beyond the first few doubles the wait before the next attempt.

Two things are counted, both in the database, so that all replicas count together: failures at an account and failures
from an address. Whoever has signed in to an account from an address before is counted apart there, so that a stranger
who guesses elsewhere cannot keep a user out. No wait is longer than a quarter of an hour, and waits are forgotten
after a day; `pointsman users unlock` forgets them at once.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence

import msgspec

from pointsman.core.errors import RateLimited
from pointsman.core.ports import Clock

from .database import Conflict, Database, Statement

ACCOUNT_FREE = 5
PEER_FREE = 20
"""Failures that cost no wait. Many people may share an address."""
LONGEST = 900.0
FORGOTTEN = 86_400.0


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that was counted as a failure before it was made; `Lockout.passed` takes that back."""

    account: str
    peer: str | None
    """None: a loopback address, which a proxy on this machine gives everybody."""


def wait_after(failures: int, free: int) -> float:
    """Seconds to wait after so many failures."""
    return 0.0 if failures < free else min(LONGEST, 2.0 ** min(failures - free, 20))


class Lockout:
    """Counts failed sign-ins."""

    def __init__(self, database: Database, clock: Clock, key: bytes) -> None:
        self._database = database
        self._clock = clock
        self._key = key

    async def begin(self, account: str, peer: str, *, known: bool) -> Attempt:
        """Count an attempt as failed before it is made, so that attempts at the same time cannot pass together.

        Args:
            known: whether this user has signed in from this address before.

        Raises:
            RateLimited: the next attempt is not due yet; the same for accounts that do not exist.
        """
        attempt = Attempt(
            account=self._subject("pair", account, peer) if known else self._subject("account", account),
            peer=None if _is_loopback(peer) else self._subject("peer", peer),
        )
        for _ in range(4):
            now = self._clock.now()
            rows = await self._database.fetch(
                "SELECT subject, failures, last_at, open_at FROM sign_in_failures WHERE subject IN ($1, $2)",
                attempt.account,
                attempt.peer or "",
            )
            standing = {str(row[0]): row[1:] for row in rows}
            due = max((open_at for _, _, open_at in standing.values()), default=0.0)
            if due > now:
                raise _wait(due - now)
            count = [
                _count(subject, standing.get(subject), now, free)
                for subject, free in ((attempt.account, ACCOUNT_FREE), (attempt.peer, PEER_FREE))
                if subject is not None
            ]
            try:
                await self._database.transaction(count)
            except Conflict:  # somebody else tried at the same moment
                continue
            return attempt
        raise _wait(1.0)

    async def passed(self, attempt: Attempt) -> None:
        """The attempt was no failure. The account's count starts anew; the address keeps what it had before."""
        await self._database.transaction(
            [
                Statement("DELETE FROM sign_in_failures WHERE subject = $1", (attempt.account,)),
                Statement(
                    "UPDATE sign_in_failures SET failures = failures - 1, open_at = $2"
                    " WHERE subject = $1 AND failures > 0",
                    (attempt.peer or "", 0.0),
                ),
            ]
        )

    async def forget(self, account: str, peers: Sequence[str] = ()) -> None:
        """Let an account be tried at once, from anywhere; with addresses, those too."""
        subjects = [self._subject("account", account), *(self._subject("peer", peer) for peer in peers)]
        await self._database.transaction(
            [Statement("DELETE FROM sign_in_failures WHERE subject = $1", (subject,)) for subject in subjects]
            + [
                Statement(
                    "DELETE FROM sign_in_failures WHERE subject LIKE $1", (self._subject("pair", account) + ".%",)
                )
            ]
        )

    async def tidy(self) -> None:
        """Drop what is forgotten."""
        await self._database.execute("DELETE FROM sign_in_failures WHERE last_at < $1", self._clock.now() - FORGOTTEN)

    def _subject(self, kind: str, *parts: str) -> str:
        digests = [hmac.digest(self._key, f"{kind}:{part}".encode(), "sha256").hex()[:40] for part in parts]
        return f"{kind}:{'.'.join(digests)}"


def _count(subject: str, standing: tuple[int, float, float] | None, now: float, free: int) -> Statement:
    """One more failure, provided that nobody has counted since `standing` was read."""
    before, last_at = (standing[0], standing[1]) if standing is not None else (0, now)
    failures = 1 if now - last_at > FORGOTTEN else before + 1
    return Statement(
        "INSERT INTO sign_in_failures (subject, failures, last_at, open_at) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (subject) DO UPDATE SET failures = $2, last_at = $3, open_at = $4"
        " WHERE sign_in_failures.failures = $5",
        (subject, failures, now, now + wait_after(failures, free), before),
        expect=1,
    )


def _is_loopback(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False


def _wait(seconds: float) -> RateLimited:
    return RateLimited(
        "Too many attempts. Wait a little, then try again.", code="sign_in_locked", retry_after=max(1.0, seconds)
    )
