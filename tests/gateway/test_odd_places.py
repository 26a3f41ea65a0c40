"""Private content where translators write something else than what came: it is known for private all the same."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pointsman.testing.upstream import ScriptedUpstream

from .running import Background, Gateway, running

TOKEN = "ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"
CARD = "4539 5787 6362 1486"
IBAN = "DE89 3704 0044 0532 0130 00"
GPT, CLAUDE = "openai:gpt-4o", "anthropic:claude-opus-5-5"
HI = {"role": "user", "content": "hi"}


@pytest.fixture(scope="module")
def clouds(background) -> Iterator[dict[str, ScriptedUpstream]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(_upstream(background)) for name in ("openai", "anthropic")}


@pytest.fixture(scope="module", params=[False, True], ids=["redaction off", "redaction on"])
def gateway(request, tmp_path_factory, clouds) -> Iterator[Gateway]:
    tree = {
        "providers": {
            "openai": {"base_url": clouds["openai"].base_url, "api_key": "sk-x", "models": ["gpt-4o"]},
            "anthropic": {"base_url": clouds["anthropic"].root, "api_key": "sk-ant", "models": ["claude-opus-5-5"]},
        },
        "privacy": {"redaction": request.param},
    }
    with running(tmp_path_factory.mktemp("odd"), tree) as gateway:
        yield gateway


def _upstream(background: Background):
    class Open:
        def __enter__(self) -> ScriptedUpstream:
            self.server = ScriptedUpstream()
            return background.run(self.server.__aenter__())

        def __exit__(self, *error: object) -> None:
            background.run(self.server.__aexit__(None, None, None))

    return Open()


@pytest.fixture(autouse=True)
def _forgotten(clouds):
    for cloud in clouds.values():
        cloud.requests.clear()


def said(clouds: dict[str, ScriptedUpstream]) -> bytes:
    return b"".join(str(seen.headers).encode() + seen.body for cloud in clouds.values() for seen in cloud.chats)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("model", [GPT, CLAUDE])
@pytest.mark.parametrize(
    "url",
    [
        "data:text/plain; charset=utf-8;base64,{}",
        'data:text/plain;charset="utf-8";base64,{}',
        "data:text/x_log;name=a b.txt;base64,{}",
        "data:text/plain,{}",
        "data:TEXT/plain;BASE64,{}",
        " data:text/plain;base64,{}",
    ],
)
def test_a_document_of_text_is_read_however_its_url_is_written(gateway, clouds, url, model):
    """Pointsman itself decodes such documents for models that read no files."""
    for text in (f"the key is {TOKEN} there", f"Größe und Schlüssel: {TOKEN}", f"\x01\x02 {TOKEN}"):
        data = url.format(encoded(text))
        file = {"filename": "a.txt", "file_data": data}
        chat = {"messages": [{"role": "user", "content": [{"type": "file", "file": file}]}]}
        responses = {"input": [{"role": "user", "content": [{"type": "input_file", **file}]}], "store": False}
        for path, body in (("/v1/chat/completions", chat), ("/v1/responses", responses)):
            assert gateway.ask("POST", path, {"model": model, **body}).status == 403, (path, text)
    assert said(clouds) == b""


def test_what_a_data_url_says_of_itself_is_read(gateway, clouds):
    url = f"data:text/plain;name=AKIAQ3EGRT5YUIO7PLKJ;base64,{encoded('harmless')}"
    body = {"model": GPT, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}
    assert gateway.ask("POST", "/v1/chat/completions", body).status == 403
    assert said(clouds) == b""


def test_harmless_documents_and_pictures_still_go(gateway, clouds):
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256))).decode()
    parts = [
        {"type": "file", "file": {"file_data": f"data:text/plain; charset=utf-8;base64,{encoded('Straße')}"}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
    ]
    reply = gateway.ask(
        "POST", "/v1/chat/completions", {"model": CLAUDE, "messages": [{"role": "user", "content": parts}]}
    )
    assert reply.status == 200
    assert picture.encode() in said(clouds)


@pytest.mark.parametrize("secret", [CARD, IBAN, f"x{'y' * 20}_{TOKEN}"])
@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_names_that_are_joined_with_a_namespace_are_read_as_they_came(gateway, clouds, secret, model):
    call = {"type": "function_call", "call_id": "a", "namespace": secret, "name": "f" * 30, "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "a", "output": "x"}
    tools = [{"type": "namespace", "name": secret, "description": "d", "tools": [{"type": "function", "name": "f"}]}]
    for fields in ({"input": [call, result, HI]}, {"input": "hi", "tools": tools}):
        assert gateway.ask("POST", "/v1/responses", {"model": model, "store": False, **fields}).status == 403
    assert said(clouds) == b""


@pytest.mark.parametrize(
    "beta", ["x-536-90-4399-2025-01-01", "x-4539578763621486-2025-01-01", "de89370400440532013000-2025-01-01"]
)
def test_headers_hold_no_numbers_but_dates(gateway, clouds, beta):
    body = {"model": CLAUDE, "max_tokens": 9, "messages": [HI]}
    assert gateway.ask("POST", "/v1/messages", body, headers={"anthropic-beta": beta}).status == 400
    known = "context-1m-2025-08-07,claude-code-20250219,max-tokens-3-5-sonnet-2024-07-15,output-128k-2025-02-19"
    assert gateway.ask("POST", "/v1/messages", body, headers={"anthropic-beta": known}).status == 200
    assert beta.encode() not in said(clouds)


@pytest.mark.parametrize("kind", ["text/plain", "image/png"])
def test_what_is_no_base64_is_read_as_it_stands(gateway, clouds, kind):
    body = {"model": GPT, "messages": [HI], "metadata": {"note": f"data:{kind};base64,{TOKEN}"}}
    assert gateway.ask("POST", "/v1/chat/completions", body).status in (200, 403)  # redacted, or kept
    assert TOKEN.encode() not in said(clouds)
