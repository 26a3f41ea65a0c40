"""The reference tells of every endpoint that the running gateway says it has, and of no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/reference/http-api.md"


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


def test_every_endpoint_is_told(gateway):
    document = gateway.ask("GET", "/openapi.json").json
    served = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    told = set(re.findall(r"^\| `((?:GET|POST|PUT|PATCH|DELETE) /\S*)` \|", PAGE.read_text(), re.MULTILINE))
    assert told - {"GET /", "GET /docs", "GET /openapi.json"} == served
    for path in ("/", "/docs", "/openapi.json"):
        assert gateway.ask("GET", path).status == 200
