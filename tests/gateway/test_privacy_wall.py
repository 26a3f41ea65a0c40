"""What must stay on the machine stays, whatever goes wrong.

Canaries are planted in every place of a request that holds text; every byte that reaches the remote upstream and every
byte that the gateway writes is searched for them.
"""

from __future__ import annotations

import base64
import itertools
import json
from pathlib import Path

import psutil
import pytest

from pointsman.testing.answers import Answer, HangUp, Page, Raw, Reset, Status, Stream

from .conftest import UPSTREAM_KEY
from .running import running

SECRET = "ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"
CARD = "4111 1111 1111 1111"
MAIL = "greta.canary@pointsman-customer.de"


def places(canary: str) -> dict[str, dict]:
    """The body of a request with the canary in each place that travels upstream."""
    user = {"role": "user", "content": "Please go on."}
    call = {"id": "c1", "type": "function", "function": {"name": "read", "arguments": f'{{"path": "{canary}"}}'}}
    bare = {**call, "function": {"name": "read", "arguments": "{}"}}
    tool = {"type": "function", "function": {"name": "read", "description": f"Reads {canary}", "parameters": {}}}
    return {
        "user": {"messages": [{"role": "user", "content": f"My token is {canary} ok?"}]},
        "user parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": f"x {canary}"}]}]},
        "system": {"messages": [{"role": "system", "content": f"Key: {canary}"}, user]},
        "assistant": {"messages": [user, {"role": "assistant", "content": f"I saw {canary}."}, user]},
        "tool arguments": {
            "messages": [
                user,
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "done"},
            ]
        },
        "tool result": {
            "messages": [
                user,
                {"role": "assistant", "content": None, "tool_calls": [bare]},
                {"role": "tool", "tool_call_id": "c1", "content": f"TOKEN\n{canary}\n"},
            ]
        },
        "tool definition": {"messages": [user], "tools": [tool]},
        "unknown field": {"messages": [user], "metadata": {"note": f"see {canary}"}},
        "name": {"messages": [{**user, "name": canary}]},
        "user id": {"messages": [user], "user": canary},
        "prediction": {"messages": [user], "prediction": {"type": "content", "content": canary}},
        "escaped": {"messages": [{"role": "user", "content": f"line\\n{canary}\ttab"}]},
    }  # fmt: skip


PLACES = tuple(places(SECRET))
FAULTS = [(), (Status(500),), (Reset(),), (HangUp(),), (Status(429),), (Status(500),) * 4]


def nothing_left(gateway, cloud, *canaries: str) -> None:
    for request in cloud.requests:
        for canary in canaries:
            assert canary.encode() not in request.body
            assert canary not in request.path
    for file in [gateway.folder / "gateway.log", *(gateway.folder / "data").rglob("*")]:
        if file.is_file():
            content = file.read_bytes()
            for canary in canaries:
                assert canary.encode() not in content, file


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_stays_on_the_machine(gateway, cloud, lan, place):
    for faults, stream in itertools.product(FAULTS, (False, True)):
        lan.script(*faults)
        body = {"model": "auto", "stream": stream, **places(SECRET)[place]}
        reply = gateway.ask("POST", "/v1/chat/completions", body)
        assert reply.status in (200, 429, 502, 503), reply.body
        if reply.status == 200:
            assert reply.headers["x-pointsman-provider"] == "lan"
    assert lan.chats
    assert not cloud.chats
    nothing_left(gateway, cloud, SECRET)


@pytest.mark.parametrize("model", ["openai:gpt-4o-mini", "gpt-4o", "openai:gpt-4o"])
@pytest.mark.parametrize("canary", [SECRET, CARD])
@pytest.mark.parametrize("stream", [False, True])
def test_a_forced_remote_model_gets_a_403_that_says_why(gateway, cloud, model, canary, stream):
    reply = gateway.chat(f"Look at {canary} please", model=model, stream=stream)
    assert reply.status == 403
    error = reply.json["error"]
    assert error["code"] == "privacy_local_only"
    assert canary not in error["message"]
    assert not cloud.chats
    outcome = gateway.record(reply.headers["x-pointsman-decision"])["outcome"]
    assert (outcome["status"], outcome["http_status"]) == ("refused", 403)
    nothing_left(gateway, cloud, canary)


