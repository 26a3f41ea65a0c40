"""Who asks, behind proxies: nothing that a client writes itself is believed."""

from __future__ import annotations

import pytest

from pointsman.pipeline.admit.proxies import TrustedProxies
from pointsman.transport.http import HttpRequest

PROXIES = TrustedProxies(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"])


def client(peer: str | None, *forwarded: str) -> str | None:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    return PROXIES.client_of(HttpRequest("GET", "/", b"", [(b"host", b"x"), *headers], b"", peer))


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        # a client that speaks to us itself may write what it likes
        ("198.51.100.1", [], "198.51.100.1"),
        ("198.51.100.1", ["127.0.0.1"], "198.51.100.1"),
        ("198.51.100.1", ["10.0.0.1", "203.0.113.5"], "198.51.100.1"),
        (None, ["203.0.113.5"], None),
        # a trusted proxy says who came; what stands further left was written by that client
        ("10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["127.0.0.1, 203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["10.9.9.9, 127.0.0.1, 203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["127.0.0.1", "203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["203.0.113.5, 192.0.2.7, 10.0.0.2"], "203.0.113.5"),
        # nobody but proxies: the outermost of them
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
        # forms
        ("10.0.0.1", ["203.0.113.5:4711"], "203.0.113.5"),
        ("10.0.0.1", ["[2001:db9::5]:4711"], "2001:db9::5"),
        ("10.0.0.1", ["2001:db9::5"], "2001:db9::5"),
        ("::ffff:10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["203.0.113.5, ::ffff:192.0.2.7"], "203.0.113.5"),
        ("2001:db8::1", ["  203.0.113.5  ,"], "203.0.113.5"),
        # a trusted proxy that names no address: nobody knows
        ("10.0.0.1", ["203.0.113.5, unknown"], None),
        ("10.0.0.1", ["_hidden"], None),
        ("10.0.0.1", ["203.0.113.5, 10.0.0.999"], None),
        ("10.0.0.1", ["\xff\xfe"], None),
    ],
)
def test_the_client(peer: str | None, forwarded: list[str], found: str | None):
    assert client(peer, *forwarded) == found


def test_a_long_chain_is_not_read_whole():
    assert client("10.0.0.1", ", ".join(["203.0.113.5"] + ["10.0.0.2"] * 100_000)) == "10.0.0.2"


def test_settings_name_networks():
    from pointsman import settings
    from pointsman.core.errors import SettingsError

    with pytest.raises(SettingsError, match=r"server\.trusted_proxies"):
        settings.load({"server.trusted_proxies": ["proxy.example"]}, environ={})
