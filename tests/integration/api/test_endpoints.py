"""What each endpoint answers. Every JSON answer is checked against the OpenAPI document."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from stores.entries import decision, outcome, plain

from pointsman.core.errors import ModelNotFound, NoCapableModel
from pointsman.core.ports import Health
from pointsman.surfaces.schemas import components

from .conftest import CARDS, Api, Reply, key_id


async def checked(
    api: Api, method: str, path: str, body: Any = None, *, operation: str | None = None, **how: Any
) -> Reply:
    """Ask, and hold the answer to what the document says of it."""
    document = (await api.ask("GET", "/openapi.json")).json
    reply = await api.ask(method, path, body, **how)
    responses = document["paths"][operation or path.partition("?")[0]][method.lower()]["responses"]
    described = responses.get(str(reply.status)) or responses[f"{reply.status // 100}XX"]
    schema = {**described["content"]["application/json"]["schema"], "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(reply.json)
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    return reply


async def logged(api: Api, who: str, **changes: Any) -> str:
    one = decision(key_id=key_id(who), **changes)
    api.log.decided(one, prompt=None)
    api.log.ended(one.id, outcome(answer_id=f"chatcmpl-{who}"))
    return one.id


async def test_models_are_listed_with_auto_first(api: Api):
    models = (await checked(api, "GET", "/v1/models")).json
    assert models["object"] == "list"
    assert [model["id"] for model in models["data"]] == ["auto", "fast", *(card.id for card in CARDS)]
    auto, fast, _, gpt, unknown = models["data"]
    assert auto["pointsman"]["capabilities"] == ["chat", "tools", "vision"]
    assert auto["pointsman"]["context_window"] == 128_000
    assert (fast["pointsman"]["alias_of"], fast["pointsman"]["local"]) == (CARDS[0].id, True)
    assert (gpt["object"], gpt["owned_by"], gpt["created"]) == ("model", "openai", 1_700_000_000)
    assert gpt["pointsman"]["price"] == {"input": 2_500_000, "cached_input": 1_250_000, "output": 10_000_000}
    assert unknown["pointsman"]["price"] is None
    assert unknown["pointsman"]["routable"] is False


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("auto", "auto"),
        ("fast", "fast"),
        ("openai:gpt-4o", "openai:gpt-4o"),
        ("gpt-4o", "openai:gpt-4o"),
        ("lan:org/llama%203.1:8b", CARDS[0].id),
    ],
)
async def test_a_model_is_found_by_any_of_its_names(api: Api, asked: str, found: str):
    reply = await checked(api, "GET", f"/v1/models/{asked}", operation="/v1/models/{id}")
    assert (reply.status, reply.json["id"]) == (200, found)


async def test_an_unknown_model_is_a_404_with_close_matches(api: Api):
    reply = await checked(api, "GET", "/v1/models/gpt-4", operation="/v1/models/{id}")
    assert reply.status == 404
    assert reply.json["error"]["code"] == "model_not_found"
    assert "gpt-4o" in reply.json["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/feedback", "/api/v1/feedback"])
async def test_feedback_is_kept_and_shown(api: Api, path: str):
    identifier = await logged(api, "alice")
    reply = await checked(api, "POST", path, {"id": "chatcmpl-alice", "score": 0.5, "comment": "gut"})
    assert (reply.status, reply.json["id"], reply.json["score"]) == (200, identifier, 0.5)
    shown = await checked(api, "GET", f"/api/v1/decisions/{identifier}", operation="/api/v1/decisions/{id}")
    assert shown.json["feedback"]["comment"] == "gut"


async def test_feedback_for_a_foreign_answer_is_refused_like_for_none(api: Api):
    identifier = await logged(api, "alice")
    foreign = await checked(api, "POST", "/v1/feedback", {"id": identifier, "score": 1}, who="bob")
    none = await checked(api, "POST", "/v1/feedback", {"id": "dec_none", "score": 1}, who="bob")
    assert foreign.status == none.status == 404
    assert foreign.body == none.body
    record = await api.log.get(identifier)
    assert record is not None
    assert record["feedback"] is None


async def test_a_decision_is_told_whole_to_its_key(api: Api):
    identifier = await logged(api, "alice")
    record = await api.log.get(identifier)
    assert record is not None
    for name in (identifier, "chatcmpl-alice"):
        reply = await checked(api, "GET", f"/api/v1/decisions/{name}", operation="/api/v1/decisions/{id}")
        assert reply.status == 200
        told, whole = reply.json, {**record["decision"], "outcome": record["outcome"], "feedback": None}
        for attempt, known in zip(told["outcome"]["attempts"], whole["outcome"]["attempts"], strict=True):
            # The words of an error may name addresses, which are for admins; its code is for everybody.
            assert (attempt["error"] or "") == (known["error"] or "").partition(":")[0]
            attempt["error"] = known["error"]
        assert told == whole
    assert {"id", "model", "candidates", "dropped", "propensity", "reasons", "policy", "signals"} <= set(reply.json)


async def test_a_foreign_decision_is_refused_like_none(api: Api):
    identifier = await logged(api, "alice")
    foreign = await checked(
        api, "GET", f"/api/v1/decisions/{identifier}", operation="/api/v1/decisions/{id}", who="bob"
    )
    none = await checked(api, "GET", "/api/v1/decisions/dec_none", operation="/api/v1/decisions/{id}", who="bob")
    assert foreign.status == none.status == 404
    assert foreign.body == none.body


async def test_a_decision_that_has_not_ended_has_no_outcome(api: Api):
    one = decision(key_id=key_id("alice"))
    api.log.decided(one, prompt=None)
    reply = await checked(api, "GET", f"/api/v1/decisions/{one.id}", operation="/api/v1/decisions/{id}")
    assert reply.json["outcome"] is None


async def test_decisions_are_listed_newest_first_and_each_key_sees_its_own(api: Api):
    mine = [await logged(api, "alice") for _ in range(3)]
    await logged(api, "bob")
    listed = (await checked(api, "GET", "/api/v1/decisions?limit=2")).json["data"]
    assert [line["id"] for line in listed] == [mine[2], mine[1]]
    assert listed[0]["answered_by"] == "cloud:großes"
    assert listed[0]["reason"] == "it is named"
    assert len((await checked(api, "GET", "/api/v1/decisions")).json["data"]) == 3


async def test_the_user_of_an_open_port_sees_everything(open_api: Api):
    identifiers = [await logged(open_api, who) for who in ("alice", "bob")]
    listed = (await checked(open_api, "GET", "/api/v1/decisions", who=None)).json["data"]
    assert [line["id"] for line in listed] == identifiers[::-1]


CHAT = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


async def test_route_decides_and_logs_nothing(api: Api):
    made = decision()
    api.decide = lambda request, caller: made
    reply = await checked(api, "POST", "/api/v1/route", CHAT)
    assert reply.status == 200
    assert reply.json == {**plain(made), "dry_run": True}  # type: ignore[dict-item]
    assert await api.log.recent(1) == []


async def test_route_refuses_as_the_pipeline_would(api: Api):
    missing = ModelNotFound("The model 'gpt-5' does not exist.")
    missing.alternatives = ("gpt-4o",)
    for error, reason, alternatives in (
        (missing, "model_not_found", ["gpt-4o"]),
        (NoCapableModel(), "no_capable_model", []),
    ):

        def decide(request, caller, error=error):
            raise error

        api.decide = decide
        reply = await checked(api, "POST", "/api/v1/route", CHAT)
        assert reply.status == error.status
        assert reply.json["error"]["code"] == "validation_error"
        assert reply.json["error"]["details"]["reason"] == reason
        assert reply.json["error"]["remediation"]["alternatives"] == alternatives


@pytest.mark.parametrize(
    ("providers", "status"),
    [
        ({"lan": Health(ok=True, detail="fine")}, "ok"),
        (
            {"lan": Health(ok=True, detail="fine"), "openai": Health(ok=False, detail="401", mend="set a key")},
            "degraded",
        ),
        ({"openai": Health(ok=False, detail="401", mend="set a key")}, "down"),
        ({}, "down"),
    ],
)
async def test_health_tells_of_every_provider(api: Api, providers: dict[str, Health], status: str):
    api.health = providers
    reply = await checked(api, "GET", "/api/v1/health")
    assert (reply.status, reply.json["status"], reply.json["version"]) == (200, status, "1.2.3")
    assert 0 <= reply.json["uptime"] < 60
    assert reply.json["models"] == len(CARDS)
    assert reply.json["decision_log"] == {
        "ok": True, "pending": 0, "spooled": 0, "dropped": 0, "last_error": None
    }  # fmt: skip
    assert {name: one["connected"] for name, one in reply.json["providers"].items()} == {
        name: one.ok for name, one in providers.items()
    }


async def test_the_document_describes_the_hot_endpoint_as_it_parses(api: Api):
    document = (await api.ask("GET", "/openapi.json")).json
    assert document["openapi"].startswith("3.1")
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert chat["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/ChatCompletionRequest")
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    schema = {"$ref": "#/components/schemas/ChatCompletionRequest", "components": document["components"]}
    check = jsonschema.Draft202012Validator(schema)
    check.validate({**CHAT, "n": 2, "tools": [{"type": "function"}], "unknown": 1, "stop": ["a"], "temperature": None})
    for wrong in ({}, {**CHAT, "n": 0}, {**CHAT, "messages": []}, {**CHAT, "messages": [{"role": "x"}]},
                  {**CHAT, "routing_preferences": {"privacy": "max"}}):  # fmt: skip
        assert not check.is_valid(wrong), wrong


async def test_every_reference_of_the_document_leads_somewhere_and_no_422_is_promised(api: Api):
    document = (await api.ask("GET", "/openapi.json")).json
    names = document["components"]["schemas"]
    assert set(components()) <= set(names)

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                assert node["$ref"].rpartition("/")[2] in names, node
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(document)
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    assert all("422" not in one["responses"] for one in operations)
    identifiers = [one["operationId"] for one in operations]
    assert len(set(identifiers)) == len(identifiers)


async def test_usage_tells_what_is_left(api: Api):
    await api.ask("POST", "/api/v1/route", {"messages": [{"role": "user", "content": "hi"}]})
    shown = (await checked(api, "GET", "/api/v1/usage")).json
    minute, bucket = shown["limits"]
    assert (shown["key_id"], shown["tier"], shown["priority"]) == (key_id("alice"), "free", "low")
    assert (minute["name"], minute["limit"], minute["used"], minute["remaining"]) == ("minute", 500, 1, 499)
    assert minute["reset_at"].endswith(":00Z")
    assert (bucket["name"], bucket["limit"], bucket["used"]) == ("usage-burst", 400, 1)
    other = (await checked(api, "GET", "/api/v1/usage", who="bob")).json
    assert other["limits"][0]["used"] == 0