def test_contact_data_is_noted_at_standard_and_kept_at_high(gateway, cloud, lan):
    standard = gateway.chat(f"Write to {MAIL}", model="openai:gpt-4o-mini")
    assert standard.status == 200
    assert gateway.decision(standard)["signals"]["privacy"]["classes"] == ["contact"]
    cloud.requests.clear()
    high = {"x-pointsman-privacy": "high"}
    assert gateway.chat(f"Write to {MAIL}", model="openai:gpt-4o-mini", headers=high).status == 403
    assert gateway.chat(f"Write to {MAIL}", headers=high).headers["x-pointsman-provider"] == "lan"
    body = {"routing_preferences": {"privacy_level": "high"}}
    assert gateway.chat(f"Write to {MAIL}", model="openai:gpt-4o-mini", **body).status == 403
    assert not cloud.chats


def test_max_keeps_everything(gateway, cloud, lan):
    level = {"x-pointsman-privacy": "max"}
    assert gateway.chat("hi", model="openai:gpt-4o-mini", headers=level).status == 403
    assert gateway.chat("hi", headers=level).headers["x-pointsman-provider"] == "lan"
    assert not cloud.chats


def test_a_preview_heeds_headers_and_body(gateway):
    body = {"model": "openai:gpt-4o-mini", "messages": [{"role": "user", "content": f"Write to {MAIL}"}]}
    assert gateway.ask("POST", "/api/v1/route", body).status == 200
    assert gateway.ask("POST", "/api/v1/route", body, headers={"x-pointsman-privacy": "high"}).status == 403
    body["routing_preferences"] = {"privacy_level": "high"}
    assert gateway.ask("POST", "/api/v1/route", body).status == 403


def test_our_own_fields_do_not_travel(gateway, lan):
    lan.script(Answer())
    gateway.chat("hi", model="fast", routing_preferences={"privacy_level": "high"})
    assert "routing_preferences" not in lan.chats[0].json


def test_a_preview_keeps_the_wall(gateway, cloud):
    body = {"model": "openai:gpt-4o", "messages": [{"role": "user", "content": f"see {SECRET}"}]}
    reply = gateway.ask("POST", "/api/v1/route", body)
    assert reply.status == 403
    assert SECRET not in reply.body.decode()


def _json(messages: str, extra: str = "") -> bytes:
    return f'{{"model": "auto", "messages": [{messages}]{extra}}}'.encode()


