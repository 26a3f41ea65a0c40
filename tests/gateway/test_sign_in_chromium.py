"""The pages of signing in, in a real browser: no policy of ours may stand in the way of our own forms."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from playwright.sync_api import Page, expect

from . import chromium
from .browser import PASSWORD
from .running import running
from .test_oauth import register

PROGRAM = chromium.find()

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium here")


@pytest.fixture
def application() -> Iterator[tuple[str, list[str]]]:
    """Where an application waits for its answer, and the paths that it was sent."""
    arrived: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            arrived.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"arrived")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/cb", arrived
    server.shutdown()
    thread.join()
    server.server_close()


def fill(page: Page, **fields: str) -> None:
    """Fill the form in which these fields stand, and send it by its button."""
    for name, value in fields.items():
        page.locator(f"#{name}").fill(value)
    page.locator("form", has=page.locator(f"#{next(iter(fields))}")).get_by_role("button").click()


def test_a_person_sets_up_signs_out_and_in_and_lets_applications_act(settings, tmp_path: Path, application):
    assert PROGRAM is not None
    redirect_uri, arrived = application
    with running(tmp_path / "gateway", settings) as gateway, chromium.opened(PROGRAM) as (page, complaints):
        page.goto(f"{gateway.url}/setup")
        width = page.locator("main").evaluate("element => getComputedStyle(element).maxWidth")
        assert width == "544px", "the style is allowed"
        fill(page, name="ada", password=PASSWORD, again=PASSWORD)
        page.wait_for_url("**/account")
        expect(page.locator("body")).to_contain_text("ada (admin)")
        assert page.evaluate("document.cookie") == ""
        new = "four green bottles"
        fill(page, current=PASSWORD, password=new, again=new)
        page.wait_for_url("**/account?done=1")
        page.locator("form").first.get_by_role("button").click()
        page.wait_for_url("**/sign-in")
        page.goto(f"{gateway.url}/v1/models")
        page.wait_for_url("**/sign-in?next=/v1/models")
        fill(page, name="ada", password=new)
        page.wait_for_url("**/v1/models")
        for words in ((), ("--first-party",)):
            client = register(gateway, "App", "--redirect-uri", "http://127.0.0.1/cb", *words)
            asked = urlencode(
                {
                    "response_type": "code", "client_id": client["id"], "redirect_uri": redirect_uri, "scope": "chat",
                    "state": "s", "code_challenge": create_s256_code_challenge("v" * 50),
                    "code_challenge_method": "S256",
                }
            )  # fmt: skip
            page.context.clear_cookies()
            page.goto(f"{gateway.url}/oauth/authorize?{asked}")
            page.wait_for_url("**/sign-in?**")
            fill(page, name="ada", password=new)
            if not words:
                page.locator("button[value=allow]").click()
            expect(page.locator("body")).to_have_text("arrived")
        answers = [path for path in arrived if path.startswith("/cb?code=")]
        assert len(answers) == 2
        assert [text for text in complaints if "favicon" not in text and "404" not in text] == []
