"""A plan is carried out as the settings and the caller say: asked again, judged, hedged, and never past a deadline."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from pointsman.testing.answers import Answer, Page, Reset, Stall, Status, Stream

EASY = "What is the capital of France?"
LAN, MINI, STRONG = "lan:llama3.1:8b", "openai:gpt-4o-mini", "openai:gpt-4o"
JSON = {"response_format": {"type": "json_object"}}


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "execution": {"retries": 1, "breaker": {"enabled": False}}}


@pytest.fixture(autouse=True)
def undone(gateway):
    yield
    assert gateway.ask("DELETE", "/api/v1/config").status == 200


def change(gateway, **execution) -> None:
    reply = gateway.ask("POST", "/api/v1/config", {"execution": execution})
    assert reply.status == 200, reply.body


def text(reply) -> str:
    """What the answer says, streamed or not."""
    if reply.body.startswith(b"{"):
        return reply.json["choices"][0]["message"]["content"]
    chunks = [json.loads(line[6:]) for line in reply.body.split(b"\n") if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def made(gateway, reply) -> list[dict[str, Any]]:
    """The attempts without those that were refused: what an earlier test's 429 asked for still holds."""
    return [one for one in gateway.decision(reply)["outcome"]["attempts"] if one["status"] != "refused"]


def attempts(gateway, reply) -> list[tuple[str, str]]:
    return [(one["model"], one["status"]) for one in made(gateway, reply)]


@pytest.mark.parametrize("failure", [Status(500), Status(409), Status(429, retry_after=0), Reset()], ids=repr)
@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_failed_once_is_asked_again(gateway, cloud, failure, stream):
    cloud.script(failure, Answer(text="at last"))
    reply = gateway.chat(EASY, model=MINI, stream=stream)
    assert reply.status == 200
    assert text(reply) == "at last"
    assert attempts(gateway, reply)[-1] == (MINI, "ok")


def test_what_cannot_help_is_not_tried(gateway, cloud):
    cloud.script(Status(400), Answer())
    assert gateway.chat(EASY, model=MINI).status == 400
    assert len(cloud.chats) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_an_account_without_money_is_not_asked_again_and_nobody_is_told_to_try_again(gateway, cloud, lan, stream):
    detail = {"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": "insufficient_quota"}
    said = json.dumps({"error": detail}).encode()
    broken = Stream([b"data: " + said + b"\n\n"]) if stream else Status(429, said)
    cloud.script(broken, Answer())
    reply = gateway.chat(EASY, model=MINI, stream=stream)
    assert (reply.status, reply.headers["x-should-retry"]) == (502, "false")
    assert "402 (insufficient_quota)" in reply.json["error"]["message"]
    assert len(cloud.chats) == 1
    lan.script(broken, Answer())
    reply = gateway.chat(EASY, stream=stream)
    assert reply.status == 200
    assert attempts(gateway, reply)[0] == (LAN, "error")
    assert attempts(gateway, reply)[1][0] != LAN, "the next of the plan, and at once"


def test_an_upstream_that_asks_to_wait_is_waited_for(gateway, cloud):
    cloud.script(Status(429, retry_after=1), Answer(text="rested"))
    began = time.monotonic()
    reply = gateway.chat(EASY, model=STRONG)
    assert reply.status == 200
    assert time.monotonic() - began >= 1.0


def test_but_not_longer_than_the_settings_say(gateway, cloud):
    change(gateway, longest_wait=0.5)
    cloud.script(Status(429, retry_after=20), Answer())
    began = time.monotonic()
    reply = gateway.chat(EASY, model=STRONG)
    assert reply.status == 429
    assert int(reply.headers["retry-after"]) in range(1, 21)
    assert time.monotonic() - began < 10
    assert len(cloud.chats) == 1


def test_and_not_past_the_caller_s_deadline(gateway, cloud):
    cloud.script(Status(429, retry_after=5), Answer())
    began = time.monotonic()
    reply = gateway.chat(EASY, model=MINI, headers={"x-pointsman-timeout": "2"})
    assert reply.status in (429, 504), reply.body
    assert time.monotonic() - began < 4
    assert len(cloud.chats) <= 1


def test_a_deadline_ends_an_attempt_too(gateway, cloud):
    cloud.script(Stall(), Stall())
    began = time.monotonic()
    reply = gateway.chat(EASY, model=MINI, headers={"x-pointsman-timeout": "0.5"})
    assert reply.status == 504
    assert time.monotonic() - began < 2.5
    told = "The 0.5 s that the request allowed (x-pointsman-timeout) were over before its answer."
    assert reply.json["error"]["message"] == told
    assert made(gateway, reply)[-1]["error"] == f"upstream_timeout: {told}"


