"""As much of a browser as forms need: cookies with their rules, forms as they stand in the page, and origins."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from .running import Gateway, Reply

PASSWORD = "three wooden horses"


@dataclass
class Form:
    action: str
    fields: dict[str, str] = field(default_factory=dict)


class Page(HTMLParser):
    """The forms, text and elements of a page."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.labelled: set[str] = set()
        self.text = ""
        self.feed(body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        if tag == "form":
            self.forms.append(Form(found["action"] or ""))
        if tag == "input":
            self.forms[-1].fields[found["name"] or ""] = found.get("value") or ""
        if tag == "label":
            self.labelled.add(found["for"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data


class Browser:
    """Talks to one gateway at a time; the cookies go with it to another on the same host."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.cookies: dict[str, str] = {}
        self.flags: dict[str, str] = {}

    def _headers(self, headers: dict[str, str] | None) -> dict[str, str]:
        cookie = (
            {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        )
        return {**cookie, **(headers or {})}

    def get(self, path: str, **headers: str) -> Reply:
        sent = {"sec-fetch-mode": "navigate", "sec-fetch-site": "none", **headers}
        return self._keep(self.gateway, "GET", path, None, sent)

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Reply:
        sent = {"content-type": "application/x-www-form-urlencoded", "origin": self.gateway.url,
                "sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate", **headers}  # fmt: skip
        return self._keep(self.gateway, "POST", path, urlencode(fields).encode(), sent)

    def submit(self, path: str, *, form: int = 0, **fields: str) -> Reply:
        """Open a page and send one of its forms, filled in."""
        page = Page(self.get(path).body)
        found = page.forms[form]
        return self.post(found.action, {**found.fields, **fields})

    def sign_in(self, name: str, password: str = PASSWORD, *, next: str = "") -> Reply:
        return self.submit(f"/sign-in?next={next}" if next else "/sign-in", name=name, password=password)

    def _keep(self, gateway: Gateway, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        reply, cookies = ask_raw(gateway, method, path, body, self._headers(headers))
        for line in cookies:
            pair, _, flags = line.partition("; ")
            name, _, value = pair.partition("=")
            self.flags[name] = flags
            if "Max-Age=0" in flags:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return reply


def ask_raw(gateway: Gateway, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[Reply, list[str]]:
    """One request; also every Set-Cookie line of the answer."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        lines = answer.getheaders()
        reply = Reply(answer.status, {name.lower(): value for name, value in lines}, answer.read())
        return reply, [value for name, value in lines if name.lower() == "set-cookie"]
    finally:
        connection.close()


def set_up(gateway: Gateway, name: str = "ada") -> Browser:
    """The first admin, made on the set-up page."""
    browser = Browser(gateway)
    reply = browser.submit("/setup", name=name, password=PASSWORD, again=PASSWORD)
    assert reply.status == 303, reply.body
    assert reply.headers["location"] == "/account"
    return browser
