"""Settings that an admin changes while the gateway runs."""

from __future__ import annotations

from typing import Any

import pytest

from pointsman.testing.answers import Status
from waiting import until

from .conftest import UPSTREAM_KEY
from .running import Gateway, Reply, running

ADMIN, KEY = "pm-key-of-an-admin-0123456789", "pm-key-of-somebody-0123456789"
EASY = "What is the capital of France?"


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture
def fresh(gateway: Gateway):
    """The gateway without any change, before and after."""
    yield gateway
    assert gateway.ask("DELETE", "/api/v1/config").status == 200


def change(gateway: Gateway, **sections: Any) -> Reply:
    return gateway.ask("POST", "/api/v1/config", sections)


def route(gateway: Gateway, content: str = EASY, **fields: Any) -> dict[str, Any]:
    body = {"model": "auto", "messages": [{"role": "user", "content": content}], **fields}
    return gateway.ask("POST", "/api/v1/route", body).json


def refused(reply: Reply, field: str) -> str:
    assert reply.status == 400, reply.body
    found = reply.json["error"]
    assert found["code"] == "validation_error"
    assert found["details"]["param"] == field
    return str(found["message"])


def test_settings_are_shown_and_secrets_are_not(fresh):
    reply = fresh.ask("GET", "/api/v1/config")
    assert reply.status == 200
    assert UPSTREAM_KEY.encode() not in reply.body
    told = reply.json
    assert told["settings"]["providers.openai.api_key"] == "…"
    assert told["settings"]["routing.priority"] == "balanced"
    assert told["changeable"]["routing.priority"] == ["balanced", "speed", "quality", "privacy", "cost"]
    assert set(told["changeable"]) < set(told["settings"])
    assert told["changed"] == {}


def test_a_change_holds_when_it_is_answered(fresh, cloud, lan):
    assert route(fresh)["signals"]["priority"] == "balanced"
    reply = change(fresh, routing={"priority": "cost", "complexity_threshold": 0.4, "default_temperature": 0.25})
    assert reply.status == 200, reply.body
    names = ["routing.priority", "routing.complexity_threshold", "routing.default_temperature"]
    assert reply.json == {"updated_fields": names}
    assert route(fresh)["signals"]["priority"] == "cost"
    assert fresh.chat(EASY).status == 200
    assert lan.chats[-1].json["temperature"] == 0.25
    told = fresh.ask("GET", "/api/v1/config").json
    assert told["settings"]["routing.complexity_threshold"] == 0.4
    assert told["changed"]["routing.priority"]["value"] == "cost"
    assert told["changed"]["routing.priority"]["changed_by"] is None

    undone = fresh.ask("DELETE", "/api/v1/config?field=routing.priority").json["updated_fields"]
    assert undone == ["routing.priority"]
    assert route(fresh)["signals"]["priority"] == "balanced"
    assert fresh.ask("GET", "/api/v1/config").json["settings"]["routing.complexity_threshold"] == 0.4
    assert len(fresh.ask("DELETE", "/api/v1/config").json["updated_fields"]) == 2
    fresh.chat(EASY)
    assert "temperature" not in lan.chats[-1].json


def test_aliases_models_and_providers(fresh, cloud, lan):
    change(fresh, routing={"aliases": {"mine": "openai:gpt-4o"}})
    assert fresh.chat(EASY, model="mine").headers["x-pointsman-model"] == "openai:gpt-4o"
    assert fresh.chat(EASY, model="fast").status == 404  # an alias of the settings file, whose table was replaced
    assert "mine" in {model["id"] for model in fresh.ask("GET", "/v1/models").json["data"]}
    change(fresh, routing={"force_provider": "openai"})
    assert route(fresh)["model"].startswith("openai:")
    change(fresh, routing={"force_provider": None, "model_names": "hint"})
    assert route(fresh, model="gpt-4o")["mode"] == "hint"


def test_fallbacks_hold_at_once(fresh, cloud, lan):
    assert route(fresh, model="openai:gpt-4o")["plan"] == ["openai:gpt-4o"]
    change(fresh, routing={"fallbacks": {"openai:gpt-4o": ["lan:llama3.1:8b"]}})
    cloud.script(Status(500))
    reply = fresh.chat(EASY, model="openai:gpt-4o")
    assert reply.headers["x-pointsman-model"] == "lan:llama3.1:8b"
    assert reply.headers["x-pointsman-reason"].startswith("fallback: openai:gpt-4o failed")


def test_the_privacy_level_can_only_be_raised(fresh, cloud, lan):
    assert change(fresh, privacy={"level": "max"}).status == 200
    assert route(fresh)["signals"]["privacy"]["local_only"] is True
    assert fresh.chat(EASY, model="openai:gpt-4o").status == 403
    assert change(fresh, privacy={"level": "high"}).status == 200  # down again, not below the file
    assert route(fresh)["signals"]["privacy"]["local_only"] is False
    assert not cloud.chats


def test_the_level_of_the_file_is_a_floor(settings, tmp_path):
    with running(tmp_path, {**settings, "privacy": {"level": "high"}}) as gateway:
        assert "can only be raised" in refused(change(gateway, privacy={"level": "standard"}), "privacy.level")
        assert route(gateway)["signals"]["privacy"]["level"] == "high"


