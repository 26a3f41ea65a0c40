"""The pages for people: whole, closed to scripts, and loading nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from pointsman.surfaces.web.reference import render

from .conftest import Api

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Page(HTMLParser):
    """Which elements, links and anchors a page has; fails on one that is not closed."""

    VOID = frozenset({"meta", "br", "link", "img", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: set[str] = set()
        self.links: list[str] = []
        self.anchors: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in ("src", "style")
            if name == "href":
                self.links.append(value or "")
            if name == "id":
                self.anchors.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_is_well_formed_and_holds_nothing_active(api: Api, path: str):
    reply = await api.ask("GET", path, headers=BROWSER)
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    page = Page(reply.body.decode())
    assert not page.elements & {"script", "link", "img", "iframe", "form", "object"}
    assert all(link.startswith(("/", "#")) for link in page.links)
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.anchors
        else:
            assert (await api.ask("GET", link)).status == 200
    assert len(set(page.anchors)) == len(page.anchors)


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_is_locked_down_by_its_headers(api: Api, path: str):
    reply = await api.ask("GET", path, headers=BROWSER)
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    style = re.search(r"<style>(.*?)</style>", reply.body.decode(), re.DOTALL)
    assert style is not None
    assert base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode() in policy
    assert reply.headers["x-frame-options"] == "DENY"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"


async def test_the_reference_lists_every_operation_and_schema(api: Api):
    document = (await api.ask("GET", "/openapi.json")).json
    text = (await api.ask("GET", "/docs")).body.decode()
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<h3><code>{method.upper()} {path}</code></h3>" in text
    for name in document["components"]["schemas"]:
        assert f"<h3><code>{name}</code></h3>" in text


async def test_the_reference_groups_operations_by_who_asks(api: Api):
    text = (await api.ask("GET", "/docs")).body.decode()
    listed = re.findall(r"<h2>(.*?)</h2>|<li><a href='[^']*'><code>\S+ (\S+)</code>", text)
    of, title = {}, ""
    for heading, path in listed:
        title = heading or title
        of.setdefault(path, title)
    assert of["/v1/messages"].startswith("OpenAI")
    assert of["/api/v1/route"] == "The router&#x27;s own API"
    assert of["/api/tags"] == "Ollama&#x27;s API"
    assert of["/api/health"] == of["/metrics"] == "Beside these"


def test_what_the_document_says_is_escaped():
    hostile = "<script>alert(1)</script>"
    document = {
        "info": {"title": hostile, "version": hostile, "description": hostile},
        "paths": {
            f"/{hostile}": {
                "get": {
                    "summary": hostile,
                    "description": f"`{hostile}`",
                    "parameters": [{"name": hostile, "in": "query", "schema": {"enum": [hostile]}}],
                    "responses": {"200": {"description": hostile, "content": {hostile: {"schema": {"type": hostile}}}}},
                }
            }
        },
        "components": {"schemas": {hostile: {"description": hostile, "properties": {hostile: {"const": hostile}}}}},
    }
    html = render(document)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 10
