"""Requests and upstreams that mean ill: none holds up the others, fills the memory or spoils the log."""

from __future__ import annotations

import json
import threading

import psutil
import pytest

from pointsman.testing.answers import Page, Raw, Status, Stream

HI = b'{"role":"user","content":"hi"}'
TEXT = b'{"role":"user","content":"%b"}'
MB = 1024 * 1024


def body(messages: bytes = HI, more: bytes = b"") -> bytes:
    return b'{"model":"fast","messages":[' + messages + b"]" + more + b"}"


DEAR = {
    "separators before a password": body(TEXT % (b"password = " + b"-_" * 40 + b"a1!")),
    "many of them": body(TEXT % ((b"token: " + b"$-_:" * 40 + b"a1! ") * 5000)),
    "a row of numbers": body(more=b',"x":[' + b",".join([b"0"] * 2_000_000) + b"]"),
    "rows of numbers": body(more=b"".join(b',"x%d":[%b]' % (n, b",".join([b"0"] * 100_000)) for n in range(60))),
    "a million fields": body(more=b"".join(b',"x%d":0' % n for n in range(1_000_000))),
    "a hundred thousand keys": body(more=b',"x":{' + b",".join(b'"k%d":0' % n for n in range(100_000)) + b"}"),
    "very many messages": body(b",".join([HI] * 300_000)),
    "deep lists": body(more=b',"x":' + b"[" * 2_000_000),
    "deep objects": body(more=b',"x":' + b'{"a":' * 400_000 + b"0" + b"}" * 400_000),
    "a long number": body(more=b',"x":' + b"9" * 4_000_000),
    "many escapes": body(TEXT % (b"\\\\u0041" * 400_000)),
    "many backslashes": body(TEXT % (b"\\\\" * 2_000_000)),
    "wide letters": body(TEXT % ("１".encode() * 800_000)),
    "many at signs": body(TEXT % (b"a@" * 1_500_000)),
    "many almost cards": body(TEXT % (b"4539578763621487 " * 200_000)),
    "many almost keys": body(TEXT % (b"sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa " * 90_000)),
    "one long word": body(TEXT % (b"a" * 4_000_000)),
    "a model of a long name": body().replace(b"fast", b"g" * 4_000_000),
    "tags without end": body(TEXT % (b"<user_query>" * 300_000)),
    "fences without end": body(TEXT % (b"```\\n" * 800_000)),
}  # fmt: skip


@pytest.mark.parametrize("case", DEAR)
def test_no_request_holds_up_the_others(gateway, lan, case):
    process = psutil.Process(gateway.process.pid)
    slowest = 0.0
    done = threading.Event()

    def used() -> float:
        """Processor time: how long anybody waits depends on what else the machine does."""
        return sum(process.cpu_times()[:2])

    def watch() -> None:
        nonlocal slowest
        while not done.is_set():
            began = used()
            gateway.ask("GET", "/api/health")
            slowest = max(slowest, used() - began)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        reply = gateway.ask("POST", "/v1/chat/completions", DEAR[case])
    finally:
        done.set()
        watching.join()
    assert reply.status in (200, 400, 403, 404, 413), reply.body[:300]
    assert slowest < 3.0, "seconds of work in which nobody else was answered"


@pytest.mark.parametrize("stream", [False, True])
def test_no_upstream_fills_the_memory(gateway, cloud, stream):
    """Answers, frames and heads without end are ended, and what they took is given back."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    steps = [
        Stream([b"data: " + b"x" * MB] * 40),
        Stream([b": " + b"x" * MB] * 40),
        Raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000),
        Raw(b"HTTP/1.1 103 Early Hints\r\nLink: " + b"a" * 1000 + b"\r\n\r\n" * 20_000),
        Raw(head + b"X-A: b\r\n" * 200_000),
        Raw(head + b"X-A: " + b"b" * 2 * MB),
        Page(b'{"choices": ' + b"[" * 2_000_000, "application/json"),
        Page(b'{"error": ' + b'{"a":' * 400_000, "application/json"),
        Page(b"x" * 70 * MB, "application/json"),
        Status(400, b'{"error": {"message": "' + b"x" * 8 * MB),
    ]
    process = psutil.Process(gateway.process.pid)
    for step in steps:
        cloud.script(*[step] * 4)
        reply = gateway.chat("hi", model="openai:gpt-4o", stream=stream)
        assert reply.status in (200, 400, 502, 504), (step, reply.body[:200])
        if reply.status == 200:  # comments that keep the connection open are no answer yet, and no fault
            assert b'"error"' in reply.body
        cloud.reset()
    assert process.memory_info().rss < 450 * MB


@pytest.mark.parametrize("stream", [False, True])
def test_absurd_accounts_of_an_answer_spoil_no_log(gateway, cloud, stream):
    """An id of a megabyte, more tokens than there are, less than none: the outcome is logged all the same."""
    usages = [
        '{"prompt_tokens": 99999999999999999999}',
        '{"prompt_tokens": -5, "completion_tokens": 9223372036854775807}',
    ]
    for usage in usages:
        for identifier in ("x" * MB, "a"):
            message = '"delta"' if stream else '"message"'
            answer = (
                f'{{"id": "{identifier}", "object": "chat.completion", "choices": [{{"index": 0, {message}:'
                f' {{"role": "assistant", "content": "hi"}}, "finish_reason": "{"stop" * 1000}"}}], "usage": {usage}}}'
            ).encode()
            step = (
                Stream([b"data: " + answer + b"\n\n", b"data: [DONE]\n\n"])
                if stream
                else Page(answer, "application/json")
            )
            cloud.script(step)
            reply = gateway.chat("hi", model="openai:gpt-4o", stream=stream)
            assert reply.status == 200, reply.body[:300]
            outcome = gateway.decision(reply)["outcome"]
            assert outcome["status"] == "ok"
            assert len(json.dumps(outcome)) < 2000
            assert outcome["attempts"][-1]["estimated"] is True  # what was told is not believed
            assert 0 < outcome["prompt_tokens"] < 100
    assert gateway.ask("GET", "/api/v1/health").json["decision_log"]["dropped"] == 0


def test_feedback_and_lists_are_bounded(gateway, lan):
    decision = gateway.chat("hi", model="fast").headers["x-pointsman-decision"]
    for number in range(50):
        body = {"id": decision, "score": number / 50, "comment": "'; DROP TABLE decisions; --"}
        assert gateway.ask("POST", "/v1/feedback", body).status == 200
    assert gateway.ask("POST", "/v1/feedback", {"id": decision, "score": 1, "comment": "x" * 5000}).status == 400
    assert gateway.record(decision)["feedback"]["score"] == 49 / 50
    for limit in ("0", "-1", "201", "9" * 40, "1e9", "x"):
        assert gateway.ask("GET", f"/api/v1/decisions?limit={limit}").status == 400
    for identifier in ("%27%20OR%201=1--", "..%2f..%2fetc%2fpasswd", "%00", "x" * 7000):
        assert gateway.ask("GET", f"/api/v1/decisions/{identifier}").status in (400, 404)
        assert gateway.ask("GET", f"/v1/models/{identifier}").status in (400, 404)