@pytest.mark.parametrize(
    ("tree", "field", "says"),
    [
        ({"routing": {"priority": "fastest"}}, "routing.priority", "one of balanced, speed"),
        ({"routing": {"complexity_threshold": 7}}, "routing.complexity_threshold", "between 0 and 1"),
        ({"routing": {"complexity_threshold": "high"}}, "routing.complexity_threshold", "must be a number"),
        ({"routing": {"force_provider": "grok"}}, "routing.force_provider", "one of lan, openai"),
        ({"routing": {"default_provider": "grok"}}, "routing.default_provider", "one of lan, openai"),
        ({"routing": {"aliases": {"a": 1}}}, "routing.aliases.a", "must be text"),
        ({"routing": {"default_temperature": -1}}, "routing.default_temperature", "between 0 and 2"),
        ({"routing": {"nonsense": 1}}, "routing.nonsense", "these can"),
        ({"server": {"port": 1}}, "server.port", "these can"),
        ({"providers": {"openai": {"api_key": "sk-new"}}}, "providers.openai", "these can"),
        ({"privacy": {"level": "none"}}, "privacy.level", "one of standard, high, max"),
        ({"privacy": {"redaction": False}}, "privacy.redaction", "these can"),
        ({"security": 1}, "security", "these can"),
    ],
)
def test_what_cannot_be_is_named_and_nothing_is_changed(fresh, tree, field, says):
    merged = {**tree, "routing": {"max_attempts": 2, **tree.get("routing", {})}}
    assert says in refused(fresh.ask("POST", "/api/v1/config", merged), field)
    told = fresh.ask("GET", "/api/v1/config").json
    assert told["changed"] == {}
    assert told["settings"]["routing.max_attempts"] == 4


@pytest.mark.parametrize("body", [b"", b"[]", b"3", b"{", b'"routing"'])
def test_what_is_no_tree(fresh, body):
    assert fresh.ask("POST", "/api/v1/config", body).status == 400


def test_nothing_asked_is_nothing_done(fresh):
    assert change(fresh).json == {"updated_fields": []}
    assert refused(fresh.ask("DELETE", "/api/v1/config?field=server.port"), "field")


def test_only_admins(settings, cloud, lan, tmp_path):
    tree = {**settings, "server": {"api_keys": [KEY], "admin_keys": [ADMIN]}}
    mine, admin = {"authorization": f"Bearer {KEY}"}, {"authorization": f"Bearer {ADMIN}"}
    with running(tmp_path, tree) as gateway:
        for method, body in (("GET", None), ("POST", {"routing": {"priority": "cost"}}), ("DELETE", None)):
            assert gateway.ask(method, "/api/v1/config", body, headers=mine).status == 403
            assert gateway.ask(method, "/api/v1/config", body).status == 401
        shown = gateway.ask("GET", "/api/v1/config", headers=admin)
        assert ADMIN.encode() not in shown.body
        assert KEY.encode() not in shown.body
        assert shown.json["changed"] == {}


def test_changes_outlive_a_restart(settings, cloud, lan, tmp_path):
    with running(tmp_path, settings) as gateway:
        change(gateway, routing={"priority": "quality", "aliases": {"best": "openai:gpt-4o"}})
    with running(tmp_path, settings) as gateway:
        assert route(gateway)["signals"]["priority"] == "quality"
        assert route(gateway, model="best")["model"] == "openai:gpt-4o"
    raised = {**settings, "privacy": {"level": "max"}}
    with running(tmp_path, raised) as gateway:  # what does not contradict the new file goes on to hold
        assert route(gateway)["signals"]["priority"] == "quality"
        change(gateway, routing={"priority": "cost"})
        assert gateway.ask("DELETE", "/api/v1/config").json["updated_fields"]
        assert route(gateway)["signals"]["priority"] == "balanced"


def test_a_change_that_no_longer_fits_does_not_keep_the_gateway_from_starting(settings, cloud, lan, tmp_path):
    with running(tmp_path, settings) as gateway:
        change(gateway, privacy={"level": "high"}, routing={"priority": "quality"})
    with running(tmp_path, {**settings, "privacy": {"level": "max"}}) as gateway:
        assert "does not fit the settings any more" in gateway.log_text
        assert route(gateway)["signals"]["privacy"]["level"] == "max"  # the settings hold
        assert "can only be raised" in refused(change(gateway, routing={"priority": "cost"}), "privacy.level")
        assert gateway.ask("DELETE", "/api/v1/config?field=privacy.level").json["updated_fields"] == ["privacy.level"]
        assert route(gateway)["signals"]["priority"] == "quality"


def test_every_gateway_of_a_database_follows(settings, postgres_url, tmp_path):
    env = {"DATABASE_URL": postgres_url, "POINTSMAN_SECRET_KEY": "a secret that both gateways share, and nobody else"}
    with running(tmp_path / "a", settings, env=env) as one, running(tmp_path / "b", settings, env=env) as other:
        assert change(one, routing={"priority": "cost"}).status == 200
        assert route(one)["signals"]["priority"] == "cost"
        until(lambda: route(other)["signals"]["priority"] == "cost")
        assert other.ask("DELETE", "/api/v1/config").json == {"updated_fields": ["routing.priority"]}
        until(lambda: route(one)["signals"]["priority"] == "balanced")
