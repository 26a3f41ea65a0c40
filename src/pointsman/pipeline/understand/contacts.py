"""Whether a matched mailbox, phone number or address may be a person's."""

from __future__ import annotations

import re

from .candidate import Candidate
from .checksums import sequential
from .tables import words

_NO_MAILBOX = re.compile(
    r"(?:no-?_?\.?reply|do-?not-?reply|git|ssh|user|username|your\.?-?_?\w*|you|me|name|foo|bar|baz|someone|somebody"
    r"|first\.?last|email|mailer-daemon|postmaster|xxx+|root)",
    re.IGNORECASE,
)
_NO_DOMAIN = re.compile(
    r"(?:.*[.-])?(?:test|invalid|localhost|noreply|yourdomain|your-?company|mydomain|domain|company|email|placeholder|foo|bar)"
    r"\.(?:com?|org|net|edu|io|dev|[a-z]{2})(?:\.[a-z]{2})?|.*\.(?:test|invalid|localhost|local|internal|lan|corp)"
    r"|(?:.*\.)?noreply\..*",
    re.IGNORECASE,
)
_FILE_ENDINGS = frozenset(words()["no_mail_zones"])


def email(found: Candidate) -> bool:
    """A mailbox that may be a person's: no `noreply`, no `you@yourdomain`, no file name, package or decorator.

    One at example.com counts: who writes it expects to see it kept, and a false alarm costs little.
    """
    local, _, domain = found.value.rpartition("@")
    if domain.rpartition(".")[2].lower() in _FILE_ENDINGS or _NO_DOMAIN.fullmatch(domain):
        return False
    if found.before.endswith("://") or (found.before.endswith((":", "/")) and "://" in found.before):
        return False
    if local.lower() in ("git", "svn", "hg", "ssh") or (local.lower() == "user" and found.after.startswith(":")):
        return False
    return _NO_MAILBOX.fullmatch(local) is None


_CALLING_CODES = re.compile(
    r"1[2-9]|7[3489]|2[07]|3[0123469]|4[013456789]|5[12345678]|6[0123456]|8[1246]|9[0123458]"
    r"|2[1234569]\d|3[578]\d|42[013]|5[09]\d|6[789]\d|8[058]\d|9[679]\d"
)


def phone_international(found: Candidate) -> bool:
    """A calling code, 9 to 15 digits, and not an added line of a diff."""
    digits = "".join(letter for letter in found.value if letter.isdigit()).removeprefix("00")
    grouped = any(letter in found.value for letter in " .-(")
    if not grouped and (found.value[0] != "+" or re.search(r"@@|^[+-]", found.before, re.MULTILINE)):
        return False
    if re.fullmatch(r"\+\d+\.\d{1,3}", found.value):
        return False
    if found.value[0] == "0" and re.search(r"\d ?$", found.before):
        return False
    if not 9 <= len(digits) <= 15 or not _CALLING_CODES.match(digits):
        return False
    return len(set(digits)) >= 4 and not sequential(digits, 0.7)


def phone_us(found: Candidate) -> bool:
    digits = "".join(letter for letter in found.value if letter.isdigit())
    return len(set(digits)) >= 4 and not sequential(digits, 0.85)


def phone_named(found: Candidate) -> bool:
    """The number after `Tel:` and the like, in any national writing."""
    digits = "".join(letter for letter in found.value if letter.isdigit())
    if not 7 <= len(digits) <= 15 or re.fullmatch(r"\d{4}[-/.]\d\d[-/.]\d\d|\d+\.\d+|[\d.]+", found.value):
        return digits[:1] == "0" and found.value.isdigit() and 9 <= len(digits) <= 12 and phone_us(found)
    return phone_us(found)


def address(found: Candidate) -> bool:
    return (
        re.search(
            r"\b(?:123 Main|Anytown|Any ?Street|Example|Sample|Springfield|Fake|Temple Place|Franklin St)\b",
            found.value,
        )
        is None
    )
