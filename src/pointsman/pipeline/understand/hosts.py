"""Whether a matched address or host name lies inside a private network."""

from __future__ import annotations

import ipaddress
import re

from .candidate import Candidate
from .tables import words

_VERSION_BEFORE = re.compile(
    r"(?:[Vv]ersion|[Ss]ection|release|build|[Vv]er\.?|>=?|<=?|~=?|\^|v)[ :=\"']{0,4}$|[A-Za-z]/$"
)


def private_ip(found: Candidate) -> bool:
    """An RFC 1918 address. Version numbers and the ranges themselves are public knowledge."""
    try:
        network = ipaddress.IPv4Interface(found.value)
    except ValueError:
        return False
    if "/" in found.value and network.network.prefixlen <= 16 and network.ip == network.network.network_address:
        return False
    return not _VERSION_BEFORE.search(found.before)


def unique_local_ip(found: Candidate) -> bool:
    """An RFC 4193 address."""
    try:
        address = ipaddress.IPv6Address(found.value.rstrip(":") if not found.value.endswith("::") else found.value)
    except ValueError:
        return False
    return address in ipaddress.IPv6Network("fc00::/7")


_PUBLIC_INTERNAL = re.compile(
    r"(?:host|gateway|kubernetes|vm|model-runner)\.docker\.internal|metadata\.google\.internal|(?:kubernetes\.default\.)?svc\.cluster\.local"
    r"|kubernetes\.default\.svc\.cluster\.local|cluster\.local|(?:.*\.)?example\.(?:local|internal|corp|lan)|.*\.compute\.internal",
)
_ASSIGNED = re.compile(r"\s*(?:=[^=]|\+=|\()")
_PORT_OR_PATH = re.compile(r":\d{2,5}\b|/\w")
_MORE_LABELS = re.compile(r"\.[A-Za-z0-9_]")
_PACKAGE_ROOTS = frozenset(words()["code_roots"])


def internal_host(found: Candidate) -> bool:
    """A host of a private zone, told from attributes and packages (`threading.local`, `com.acme.internal`).

    Two labels alone count only where they stand as a host: after `//` or `@`, before a port or a path, or with a
    digit or a hyphen in the name.
    """
    host, lead, tail = found.value.lower(), found.before[-1:], found.after
    labels = host.split(".")
    if found.value not in (host, host.upper()):
        return False
    if tail[:1] in ("(", "[", "_", "-") or _MORE_LABELS.match(tail) or _PUBLIC_INTERNAL.fullmatch(host):
        return False
    if labels[0] in _PACKAGE_ROOTS or lead in (".", "_", "$", "*", "-"):
        return False
    if lead == "/" and not found.before.endswith("//"):
        return False
    if _ASSIGNED.match(tail):
        return False
    placed = lead in ("/", "@") or _PORT_OR_PATH.match(tail) is not None
    named = any(letter.isdigit() or letter == "-" for letter in labels[0])
    zone = 2 if host.endswith(".home.arpa") else 1
    return placed or named or len(labels) > zone + 1
