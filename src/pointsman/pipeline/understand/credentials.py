"""Whether a matched key or password is a real one: placeholders, code and weak words are not."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from urllib.parse import unquote

import msgspec
import re2

from .candidate import Candidate
from .checksums import sequential
from .tables import words

_PLACEHOLDER = re.compile(
    r"example|placeholder|your|change.?me|change.?this|dummy|sample|redacted|removed|masked|hidden|insert|replace|fake|foo.?bar"
    r"|xxxx|\*\*\*|\.\.\.|…|<|\$\{|\$\(|\{\{|%\(|todo|lorem|deadbeef|not.?a.?real|qwerty|asdf|my.?(?:secret|pass|token|key|api)"
    r"|(?:secret|api|access|private).?key|password|passwd|goes.?here|_here\b|test.?(?:token|secret|key)",
    re.IGNORECASE,
)
_WEAK_WORDS = frozenset(words()["weak_passwords"])
_NO_SECRET_BEFORE = re.compile(
    r"(?:next|page|continuation|sync|cancel|csrf|etag)_?-?\w{0,8}\W{0,6}$|public_?key_?token\W{0,4}$|\w:secrets?:$",
    re.IGNORECASE,
)
"""Page markers, the public halves of key pairs, and the names of secrets."""
_KEY_BEFORE = re.compile(r"(?:api_?key|auth_?token|client_?secret)\W{1,8}$", re.IGNORECASE)
"""Where even a UUID is a key; behind `token` alone it mostly names something."""
_HEADER_NAME = re.compile(r"[a-z]+(?:-[a-z]+)*(?:-[a-z]{0,8}\d{1,4})?")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# In RE2: a backtracking engine takes a time exponential in the length of a row of separators.
_WORDS = re2.compile(r"[A-Za-z$]*(?:[-_./:$ ]+(?:[A-Za-z$]*|\d{1,4}))*")
_NAME = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|[A-Za-z_$][\w$]*(?:(?:\.|::|->|\?\.)[A-Za-z_$][\w$]*)+")
_HEAD_LINE = "LS0tLS1CRUdJTi"
"""`-----BEGIN ` in base64."""
_LONGEST = 512
"""Characters of a value that are judged."""
_PORT = re.compile(r"\d{1,5}(?:/|$)")
_ENTRY = re.compile(r"[A-Za-z0-9+/]{4,}={0,2}(?=\W*$)", re.MULTILINE)
_PATH = re.compile(r"(?:https?:|file:|[~.]{0,2}/|[A-Za-z]:\\|\^|\\|@|%|#|&|\$|=|!|\|)")


def _placeholder(text: str) -> bool:
    """Whether it says itself that it is none.

    A row such as `abcdef123456` in an issuer's format does not: who sends one expects to see it kept.
    """
    return _PLACEHOLDER.search(text) is not None


def entropy(text: str) -> float:
    """Shannon's, in bits a character, of the characters' own frequencies."""
    size = len(text)
    return -sum(count / size * math.log2(count / size) for count in Counter(text).values()) if size else 0.0


def random(found: Candidate) -> bool:
    """No placeholder, and as varied as random letters."""
    return not _placeholder(found.value) and entropy(found.value) >= (2.5 if len(found.value) < 24 else 3.0)


def key_like(found: Candidate) -> bool:
    """`random`, and made of letters and digits both, as issued keys are; no words joined by hyphens."""
    return (
        not _HEADER_NAME.fullmatch(found.value)
        and any(letter.isdigit() for letter in found.value)
        and any(letter.isalpha() for letter in found.value)
        and random(found)
    )


def jwt(found: Candidate) -> bool:
    """A header that names an algorithm. The signature is what makes it a credential."""
    head, _, signature = found.value.split(".")[:3]
    try:
        header = msgspec.json.decode(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (msgspec.MsgspecError, binascii.Error, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(header, dict) and "alg" in header and not _placeholder(signature)


def _chosen(value: str) -> bool:
    """Whether somebody may have chosen this as a password, and did not write a word, a name or a variable."""
    if len(value) < 5 or _UUID.fullmatch(value) or _placeholder(value):
        return False
    return value.lower().strip("0123456789!?.,_-#*") not in _WEAK_WORDS


def _mixed(value: str) -> bool:
    """Letters together with digits or symbols, beyond words that are joined."""
    letters = any(letter.isalpha() for letter in value)
    others = any(not letter.isalpha() and letter not in "_-./ " for letter in value)
    return letters and others


def password(found: Candidate) -> bool:
    """The value of `password = …`: mixed characters, and neither code, path, variable nor well-known word."""
    value = found.value[:_LONGEST].rstrip(".,;")
    quoted = found.before[-1:] in ("'", '"')
    if " " in value or not _mixed(value) or not _chosen(value) or _PATH.match(value):
        return False
    if not quoted and (found.after[:1] in ("(", "[", "{", "<") or _NAME.fullmatch(value) or _WORDS.fullmatch(value)):
        return False
    return not (_NAME.fullmatch(value) and "_" in value)


def spoken_password(found: Candidate) -> bool:
    """The word after `my password is`: letters and digits both. After `PIN is`: four digits or more."""
    value = found.value.rstrip(".,;:!?)'\"`")
    if value.isdigit():
        return re.search(r"\bpin\b", found.before, re.IGNORECASE) is not None and not sequential(value)
    return any(letter.isdigit() for letter in value) and password(Candidate(value, "", found.after))


def assigned_secret(found: Candidate) -> bool:
    """The value of `token = …`: long, random, and neither code, path, identifier nor page marker."""
    value = found.value[:_LONGEST].rstrip(".,;")
    if _UUID.fullmatch(value):
        return _KEY_BEFORE.search(found.before) is not None and not sequential(value.replace("-", ""))
    if len(value) < 16 or _PATH.match(value) or found.after[:1] in ("(", "["):
        return False
    if _NAME.fullmatch(value) or _WORDS.fullmatch(value) or re.search(r"://|::|->|==|\w\.\w+\.\w+\.", value):
        return False
    if _NO_SECRET_BEFORE.search(found.before):
        return False
    return key_like(Candidate(value)) and entropy(value) >= 3.0 and not sequential(value)


def named_secret(found: Candidate) -> bool:
    """A value that is named a secret beside it, by an attribute, an argument or a command: letters and digits both."""
    value = found.value.rstrip(".,;")
    return (
        len(value) >= 8
        and sum(letter.isdigit() for letter in value) >= 2
        and not sequential(value)
        and found.after[:1] not in ("(", "[")
        and password(Candidate(value, found.before))
    )


def encoded_credentials(found: Candidate) -> bool:
    """Base64 of a private key or of `user:password`, or the entries of a Kubernetes Secret."""
    if "\n" in found.value or '"' in found.value or ": " in found.value:
        return any(_is_entry(entry) for entry in _ENTRY.findall(found.value.replace(",", "\n")))
    if found.value.startswith(_HEAD_LINE):
        return _is_private_key(found.value)
    decoded = _base64(found.value)
    if decoded is None:
        return False
    user, colon, word = decoded.partition(":")
    return bool(colon) and bool(user + word) and decoded.isprintable() and _chosen(word or user)


def also_told(detector: str, value: str) -> list[str]:
    """What else tells as much as a value: the password in an address, what stands in base64."""
    if detector == "url_password":
        user, _, word = value.partition("://")[2].rpartition("@")[0].partition(":")
        return [word or user, unquote(word or user)]
    if detector not in ("encoded_credentials", "authorization_header") or value.startswith(_HEAD_LINE):
        return []
    entries = _ENTRY.findall(value.replace(",", "\n"))
    if entries == [value]:
        decoded = _base64(value) or ""
        word = decoded.partition(":")[2]
        return [decoded, word] if word else []
    return [word for entry in entries if _is_entry(entry) for word in (entry, (_base64(entry) or "").strip())]


def _is_entry(encoded: str) -> bool:
    if encoded.startswith(_HEAD_LINE):
        return _is_private_key(encoded)
    decoded = _base64(encoded)
    if decoded is None:
        return len(encoded) >= 24 and random(Candidate(encoded))
    return _chosen(decoded.strip()) and (_mixed(decoded) or len(decoded) >= 16)


def _is_private_key(encoded: str) -> bool:
    return b"PRIVATE KEY" in base64.b64decode(encoded[:64] if len(encoded) >= 64 else encoded[: len(encoded) // 4 * 4])


def _base64(encoded: str) -> str | None:
    """The text in a base64 text; None when it is none."""
    letters = encoded.rstrip("=")
    try:
        return base64.b64decode(letters[: len(letters) - (len(letters) % 4 == 1)] + "=" * (-len(letters) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def url_password(found: Candidate) -> bool:
    """`scheme://user:password@host` with a password that is not a stand-in."""
    scheme, _, rest = found.value.partition("://")
    credentials, _, host = rest.rpartition("@")
    user, _, word = credentials.partition(":")
    if not word:  # a token in the user's place
        return bool(host) and key_like(Candidate(user)) and not _UUID.fullmatch(user)
    if _PORT.match(word):
        return False
    if scheme.lower() in ("sha256", "ssh-rsa") or word.startswith(("$", "{", "%", "[", "(")) or word == user:
        return False
    return bool(host) and _chosen(word.rstrip("\\")) and word.upper() != word.strip("0123456789_").upper() + "_PASS"
