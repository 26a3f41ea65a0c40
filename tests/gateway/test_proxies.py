"""A key that is bound to a network, behind a proxy: over the wire, on both data planes."""

from __future__ import annotations

import pytest

from waiting import until

from .running import running
from .test_credentials import pointsman

BOUND = "203.0.113.0/24"


@pytest.mark.parametrize(
    ("trusted", "forwarded", "status"),
    [
        (["127.0.0.0/8"], "203.0.113.5", 200),
        (["127.0.0.0/8"], "203.0.113.5, 198.51.100.1", 403),
        (["127.0.0.0/8"], "", 403),
        ([], "203.0.113.5", 403),
        (["10.0.0.0/8"], "203.0.113.5", 403),
    ],
)
def test_a_bound_key(tmp_path, settings, data_plane, trusted, forwarded, status):
    tree = {**settings, "server": {"trusted_proxies": trusted, "data_plane": data_plane}}
    with running(tmp_path, tree) as gateway:
        token = pointsman(gateway, "keys", "create", "joe", "--network", BOUND).strip()
        until(lambda: gateway.ask("GET", "/v1/models").status == 401)
        headers = {"Authorization": f"Bearer {token}"} | ({"X-Forwarded-For": forwarded} if forwarded else {})
        assert gateway.ask("GET", "/v1/models", headers=headers).status == status