def _hidden() -> dict[str, bytes]:
    """Bodies in which a canary stands where a careless reader does not look. None may reach the remote upstream."""
    hi = '{"role": "user", "content": "hi"}'
    split = f'{{"type": "text", "text": "{SECRET[:20]}"}}, {{"type": "text", "text": "{SECRET[20:]}"}}'
    encoded = base64.b64encode(f"<svg><!-- {SECRET} --></svg>".encode()).decode()
    svg = f'{{"type": "image_url", "image_url": {{"url": "data:image/svg+xml;base64,{encoded}"}}}}'
    fetched = '{"type": "image_url", "image_url": {"url": "https://greta:s3cr3t-Tr4in@images.internal/a.png"}}'
    return {
        "key twice in a message": _json(f'{{"role": "user", "content": "{SECRET}", "content": "hi"}}'),
        "key twice, escaped": _json(f'{{"role": "user", "content": "{SECRET}", "c\\u006fntent": "hi"}}'),
        "key twice in a part": _json(
            f'{{"role": "user", "content": [{{"type": "text", "text": "{SECRET}", "text": "x"}}]}}'
        ),
        "key twice in metadata": _json(hi, f', "metadata": {{"a": "{SECRET}", "a": "x"}}'),
        "messages twice": _json(hi, f', "messages": [{{"role": "user", "content": "{SECRET}"}}]'),
        "messages twice, the other way": _json(
            f'{{"role": "user", "content": "{SECRET}"}}', f', "messages": [{hi}]'
        ).replace(b'"model": "auto", ', b""),
        "preferences twice": _json(
            f'{{"role": "user", "content": "Write to {MAIL}"}}',
            ', "routing_preferences": {"privacy_level": "max"}, "routing_preferences": {"privacy_level": "standard"}',
        ),
        "other case": _json(hi, f', "Messages": [{{"role": "user", "content": "{SECRET}"}}]'),
        "stream options": _json(hi, f', "stream_options": {{"note": "{SECRET}"}}'),
        "stream options, streamed": _json(hi, f', "stream": true, "stream_options": {{"note": "{SECRET}"}}'),
        "a key": _json(hi, f', "metadata": {{"{SECRET}": 1}}'),
        "a key of an empty list": _json(hi, f', "metadata": {{"{SECRET}": []}}'),
        "a key deep down": _json(hi, f', "metadata": {{"a": [[{{"b": {{"{SECRET}": null}}}}]]}}'),
        "a field's name": _json(hi, f', "{SECRET}": []'),
        "a card as a number": _json(hi, ', "metadata": {"card": 4539578763621486}'),
        "a test card as a number": _json(hi, ', "metadata": {"card": 4111111111111111}'),
        "text that begins like a picture": _json(f'{{"role": "user", "content": "data:image/png {SECRET}"}}'),
        "a drawing": _json(f'{{"role": "user", "content": [{svg}]}}'),
        "a picture to fetch": _json(f'{{"role": "user", "content": [{fetched}]}}'),
        "cut over two parts": _json(f'{{"role": "user", "content": [{split}]}}'),
        "zero-width": _json(f'{{"role": "user", "content": "{SECRET[:9]}\u200b{SECRET[9:]}"}}'),
        "escaped letters": _json(f'{{"role": "user", "content": "\\u0067hp\\u005f{SECRET[4:]}"}}'),
        "schema": _json(
            hi,
            ', "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"enum": ["'
            + SECRET
            + '"]}}}',
        ),
        "tool default": _json(
            hi,
            ', "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": {"default": "'
            + SECRET
            + '"}}}}]',
        ),
        "tool name": _json(hi, f', "tool_choice": {{"type": "function", "function": {{"name": "{SECRET}"}}}}'),
        "stop": _json(hi, f', "stop": ["{SECRET}"]'),
        "logit bias": _json(hi, f', "logit_bias": {{"{SECRET}": 1}}'),
        "a file": _json(
            f'{{"role": "user", "content": [{{"type": "file", "file": {{"filename": "{SECRET}.txt"}}}}]}}'
        ),
    }  # fmt: skip


HIDDEN = tuple(_hidden())


@pytest.mark.parametrize("place", HIDDEN)
@pytest.mark.parametrize("model", ["auto", "openai:gpt-4o"])
def test_a_hidden_secret_stays_too(gateway, cloud, place, model):
    body = _hidden()[place].replace(b'"auto"', f'"{model}"'.encode())
    reply = gateway.ask("POST", "/v1/chat/completions", body)
    assert reply.status in (200, 400, 403), reply.body
    if reply.status == 200:
        assert reply.headers["x-pointsman-provider"] == "lan"
    assert not cloud.chats
    nothing_left(gateway, cloud, SECRET)


def test_the_strictest_of_several_levels_holds(gateway, cloud):
    wishes = {"standard": {"routing_preferences": {"privacy_level": "standard"}}, "none": {}}
    for own in wishes.values():
        for value in ("max", "standard, max", "MAX"):
            reply = gateway.chat("hi", model="openai:gpt-4o", headers={"x-pointsman-privacy": value}, **own)
            assert reply.status == 403, (value, own)
    body = {"model": "openai:gpt-4o", "messages": [{"role": "user", "content": "hi"}], **wishes["standard"]}
    assert gateway.ask("POST", "/api/v1/route", body, headers={"x-pointsman-privacy": "max"}).status == 403
    assert not cloud.chats


def test_what_was_sent_before_is_judged_anew(gateway, cloud):
    text = f"Write to {MAIL} about memo"
    assert gateway.chat(text, model="openai:gpt-4o").status == 200
    cloud.requests.clear()
    for _ in range(2):
        assert gateway.chat(text, model="openai:gpt-4o", headers={"x-pointsman-privacy": "high"}).status == 403
    assert not cloud.chats


