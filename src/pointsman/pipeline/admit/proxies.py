"""Who asks, behind proxies: `X-Forwarded-For` is believed only as far as trusted proxies wrote it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from pointsman.transport.http import HttpRequest

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

HOPS = 32
"""Addresses of the header that are read, from the right; what stands before them is not believed."""


class TrustedProxies:
    """Finds a client's address.

    Args:
        networks: addresses and networks of the proxies.

    Raises:
        ValueError: one of them is neither.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks: list[Network] = [ipaddress.ip_network(text, strict=False) for text in networks]

    def client_of(self, request: HttpRequest) -> str | None:
        """The rightmost address that no trusted proxy has; None where a trusted proxy names one that is none.

        A direct peer that is not trusted is the client, whatever it says.
        """
        if request.peer is None or not self._trusts(client := _address(request.peer)):
            return request.peer
        for hop in reversed(_hops(request)):
            client = _address(hop)
            if client is None:
                return None
            if not self._trusts(client):
                break
        return str(client)

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _hops(request: HttpRequest) -> list[str]:
    values = [value for name, value in request.headers if name == b"x-forwarded-for"]
    return [hop.strip() for hop in b",".join(values).decode("latin-1").split(",") if hop.strip()][-HOPS:]


def _address(text: str) -> Address | None:
    """An address, with or without a port; IPv4 within IPv6 as IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