@pytest.mark.parametrize("word", ["soon", "0", "-1", "nan", "1e9"])
def test_a_deadline_that_is_none_is_refused(gateway, cloud, word):
    reply = gateway.chat(EASY, model=MINI, headers={"x-pointsman-timeout": word})
    assert reply.status == 400
    assert "x-pointsman-timeout" in reply.json["error"]["message"]
    assert not cloud.chats


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["setting", "priority", "request"])
def test_a_stronger_model_takes_over_where_the_answer_is_of_no_use(gateway, lan, cloud, stream, how):
    fields: dict[str, Any] = {**JSON, "stream": stream}
    if how == "request":
        fields["routing_preferences"] = {"escalate": True}
    elif how == "setting":
        change(gateway, escalation={"enabled": True})
    else:
        change(gateway, escalation={"priorities": ["balanced"]})
    lan.script(Answer(text="I am not sure what you mean. Could you tell me more about it?"))
    cloud.script(Answer(text='{"capital": "Paris"}'))
    reply = gateway.chat(EASY + " Answer as JSON.", **fields)
    assert reply.status == 200
    assert text(reply) == '{"capital": "Paris"}'
    assert b"logprobs" not in reply.body
    assert reply.headers["x-pointsman-model"].startswith("openai:")
    assert reply.headers["x-pointsman-reason"].startswith(f"escalated: the answer of {LAN} was not convincing")
    told = made(gateway, reply)
    assert (told[0]["model"], told[0]["status"]) == (LAN, "escalated")
    assert told[0]["confidence"] < 0.5
    assert told[1]["confidence"] is None, "who takes over is not judged"
    assert "JSON was asked for" in told[0]["note"]
    assert told[-1]["status"] == "ok"


def test_a_convincing_answer_stands(gateway, lan, cloud):
    lan.script(Answer(text='{"capital": "Paris"}'))
    reply = gateway.chat(EASY + " Answer as JSON.", **JSON, routing_preferences={"escalate": True})
    assert reply.headers["x-pointsman-model"] == LAN
    assert not cloud.chats


def test_the_weak_answer_is_better_than_none(gateway, lan, cloud):
    lan.script(Answer(text="no JSON at all"))
    cloud.script(*[Status(503)] * 8)
    reply = gateway.chat(EASY + " Answer as JSON.", **JSON, routing_preferences={"escalate": True})
    assert reply.status == 200
    assert b"no JSON at all" in reply.body
    assert reply.headers["x-pointsman-model"] == LAN
    assert made(gateway, reply)[-1]["model"] == LAN


def test_what_is_private_is_escalated_nowhere(gateway, lan, cloud):
    lan.script(Answer(text="no JSON at all"))
    secret = "sk-proj-Zq8Vx2Lm9Kt4Rw7Yb3Nc6Hd5Jf1Gs0PaXe4Qu"
    reply = gateway.chat(f"As JSON: is {secret} a key?", **JSON, routing_preferences={"escalate": True})
    assert reply.status == 200
    assert not cloud.chats


def test_a_slow_beginner_is_hedged(gateway, lan, cloud):
    for _ in range(20):  # until it is known how long it usually takes
        lan.script(Answer())
        change(gateway, hedging={"enabled": True, "share": 1.0, "most_micro_usd": 1_000_000})
        assert gateway.chat(EASY).headers["x-pointsman-model"] == LAN
    lan.script(Answer(text="late", delay=2.5))
    cloud.script(Answer(text="soon"))
    reply = gateway.chat(EASY)
    assert text(reply) == "soon"
    assert attempts(gateway, reply) == [(LAN, "cancelled"), (reply.headers["x-pointsman-model"], "ok")]
    assert reply.headers["x-pointsman-reason"].startswith(f"hedged: {LAN} was slow to begin; ")


def test_a_page_in_place_of_an_answer_is_asked_again_too(gateway, cloud):
    cloud.script(Page(b"<html>portal</html>"), Answer(text="the real one"))
    reply = gateway.chat(EASY, model=MINI)
    assert reply.status == 200
    assert b"the real one" in reply.body


EMPTY = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":""},"finish_reason":null}]}\n\n'


@pytest.mark.parametrize(("said", "kept"), [(0, b": keep-alive\n\n"), (1, b": keep-alive\n\n"), (1, EMPTY)])
def test_an_upstream_that_only_keeps_the_connection_open_is_given_up(gateway, cloud, said, kept):
    """Time-outs between bytes (3 s here) hold although bytes come all the time."""
    chunk = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"one"}}]}\n\n'
    cloud.script(*[Stream([chunk] * said + [kept] * 30, delay=0.3)] * 2)
    reply = gateway.chat(EASY, model=MINI, stream=True)
    if said:
        assert b"upstream_timeout" in reply.body
    else:
        assert reply.status == 504
