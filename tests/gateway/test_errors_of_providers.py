"""An upstream's refusal tells admins which provider it was and what mends it, and everybody else neither."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from pointsman.testing import HangUp, Page, Reset, Stall, Status, Stream, Truncated
from waiting import until

from .dialects_in import DIALECTS
from .running import Gateway, Reply, running

ADMIN = {"authorization": "Bearer an-admin-key-of-the-settings"}
KEY = "sk-planted-0123456789abcdef"
WORDS = "Incorrect API key provided"
BODY = {"error": {"message": f"{WORDS}: {KEY}.", "type": "invalid_request_error", "code": "invalid_api_key"}}


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def gateway(cloud_server, tmp_path_factory) -> Iterator[Gateway]:
    speaks = {"base_url": cloud_server.base_url, "api_key": KEY, "models": ["m"]}
    tree = {
        "providers": {
            **{name: {"type": "openai-compatible", **speaks} for name in ("first", "second", "third")},
            "claude": {"type": "anthropic", "base_url": cloud_server.root, "api_key": KEY, "models": ["claude-m"]},
            "codex": {**speaks, "models": ["gpt-5-codex"], "responses": True},
            "gemini": {**speaks, "models": ["gemini-2.5-flash"]},
            "litellm": speaks,
            "hasty": {**speaks, "timeouts": {"first_byte": 0.5, "between_bytes": 0.5}},
            "bounded": {**speaks, "timeouts": {"total": 0.5}},
            "farm": {"type": "ollama", "base_url": cloud_server.root, "models": ["llama"]},
            "ollama": {"enabled": False},
        },
        "server": {"admin_keys": ["an-admin-key-of-the-settings"]},
        "security": {"caller_credentials": "override"},
        "execution": {"retries": 0, "breaker": {"enabled": False}},
    }
    with running(tmp_path_factory.mktemp("errors"), tree) as gateway:
        gateway.headers.update(ADMIN)
        yield gateway


@pytest.fixture(scope="module")
def user(gateway) -> dict[str, str]:
    token = gateway.ask("POST", "/api/v1/keys", {"name": "user"}).json["token"]
    return {"authorization": f"Bearer {token}"}


def message(reply: Reply) -> str:
    assert reply.status == 502
    assert WORDS.encode() not in reply.body
    assert KEY.encode() not in reply.body
    told: str = reply.json["error"]["message"]
    return told


MENDS = {
    401: "providers.first.api_key",
    402: "providers.first.api_key",
    403: "providers.first.api_key",
    404: "the model's name and providers.first.base_url",
    500: "first answered 500 (invalid_api_key).",
    503: "first answered 503 (invalid_api_key).",
}


@pytest.mark.parametrize("status", MENDS)
def test_an_admin_is_told_which_provider_and_what_mends_it(gateway, cloud, user, status):
    cloud.default = Status(status, json.dumps(BODY).encode())
    for stream in (False, True):
        reply = gateway.chat(model="first:m", stream=stream)
        told = message(reply)
        assert told.startswith(f"first answered {status} (invalid_api_key)")
        assert MENDS[status] in told
        assert gateway.decision(reply)["outcome"]["attempts"][0]["error"] == f"upstream_status: {told}"
        reply = gateway.chat(model="first:m", stream=stream, headers=user)
        assert message(reply) == f"The model's provider answered {status}."


def test_in_every_dialect(gateway, cloud, user):
    cloud.default = Status(401, json.dumps(BODY).encode())
    asked = {"model": "claude:claude-m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    for path in ("/v1/messages", "/api/v1/chat/completions", "/v1/chat/completions"):
        assert "check providers.claude.api_key." in message(gateway.ask("POST", path, asked))
        assert message(gateway.ask("POST", path, asked, headers=user)) == "The model's provider answered 401."


def test_the_log_says_it_once_and_nothing_of_the_upstream_s_words(gateway, cloud):
    cloud.default = Status(401, json.dumps(BODY).encode())
    for _ in range(3):
        for provider in ("second", "third"):
            gateway.chat(model=f"{provider}:m")
    line = "second answered 401 (invalid_api_key): it does not take the key; check providers.second.api_key."
    until(lambda: gateway.log_text.count("third answered 401"))
    assert gateway.log_text.count(line) == 1
    assert WORDS not in gateway.log_text
    assert KEY not in gateway.log_text


def test_what_a_caller_s_own_key_may_not_do_is_not_ours_to_mend(gateway, cloud):
    cloud.default = Status(402, json.dumps(BODY).encode())
    before = gateway.log_text.count("answered 402")
    reply = gateway.chat(model="first:m", headers={"x-pointsman-credential": "first=sk-of-the-caller-0123456789"})
    assert message(reply) == "first answered 402 (invalid_api_key)."
    assert gateway.log_text.count("answered 402") == before


def test_a_word_that_is_no_name_of_an_error_is_not_repeated(gateway, cloud):
    for word in (KEY, "my secret", "a" * 60, 17, ["invalid"], None):
        cloud.default = Status(500, json.dumps({"error": {"code": word, "message": WORDS}}).encode())
        assert message(gateway.chat(model="first:m")) == "first answered 500."


HOST = "gpu7.internal.corp"
STATED = "The model's provider reported an error in place of an answer"
ASKED = ("first:m", "claude:claude-m", "codex:gpt-5-codex", "gemini:gemini-2.5-flash", "litellm:m", "farm:llama")


def stated(word: str) -> list[tuple[bool, Page | Stream]]:
    """An error under status 200, as whoever asks for a stream, or for none, may get it."""
    detail = {"message": f"{WORDS}: {KEY} of {HOST}", "type": word, "code": word, "status": word, "param": word}
    body = json.dumps({"type": "error", "error": detail}).encode()
    frame = b"event: error\ndata: " + body + b"\n\n"
    begun = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"role": "assistant"}}]}
    said = json.loads(json.dumps(begun))
    said["choices"][0]["delta"] = {"content": "hi"}
    first, words = (b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in (begun, said))
    whole = Page(body, "application/json")
    streams = [[frame], [first + frame], [first, frame], [words + frame], [words, frame]]
    return [(False, whole), (True, whole), *((True, Stream(blocks)) for blocks in streams)]


@pytest.mark.parametrize("word", [KEY, HOST])
@pytest.mark.parametrize("model", ASKED)
def test_an_error_under_status_200_tells_nothing_of_the_upstream_s_words(gateway, cloud, user, model, word):
    for dialect in (one for one in DIALECTS.values() if one.kind == "chat"):
        for stream, step in stated(word):
            cloud.default = step
            for headers in (user, ADMIN):
                asked = dialect.asked(model, "hi", stream=stream)
                reply = gateway.ask("POST", dialect.path, asked, headers=headers)
                told = reply.body + json.dumps(gateway.decision(reply)).encode()
                assert not any(secret.encode() in told for secret in (KEY, HOST, WORDS)), (dialect.path, step)
    assert len(cloud.requests) >= len(stated(word)) * 2 * sum(one.kind == "chat" for one in DIALECTS.values())


@pytest.mark.parametrize(("path", "model"), [("/v1/completions", "first:m"), ("/v1/embeddings", "first:m")])
def test_nor_where_no_chat_is_asked_for(gateway, cloud, user, path, model):
    for stream, step in stated(KEY):
        cloud.default = step
        asked = {"model": model, **({"input": "hi"} if "emb" in path else {"prompt": "hi", "stream": stream})}
        for headers in (user, ADMIN):
            reply = gateway.ask("POST", path, asked, headers=headers)
            told = reply.body + json.dumps(gateway.decision(reply)).encode()
            assert not any(secret.encode() in told for secret in (KEY, HOST, WORDS)), step


@pytest.mark.parametrize(("word", "named"), [(KEY, "no type given"), (HOST, "no type given"), ("odd_one", "odd_one")])
@pytest.mark.parametrize("stream", [False, True])
def test_admins_alone_are_told_the_name_of_an_error_under_status_200(gateway, cloud, user, word, named, stream):
    cloud.default = stated(word)[stream][1]
    reply = gateway.chat(model="first:m", stream=stream)
    told = f"{STATED} ({named}).".replace("The model's provider", "first")
    assert message(reply) == told
    assert gateway.decision(reply)["outcome"]["attempts"][0]["error"] == f"upstream_error: {told}"
    assert message(gateway.chat(model="first:m", stream=stream, headers=user)) == f"{STATED}."


TIMES = {"first byte": ("hasty:m", Stall()), "between bytes": ("hasty:m", Stall(200)), "total": ("bounded:m", Stall())}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("phase", TIMES)
def test_admins_alone_are_told_who_took_too_long(gateway, cloud, user, phase, stream):
    model, step = TIMES[phase]
    if phase == "between bytes" and not stream:
        step = Stall(20)
    cloud.default = step
    name = model.partition(":")[0]
    for headers, who in ((ADMIN, name), (user, "The model's provider")):
        reply = gateway.chat(model=model, stream=stream, headers=headers)
        told = f"{who} took too long ({phase}: 0.5 s)."
        assert told.encode() in reply.body
        logged = gateway.decision(reply)["outcome"]["attempts"][0]["error"]
        assert logged == f"upstream_timeout: {name} took too long ({phase}: 0.5 s)."


def test_admins_alone_are_told_who_could_not_be_connected_to_in_time(tmp_path):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # the queue of those who want to connect is full
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        tree = {"providers": {"far": {"base_url": url, "models": ["m"], "timeouts": {"connect": 0.5}},
                              "ollama": {"enabled": False}}}  # fmt: skip
        with running(tmp_path, tree) as other:
            reply = other.chat(model="far:m")
            assert (reply.status, reply.json["error"]["message"]) == (504, "far took too long (connect: 0.5 s).")
            assert other.decision(reply)["outcome"]["attempts"][0]["error"].startswith("upstream_timeout: far took")
        for one in waiting:
            one.close()


@pytest.mark.parametrize("step", [HangUp(200), Reset(200), Truncated(200)], ids=["closed", "reset", "truncated"])
@pytest.mark.parametrize("model", ["first:m", "claude:claude-m", "farm:llama"])
def test_admins_alone_are_told_who_broke_off(gateway, cloud, user, model, step):
    cloud.default = step
    name = model.partition(":")[0]
    for headers in (ADMIN, user):
        reply = gateway.chat(model=model, stream=True, headers=headers)
        assert (name.encode() in reply.body.partition(b'"error"')[2]) == (headers is ADMIN), reply.body
        assert (b"127.0.0.1" in reply.body) <= (headers is ADMIN)
        logged = gateway.decision(reply)["outcome"]["attempts"][0]["error"]
        assert logged.startswith((f"upstream_broken: {name} ", f"upstream_broken: {name}: ")), logged
