"""`GET /` and `GET /docs`: plain HTML, made here, that loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

from .reference import render

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid #8886; border-radius: .25rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884; }
h2 { margin-top: 2.5rem; }
h3 { margin-top: 2rem; }
"""

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    f" style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}
"""For every page: no script, no frame, no form, and no style but the one above."""

HOME = """<h1>Pointsman</h1>
<p>This is the gateway itself. Point a client at it, with <code>auto</code> as the model:</p>
<table>
<tr><th scope="col">The client speaks</th><th scope="col">Base URL: this page's address, and</th></tr>
<tr><td>OpenAI's API: chat, Responses, completions, embeddings</td><td><code>/v1</code></td></tr>
<tr><td>Anthropic's Messages, as Claude Code</td><td>nothing more (<code>ANTHROPIC_BASE_URL</code>)</td></tr>
<tr><td>Ollama's API</td><td>nothing more (<code>OLLAMA_HOST</code>)</td></tr>
</table>
<ul>
<li><a href="/docs">Every endpoint</a>, and the same <a href="/openapi.json">as an OpenAPI document</a></li>
<li><a href="/v1/models">The models</a></li>
<li><a href="/api/v1/health">How it fares</a></li>
<li><a href="/api/v1/decisions">The latest decisions</a></li>
</ul>"""


TO_PROGRAMS = "Ollama is running (its API, served by Pointsman)"
"""Clients of Ollama ask here whether it is there, and some look for the first three words."""


def router(document: Callable[[], dict[str, Any]], version: str) -> APIRouter:
    """
    Args:
        document: gives the OpenAPI document.
    """
    routes = APIRouter()

    @routes.api_route("/", methods=["GET", "HEAD"], response_class=HTMLResponse)
    async def home(request: Request) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse(TO_PROGRAMS)
        return page("Pointsman", HOME)

    @routes.get("/docs", response_class=HTMLResponse)
    async def docs() -> HTMLResponse:
        return page(f"Pointsman {version}: every endpoint", render(document()))

    return routes


def page(title: str, body: str) -> HTMLResponse:
    """A page; `title` and `body` are HTML already."""
    return HTMLResponse(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n",
        headers=SECURITY_HEADERS,
    )
