"""What must stay on the machine stays, whatever goes wrong.

Canaries are planted in every place of a request that holds text; every byte that reaches the remote upstream and every
byte that the gateway writes is searched for them.
"""

from __future__ import annotations

import itertools

import pytest

from pointsman.testing.answers import Answer, HangUp, Reset, Status

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