@pytest.mark.parametrize("where", ["Location to the cloud", "refresh"])
def test_a_redirect_of_a_local_upstream_is_not_followed(gateway, cloud, lan, where):
    headers = {"Location": f"{cloud.base_url}/chat/completions", "Refresh": f"0; url={cloud.base_url}"}
    for status in (301, 302, 307, 308):
        lan.script(Page(b"{}", "application/json", status, headers))
        assert gateway.chat(f"see {SECRET}", model="fast").status == 502
    assert not cloud.requests
    nothing_left(gateway, cloud, SECRET)


@pytest.mark.parametrize("stream", [False, True])
def test_what_an_upstream_quotes_is_not_kept(gateway, cloud, lan, stream):
    """Error bodies that repeat the prompt and our key: the caller sees its own words, nobody sees the key."""
    said = f"you sent {SECRET} with {UPSTREAM_KEY}".encode()
    error = b'{"error": {"message": "%b", "type": "invalid_request_error", "code": "400"}}' % said
    steps = [
        Status(400, error),
        Status(500, error),
        Status(429, said),
        Page(error, "application/json"),
        Page(said, "text/plain"),
        Page(b'{"id": "%b", "object": "error", "message": "%b"}' % (said * 9, said), "application/json"),
        Stream([b"data: " + error + b"\n\n"]),
        Raw(b"%b\r\n\r\n" % said),
        Raw(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % said),
        Raw(b"HTTP/1.1 %b\r\n\r\n" % said),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n" % said),
        Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n" % said),
    ]
    for step in steps:
        cloud.script(*[step] * 4)
        reply = gateway.chat("hi", model="openai:gpt-4o", stream=stream)
        assert UPSTREAM_KEY.encode() not in reply.body, step
        lan.script(*[step] * 4)
        reply = gateway.chat(f"see {SECRET}", model="fast", stream=stream)
        cloud.requests.clear()
        gateway.ask("GET", "/api/v1/decisions?limit=50")  # reads after what was queued is written
        nothing_left(gateway, cloud, SECRET, UPSTREAM_KEY)
        cloud.reset()
        lan.reset()


