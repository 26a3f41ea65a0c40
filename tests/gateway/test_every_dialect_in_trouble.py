"""Bad input in every dialect: the right status, the dialect's own error that names the field, and a decision that says
so. What the front door and the server itself refuse takes the same shape."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from pointsman.testing import ScriptedUpstream

from .dialects_in import DIALECTS, Dialect, trouble_of
from .running import Gateway, Reply, running
from .upstreams_in_trouble import SHOWS, UPSTREAMS, ByWord, providers

ADMIN, NARROW, POOR = "pm-key-of-an-admin-0123456789abcdef", "narrow", "poor"
ALL = [pytest.param(dialect, id=name) for name, dialect in DIALECTS.items()]


@pytest.fixture(scope="module")
def upstream(background) -> Iterator[ScriptedUpstream]:
    upstream = ScriptedUpstream(default=ByWord(), models=tuple(SHOWS))
    upstream.shows = SHOWS
    background.run(upstream.__aenter__())
    yield upstream
    background.run(upstream.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def settings(upstream: ScriptedUpstream) -> dict[str, Any]:
    tree = providers(upstream.root)
    lacking = {"unsupported": ["logit_bias", "seed"]}
    tree["lacking"] = {**tree["openai"], **lacking}
    tree["dropping"] = {**tree["openai"], **lacking, "drop_unsupported": True}
    tree["lacking-anthropic"] = {"type": "anthropic", **tree["anthropic"], "unsupported": ["temperature"]}
    limits = {"tiers": {"poor": {"per_hour": 1, "per_day": 100}}}
    return {
        "providers": tree,
        "limits": limits,
        "server": {"admin_keys": [ADMIN], "max_body_bytes": 200_000},
    }


@pytest.fixture(scope="module")
def gateway(settings: dict[str, Any], tmp_path_factory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("refusing"), settings) as gateway:
        gateway.headers = {"authorization": f"Bearer {ADMIN}"}
        yield gateway


@pytest.fixture(scope="module", params=["native", "asgi"])
def either(request, gateway: Gateway, settings: dict[str, Any], tmp_path_factory) -> Iterator[Gateway]:
    """On each data plane, for what the server itself refuses."""
    if request.param == "native":
        yield gateway
        return
    tree = {**settings, "server": {**settings["server"], "data_plane": "asgi"}}
    with running(tmp_path_factory.mktemp("refusing-asgi"), tree) as other:
        yield other


@pytest.fixture(scope="module")
def keys(gateway: Gateway) -> dict[str, str]:
    """One that may do nothing that is tested here, and one whose only request is spent."""
    made = {}
    for name, given in ((NARROW, {"endpoints": ["feedback"]}), (POOR, {"tier": "poor"})):
        reply = gateway.ask("POST", "/api/v1/keys", {"name": name, **given})
        assert reply.status in (200, 201), reply.body
        made[name] = reply.json["token"]
    return made


def model_for(dialect: Dialect, kind: str = "openai") -> str:
    model = UPSTREAMS[kind].model(dialect.kind)
    assert model
    return model


def refused(gateway: Gateway, dialect: Dialect, reply: Reply, status: int, *names: str) -> str:
    """The message of a refusal, which names what is wrong and is in the log."""
    assert reply.status == status, (reply.status, reply.body[:300])
    message = trouble_of(dialect, reply)
    assert message
    assert not names or any(name in message for name in names), (names, message)
    if dialect.logged:
        outcome = gateway.decision(reply)["outcome"]
        assert (outcome["status"], outcome["http_status"]) == ("refused", status), outcome
    return message


NO_BODY = [
    *(b"", b"{", b"[]", b'"text"', b"null", b"7", b"NaN", b"\xff\xfe", b"{'model': 1}"),
    *(b'{"model": "\xff"}', b'{"model": "auto", "model": ', b"[" * 100_000, b'{"a": ' * 5_000 + b"1" + b"}" * 5_000),
]


@pytest.mark.parametrize("dialect", ALL)
def test_a_body_that_is_none(gateway: Gateway, dialect: Dialect):
    for body in NO_BODY:
        refused(gateway, dialect, gateway.ask("POST", dialect.path, body), 400)


ANY = [None, True, 7, -1.5, "text", [], [[]], {}, {"a": {}}, [None], [1, "a"], "\x00", 2**70]


@pytest.mark.parametrize("dialect", ALL)
def test_wrong_types_of_what_a_body_must_hold(gateway: Gateway, dialect: Dialect):
    """Each field of the smallest body as anything else, alone and inside: a refusal that names it, or an answer."""
    good = dialect.asked(model_for(dialect), "hi", stream=dialect.streams[-1])
    for name in good:
        for value in ANY:
            reply = gateway.ask("POST", dialect.path, {**good, name: value})
            if reply.status == 200:
                trouble_of(dialect, reply)
                continue
            assert reply.status in (400, 404), (name, value, reply.status, reply.body[:300])
            refused(gateway, dialect, reply, reply.status, name, "model")
        missing = gateway.ask("POST", dialect.path, {key: value for key, value in good.items() if key != name})
        if name in ("messages", "prompt", "input", "max_tokens") and missing.status != 200:
            refused(gateway, dialect, missing, 400, name)
    turns = "messages" if "messages" in good else "input" if dialect.path == "/v1/responses" else None
    for value in ANY if turns else ():
        for said in ([value], [{"role": "user", "content": value}], [{"role": value, "content": "hi"}]):
            reply = gateway.ask("POST", dialect.path, {**good, turns: said})
            if reply.status == 200:
                trouble_of(dialect, reply)
            else:
                refused(gateway, dialect, reply, 400, turns, "text", "empty")


SAMPLING: dict[str, list[Any]] = {
    "temperature": ["hot", [], {}],
    "max_tokens": ["many", -1, 1.5, []],
    "stop": [7, {"a": 1}, [1]],
    "top_p": ["most", []],
    "tools": ["all", 7, {"a": 1}, [7]],
}
NAMES = {
    "responses": {"max_tokens": "max_output_tokens", "stop": None},
    "messages": {"stop": "stop_sequences"},
    "count tokens": {"max_tokens": None, "stop": None, "temperature": None, "top_p": None},
    "completions": {"tools": None},
}
"""Where a dialect calls a field otherwise, or has none."""
OPTIONS = {"max_tokens": "num_predict"}


def test_wrong_types_of_what_a_body_may_hold(gateway: Gateway):
    for name, dialect in DIALECTS.items():
        if dialect.kind == "embeddings":
            continue
        good = dialect.asked(model_for(dialect), "hi", stream=False)
        for field, values in SAMPLING.items():
            written = NAMES.get(name, {}).get(field, field)
            if written is None or (field == "tools" and name == "ollama generate"):
                continue
            for value in values:
                own = {written: value}
                if name.startswith("ollama") and field != "tools":
                    written = OPTIONS.get(field, field)
                    own = {"options": {written: value}}
                    if value == -1:
                        continue  # without an end
                reply = gateway.ask("POST", dialect.path, {**good, **own})
                assert reply.status == 400, (name, own, reply.status, reply.body[:200])
                refused(gateway, dialect, reply, 400, written, field)


BROKEN_SCHEMAS = [7, "text", [], {"type": 7}, {"type": "object", "properties": []}, {"$ref": "#/nowhere"}]
DEEP = '{"items":' * 15_000 + "{}" + "}" * 15_000
"""Deeper than any Python reads: 3.11 reads 1,000 levels, 3.13 reads 10,000."""


def tool_of(dialect: Dialect, schema: Any, name: Any = "look") -> dict[str, Any]:
    if dialect.path.startswith("/v1/messages"):
        return {"name": name, "input_schema": schema}
    if dialect.path == "/v1/responses":
        return {"type": "function", "name": name, "parameters": schema, "strict": False}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLED = [param for param in ALL if param.values[0].kind in ("chat", "nothing") and "generate" not in str(param.id)]


@pytest.mark.parametrize("dialect", TOOLED)
@pytest.mark.parametrize("kind", ["openai", "anthropic", "ollama"])
def test_tools_with_broken_schemas(gateway: Gateway, dialect: Dialect, kind: str):
    good = dialect.asked(model_for(dialect, kind), "hi", stream=dialect.streams[-1])
    tools = [tool_of(dialect, schema) for schema in (*BROKEN_SCHEMAS, "deep")]
    tools += [tool_of(dialect, {"type": "object"}, name) for name in (None, 7, "", "no name at all!")]
    for tool in (*tools, {}, {"type": "function"}, 7, None):
        body = json.dumps({**good, "tools": [tool]}).replace('"deep"', DEEP).encode()
        reply = gateway.ask("POST", dialect.path, body)
        if reply.status == 200:
            trouble_of(dialect, reply)  # passed on: the upstream is the judge of what it takes
        else:
            assert reply.status == 400, (tool, reply.status, reply.body[:300])
            told = trouble_of(dialect, reply) or ""
            assert "tool" in told or "recursion" in told, told
            if dialect.logged:
                assert gateway.decision(reply)["outcome"]["status"] in ("refused", "error")


def pictured(dialect: Dialect, data: str) -> dict[str, Any] | None:
    """A body with a picture, in the dialect's own words."""
    model = model_for(dialect)
    if dialect.path == "/api/chat":
        return {"model": model, "messages": [{"role": "user", "content": "see", "images": [data]}]}
    if dialect.path == "/api/generate":
        return {"model": model, "prompt": "see", "images": [data]}
    if dialect.path.startswith("/v1/messages"):
        source = {"type": "base64", "media_type": "image/png", "data": data}
        content = [{"type": "image", "source": source}, {"type": "text", "text": "see"}]
        return {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
    url = f"data:image/png;base64,{data}"
    if dialect.path == "/v1/responses":
        content = [{"type": "input_image", "image_url": url}, {"type": "input_text", "text": "see"}]
        return {"model": model, "input": [{"role": "user", "content": content}]}
    if dialect.kind != "chat":
        return None
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "see"}]
    return {"model": model, "messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize("dialect", ALL)
def test_base64_that_is_none(gateway: Gateway, dialect: Dialect):
    for data in ("this is no base64!", "%%%", "YQ=", "\u20ac"):
        body = pictured(dialect, data)
        if body is not None:
            message = refused(gateway, dialect, gateway.ask("POST", dialect.path, body), 400)
            assert "base64" in message, message


@pytest.mark.parametrize("dialect", ALL)
def test_a_model_that_nobody_knows(gateway: Gateway, dialect: Dialect):
    if dialect.logged:
        body = dialect.asked("nobody:nothing", "hi", stream=False)
        refused(gateway, dialect, gateway.ask("POST", dialect.path, body), 404, "nothing")


LACKED = {"/v1/chat/completions", "/v1/completions", "/api/v1/chat/completions", "/api/v1/chat/streaming"}


@pytest.mark.parametrize("dialect", ALL)
def test_a_parameter_that_the_upstream_lacks(gateway: Gateway, upstream: ScriptedUpstream, dialect: Dialect):
    """Named in a 400, and nothing is sent; dropped where the settings say so."""
    if dialect.kind not in ("chat", "completion"):
        return
    ollama = dialect.path in ("/api/chat", "/api/generate")
    own = {"options": {"seed": 7}} if ollama else {"seed": 7}
    if dialect.path in ("/v1/messages", "/v1/responses"):
        field, model, own = "temperature", "lacking-anthropic:claude-opus-4-5", {"temperature": 0.5}
    else:
        field, model = "seed", model_for(dialect).replace("openai:", "lacking:")
    asked = {**dialect.asked(model, "hi", stream=dialect.streams[-1]), **own}
    before = len(upstream.chats)
    reply = gateway.ask("POST", dialect.path, asked)
    assert reply.status == 400, reply.body
    message = trouble_of(dialect, reply)
    assert field in (message or "")
    assert "lacking" in (message or "")
    assert len(upstream.chats) == before
    assert gateway.decision(reply)["outcome"]["status"] in ("error", "refused")
    if field == "seed":
        reply = gateway.ask("POST", dialect.path, {**asked, "model": model.replace("lacking:", "dropping:")})
        assert trouble_of(dialect, reply) is None
        assert "seed" not in upstream.chats[-1].json


# What is refused before a dialect is reached


@pytest.mark.parametrize("dialect", ALL)
def test_the_front_door(gateway: Gateway, dialect: Dialect, keys: dict[str, str]):
    body = dialect.asked(model_for(dialect), "hi", stream=False)

    def ask(status: int, headers: dict[str, str] | None = None, method: str = "POST", path: str = "") -> Reply:
        reply = gateway.ask(method, path or dialect.path, body, headers=headers)
        assert reply.status == status, (method, path, reply.status, reply.body[:300])
        assert trouble_of(dialect, reply)
        return reply

    wrong = {"authorization": "Bearer pm-nobodys-key-0123456789abcdef"}
    ask(401, wrong)
    ask(403, {"authorization": f"Bearer {keys[NARROW]}"})
    ask(405, method="PUT")
    ask(404, path=f"{dialect.path}/nothing/here")


@pytest.mark.parametrize("dialect", ALL)
def test_a_limit(gateway: Gateway, dialect: Dialect, keys: dict[str, str]):
    body = dialect.asked(model_for(dialect), "hi", stream=False)
    headers = {"authorization": f"Bearer {keys[POOR]}"}
    replies = [gateway.ask("POST", dialect.path, body, headers=headers) for _ in range(2)]
    assert replies[-1].status == 429, replies[-1].body
    assert trouble_of(dialect, replies[-1])
    assert int(replies[-1].headers["retry-after"]) >= 0


@pytest.mark.parametrize("dialect", ALL)
def test_a_body_that_is_too_large(either: Gateway, dialect: Dialect):
    """Of a stated length, and of none."""
    body = json.dumps(dialect.asked(model_for(dialect), "x" * 300_000, stream=False)).encode()
    reply = _raw(either, dialect.path, [f"content-length: {len(body)}"], b"")
    assert reply.status == 413
    assert trouble_of(dialect, reply)
    pieces = (
        b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:150_000], body[150_000:])) + b"0\r\n\r\n"
    )
    reply = _raw(either, dialect.path, ["transfer-encoding: chunked"], pieces)
    assert reply.status == 413
    assert "200000" in (trouble_of(dialect, reply) or "")


def test_what_the_server_itself_refuses(either: Gateway):
    for dialect in DIALECTS.values():
        reply = _raw(either, dialect.path, ["transfer-encoding: chunked"], b"what is this\r\n\r\n")
        assert reply.status == 400
        if reply.headers["content-type"] == "application/json":  # uvicorn's own refusal of broken framing is plain text
            assert trouble_of(dialect, reply)


def _raw(gateway: Gateway, path: str, headers: list[str], body: bytes) -> Reply:
    """A POST with a framing of one's own."""
    head = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json", "connection: close"]
    head += [f"authorization: Bearer {ADMIN}", *headers]
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as client:
        client.sendall("\r\n".join([*head, "", ""]).encode() + body)
        raw = b""
        while block := client.recv(65536):
            raw += block
    top, _, rest = raw.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    told = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(int(first.split()[1]), told, rest)


def test_nothing_failed_unexpectedly(gateway: Gateway):
    assert "in the handler of" not in gateway.log_text
    assert "failed unexpectedly" not in gateway.log_text
