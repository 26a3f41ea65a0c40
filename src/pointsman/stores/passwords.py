"""Passwords: which are accepted, and argon2id with a bound on how many are computed at once.

One hash takes 64 MiB (RFC 9106's low-memory profile, argon2-cffi's default) and a tenth of a second of several cores.
Two at once are computed; a handful more may wait, the rest are turned away.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from pointsman.core.errors import InvalidRequest, Overloaded

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")

MIN_LENGTH = 12
"""Characters. A password is all that guards an account here, so NIST SP 800-63B's eight would be few."""
MAX_BYTES = 1024
AT_ONCE = 2
WAITING = 32

WORDS: Final = (
    "password passwort motdepasse contrasena contraseña senha parola wachtwoord salasana haslo heslo пароль "
    "passw0rd p4ssword p4ssw0rd p@ssword p@ssw0rd pa$$word pa$$w0rd password1 mypassword secret topsecret letmein "
    "letmeinnow welcome welcomeback changeme changethis default temporary temppassword testtest testing guest "
    "guestguest admin administrator adminadmin root rootroot toor user useruser login loginlogin master superuser "
    "superman batman qwerty qwertyuiop qwertyuiopasdf qwertyqwerty qwertzuiop azertyuiop asdfghjkl asdfghjklzxcvbnm "
    "zxcvbnm qwertyuiopasdfghjkl qazwsxedc qazwsxedcrfv qazxswedc zaqwsx 1qaz2wsx 1qaz2wsx3edc 1q2w3e4r 1q2w3e4r5t "
    "1q2w3e4r5t6y q1w2e3r4 q1w2e3r4t5 q1w2e3r4t5y6 abcdefghijkl abcdefgh abcdefghijklmnopqrstuvwxyz abcabcabcabc "
    "iloveyou iloveyouforever princess sunshine football baseball basketball monkey dragon shadow michael jennifer "
    "jordan harley hunter ranger buster soccer hockey killer george charlie andrew thomas jessica pepper daniel "
    "access trustno starwars whatever freedom computer internet corvette mercedes mustang ferrari cheese summer "
    "winter spring autumn january february march april may june july august september october november december "
    "correcthorsebatterystaple pointsman gateway openai chatgpt "
)
COMMON: Final = frozenset(WORDS.split())
"""Words that passwords are most often made of; a word with digits and signs around it, or said twice, is the same."""

SEQUENCES: Final = ("01234567890123456789", "98765432109876543210", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjkl")


def check_password(password: str, name: str) -> None:
    """Refuse what is guessed first.

    Raises:
        InvalidRequest: saying what to change, and never what was sent.
    """
    refused = _why_not(normal(password), unicodedata.normalize("NFKC", name).casefold())
    if refused:
        raise InvalidRequest(refused, param="password", code="password_refused")


def normal(password: str) -> str:
    """The form that is hashed: the same characters typed on another keyboard give the same bytes (RFC 8265)."""
    return unicodedata.normalize("NFC", password)


def _why_not(password: str, name: str) -> str:
    if len(password.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return f"The password is longer than {MAX_BYTES} bytes."
    if len(password) < MIN_LENGTH:
        return f"The password must have at least {MIN_LENGTH} characters; several words make a good one."
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in password):
        return "The password holds a control character."
    folded = password.casefold()
    if len(set(folded)) < 5:
        return "The password is made of too few different characters."
    core = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", folded)
    half = core[: len(core) // 2]
    if folded in COMMON or core in COMMON or (half * 2 == core and half in COMMON) or (not core and folded.isdigit()):
        return (
            "This password is one of the first that are guessed. Several words that do not belong together are better."
        )
    if any(folded in run * 2 for run in SEQUENCES):
        return "This password is a row of neighbours. Several words that do not belong together are better."
    local = name.partition("@")[0]
    if any(len(part) >= 4 and part in folded for part in {name, local}) and len(folded) < len(local) + MIN_LENGTH:
        return "The password holds the user's name."
    return ""


class Passwords:
    """Hashes and checks passwords in threads of its own."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """
        Args:
            hasher: other parameters than the library's own, for tests.
        """
        self._hasher = hasher
        self._threads: ThreadPoolExecutor | None = None
        self._waiting = 0
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """
        Raises:
            Overloaded: too many wait already.
        """
        return await self._run(lambda hasher: hasher.hash(normal(password).encode("utf-8", "surrogatepass")))

    async def verify(self, stored: str | None, password: str) -> tuple[bool, bool]:
        """Whether it is the password, and whether it should be hashed anew, because the parameters have changed.

        Takes as long for a user who does not exist (`stored` is None).

        Raises:
            Overloaded: too many wait already.
        """
        given = normal(password).encode("utf-8", "surrogatepass")[: MAX_BYTES + 1]

        def work(hasher: PasswordHasher) -> tuple[bool, bool]:
            from argon2.exceptions import InvalidHashError, VerificationError

            if self._nobody is None:
                self._nobody = hasher.hash(b"nobody")
            try:
                hasher.verify(stored or self._nobody, given)
            except (VerificationError, InvalidHashError):
                return False, False
            return stored is not None and len(given) <= MAX_BYTES, hasher.check_needs_rehash(stored or self._nobody)

        return await self._run(work)

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[PasswordHasher], T]) -> T:
        if self._waiting >= WAITING:
            raise Overloaded("Too many people sign in at this moment; try again shortly.", retry_after=2.0)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._with_hasher, work)
        finally:
            self._waiting -= 1

    def _with_hasher(self, work: Callable[[PasswordHasher], T]) -> T:
        if self._hasher is None:
            from argon2 import PasswordHasher

            self._hasher = PasswordHasher()
        return work(self._hasher)