@pytest.mark.parametrize(
    "fields",
    [
        {"model": SECRET},
        {"model": f"openai:{SECRET}"},
        {"messages": [{"role": SECRET, "content": "hi"}]},
        {"routing_preferences": {SECRET: 1}},
        {"routing_preferences": {"privacy_level": SECRET}},
        {"response_format": {"type": SECRET}},
        {"temperature": SECRET},
        {"logit_bias": {SECRET: SECRET}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_an_error_text_keeps_no_secret(gateway, cloud, fields):
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], **fields}
    reply = gateway.ask("POST", "/v1/chat/completions", body)
    assert reply.status in (400, 404)
    if "model" not in fields:  # its name is what a caller must be told
        assert SECRET not in reply.body.decode()
    listed = gateway.ask("GET", "/api/v1/decisions?limit=5").body.decode()
    assert SECRET not in listed
    nothing_left(gateway, cloud, SECRET)


def test_no_way_out_but_the_configured_one(tmp_path, settings, cloud, lan, data_plane):
    """Proxies of the environment are passed by, fallbacks and aliases to remote models keep the wall."""
    proxy = cloud.base_url.removesuffix("/v1")
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    tree = {
        **settings,
        "providers": {
            **settings["providers"],
            "lan": {**settings["providers"]["lan"], "models": ["llama3.1:8b", "gpt-oss:120b-cloud", "kimi:1t-CLOUD"]},
        },
        "routing": {
            "model_names": "hint",
            "aliases": {"fast": "lan:llama3.1:8b", "mine": "openai:gpt-4o", "own": "lan:gpt-oss:120b-cloud"},
            "fallbacks": {"lan:llama3.1:8b": ["openai:gpt-4o", "lan:gpt-oss:120b-cloud", "lan:kimi:1t-CLOUD"]},
        },
        "server": {"data_plane": data_plane},
        "log": {"level": "debug"},
    }
    with running(tmp_path, tree, env=dict.fromkeys(names, proxy)) as gateway:
        assert gateway.chat(f"see {SECRET}", model="fast").status == 200
        assert len(lan.chats) == 1
        lan.script(*[Status(500)] * 8)
        for model in ("fast", "auto", "llama3.1:8b", "gpt-4o"):
            assert gateway.chat(f"see {SECRET}", model=model).status in (403, 502, 503)
        for model in ("mine", "own", "lan:gpt-oss:120b-cloud", "lan:kimi:1t-CLOUD"):
            assert gateway.chat(f"see {SECRET}", model=model).status == 403
        assert {request.json["model"] for request in lan.chats} == {"llama3.1:8b"}
        assert not cloud.chats
        nothing_left(gateway, cloud, SECRET)
    forced = {**tree, "routing": {"force_provider": "openai"}}
    with running(tmp_path / "forced", forced) as gateway:
        for model in ("auto", "openai:gpt-4o", "gpt-4o", "lan:llama3.1:8b"):
            assert gateway.chat(f"see {SECRET}", model=model).status == 403
    assert not cloud.chats


def test_keys_are_seen_by_nobody(tmp_path, settings, cloud, data_plane):
    """At the debug level too: not the callers' keys, not ours, in no file, no answer and no process's arguments."""
    key = "caller-key-0123456789abcdef"
    tree = {**settings, "server": {"data_plane": data_plane, "api_keys": [key]}, "log": {"level": "debug"}}
    with running(tmp_path, tree) as gateway:
        sent = {"Authorization": f"Bearer {key}"}
        cloud.script(Answer(), Status(401), Status(400), Reset(), Answer())
        for _ in range(3):
            gateway.chat("hi", model="openai:gpt-4o", headers=sent)
        gateway.chat("hi", model="openai:gpt-4o", headers={"Authorization": f"Bearer {key}x"})
        seen = b""
        for path in ("/api/v1/health", "/api/v1/decisions", "/v1/models", "/openapi.json", "/docs", f"/{key}"):
            seen += gateway.ask("GET", path, headers=sent).body.replace(f"/{key}".encode(), b"")
        assert key.encode() not in seen
        assert UPSTREAM_KEY.encode() not in seen
        arguments = b"".join(
            Path(f"/proc/{process.pid}/cmdline").read_bytes()
            for process in [*psutil.Process(gateway.process.pid).children(recursive=True), gateway.process]
        )
        assert key.encode() not in arguments
        assert UPSTREAM_KEY.encode() not in arguments
        assert all(request.headers["authorization"] == f"Bearer {UPSTREAM_KEY}" for request in cloud.chats)
        assert all(key not in str(request.headers) for request in cloud.requests)
        cloud.requests.clear()
        nothing_left(gateway, cloud, key, UPSTREAM_KEY)


@pytest.mark.parametrize("stream", [False, True])
def test_ids_and_reasons_that_quote_the_prompt_are_not_kept(gateway, lan, stream):
    """A careless local upstream makes its ids of what it was asked."""
    quoting = {"id": SECRET, "object": "chat.completion", "model": SECRET}
    message = {"role": "assistant", "content": "x"}
    choice = {"index": 0, "message": message, "delta": message, "finish_reason": SECRET}
    raw = json.dumps({**quoting, "choices": [choice]}).encode()
    lan.script(Stream([b"data: " + raw + b"\n\ndata: [DONE]\n\n"]) if stream else Page(raw, "application/json"))
    reply = gateway.chat(f"see {SECRET}", model="fast", stream=stream)
    assert reply.status == 200
    outcome = gateway.decision(reply)["outcome"]
    assert outcome["answer_id"] is None
    assert outcome["finish_reason"] is None
    lan.script(Answer())
    outcome = gateway.decision(gateway.chat(f"see {SECRET} and stop", model="fast"))["outcome"]
    assert (outcome["answer_id"], outcome["finish_reason"]) == ("chatcmpl-scripted", "stop")
    for file in (gateway.folder / "data").rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes()
