"""What a prompt costs that is written to the provider's cache, and whose key pays for it."""

from __future__ import annotations

import json

from pointsman.testing import Answer, Page, Status, Tokens

from .running import running

MODEL = "anthropic:claude-opus-5-5"
LONG = "word " * 200
CALLERS = "sk-ant-callers-own-key-0123456789"


def tree(cloud, **more) -> dict:
    """Ten dollars a million tokens of prompt; writing them to a cache for an hour costs twice that."""
    own = {
        "base_url": cloud.root, "api_key": "sk-ant-planted-key", "models": ["claude-opus-5-5"],
        "prices": {"claude-opus-5-5": {"input": 10, "cached_input": 1, "output": 0}},
    }  # fmt: skip
    return {"providers": {"anthropic": own, "ollama": {"enabled": False}}, **more}


def marked(text: str, mark: dict) -> list[dict]:
    return [{"role": "user", "content": [{"type": "text", "text": text, "cache_control": mark}]}]


def test_a_cap_reckons_with_writes_to_a_cache(cloud, tmp_path):
    # The prompt's upper bound is some 1,300 tokens: 1.3 cents read, 2.6 written.
    with running(tmp_path, tree(cloud, budgets={"daily": 0.02})) as gateway:
        usage = Tokens(prompt=300, completion=2, cached=100, written=100)
        cloud.default = Answer(text="ok", usage=usage)
        reply = gateway.chat(LONG, model=MODEL)
        assert reply.status == 200, reply.body
        attempt = gateway.decision(reply)["outcome"]["attempts"][0]
        assert attempt["cost_micro_usd"] == 100 * 10 + 100 * 1 + 100 * 12.5
        for mark in ({"type": "ephemeral", "ttl": "1h"}, {"type": "ephemeral"}):
            refused = gateway.chat("", model=MODEL, messages=marked(LONG, mark))
            assert (refused.status, refused.json["error"]["code"]) == (429, "budget_exceeded")
        body = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": LONG}]}
        assert gateway.ask("POST", "/v1/messages", body).status == 200
        refused = gateway.ask("POST", "/v1/messages", {**body, "cache_control": {"type": "ephemeral"}})
        assert refused.status == 429
        assert len(cloud.chats) == 2
    cloud.default = Answer()


def test_an_hour_in_the_cache_is_dearer(cloud, tmp_path):
    told = {"input_tokens": 0, "output_tokens": 2, "cache_creation_input_tokens": 300}
    hour = {"ephemeral_1h_input_tokens": 200, "ephemeral_5m_input_tokens": 100}
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
    answer = {**whole, "content": [{"type": "text", "text": "ok"}], "usage": {**told, "cache_creation": hour}}
    cloud.script(Page(json.dumps(answer).encode(), "application/json"))
    with running(tmp_path, tree(cloud)) as gateway:
        attempt = gateway.decision(gateway.chat("hi", model=MODEL))["outcome"]["attempts"][0]
    assert attempt["cost_micro_usd"] == 200 * 20 + 100 * 12.5


def test_the_callers_key_goes_out_in_place_of_ours_and_comes_back_in_nothing(cloud, tmp_path):
    with running(tmp_path, tree(cloud, security={"caller_credentials": "override"})) as gateway:
        quoted = b'{"type":"error","error":{"type":"invalid_request_error","message":"not ' + CALLERS.encode() + b'"}}'
        cloud.script(Answer(), Status(400, quoted))
        headers = {"x-pointsman-credential": f"anthropic={CALLERS}"}
        assert gateway.chat("hi", model=MODEL, headers=headers).status == 200
        assert cloud.chats[0].headers["x-api-key"] == CALLERS
        refused = gateway.chat("hi", model=MODEL, headers=headers)
        assert (refused.status, refused.json["error"]["message"]) == (400, "not [removed]")
        assert gateway.chat("hi", model=MODEL).status == 200
        assert cloud.chats[2].headers["x-api-key"] == "sk-ant-planted-key"
        assert CALLERS not in gateway.log_text
