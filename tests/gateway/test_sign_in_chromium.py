"""The pages of signing in, in a real browser: no policy of ours may stand in the way of our own forms."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge

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


def test_a_person_sets_up_signs_out_and_in_and_lets_applications_act(settings, tmp_path: Path, application):
    assert PROGRAM is not None
    redirect_uri, arrived = application
    with running(tmp_path / "gateway", settings) as gateway, chromium.opened(PROGRAM, tmp_path / "profile") as tab:
        tab.go(f"{gateway.url}/setup")
        tab.until("document.getElementById('again')")
        assert tab.run("getComputedStyle(document.querySelector('main')).maxWidth") == "544px", "the style is allowed"
        tab.fill(name="ada", password=PASSWORD, again=PASSWORD)
        tab.until("location.pathname == '/account' && document.body.innerText.includes('ada (admin)')")
        assert tab.run("document.cookie") == ""
        new = "four green bottles"
        tab.fill(current=PASSWORD, password=new, again=new)
        tab.until("location.search == '?done=1'")
        tab.run("document.forms[0].querySelector('button').click()")
        tab.until("location.pathname == '/sign-in'")
        tab.go(f"{gateway.url}/v1/models")
        tab.until("location.search == '?next=/v1/models'")
        tab.fill(name="ada", password=new)
        tab.until("location.pathname == '/v1/models'")
        for words in ((), ("--first-party",)):
            client = register(gateway, "App", "--redirect-uri", "http://127.0.0.1/cb", *words)
            asked = urlencode(
                {
                    "response_type": "code", "client_id": client["id"], "redirect_uri": redirect_uri, "scope": "chat",
                    "state": "s", "code_challenge": create_s256_code_challenge("v" * 50),
                    "code_challenge_method": "S256",
                }
            )  # fmt: skip
            tab.forget_cookies()
            tab.go(f"{gateway.url}/oauth/authorize?{asked}")
            tab.until("location.pathname == '/sign-in' && document.getElementById('password')")
            tab.fill(name="ada", password=new)
            if not words:
                tab.until("document.querySelector('button[value=allow]')")
                tab.run("document.querySelector('button[value=allow]').click()")
            tab.until("document.body && document.body.innerText == 'arrived'")
        answers = [path for path in arrived if path.startswith("/cb?code=")]
        assert len(answers) == 2
        complaints = [text for text in tab.console if "favicon" not in text and "404" not in text]
        assert complaints == []
