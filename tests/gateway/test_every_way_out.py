"""Canaries in hundreds of requests, over every way in and every fault: none may reach what is not local, or a file.

Every byte that reaches what is not local is kept (`ways_out.ELSEWHERE`), and every file and log line is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from pointsman.testing.upstream import ScriptedUpstream

from .running import Background, Gateway, running
from .ways_out import CANARIES, ELSEWHERE, GOES_ON, WAYS, disguises, faults, other_ways, spellings

OPENAIS = ("gpt-4o", "gpt-4o-mini", "gpt-3.5-turbo-instruct", "text-embedding-3-small")


@contextmanager
def upstream(background: Background) -> Iterator[ScriptedUpstream]:
    server = ScriptedUpstream(models=("llama3:8b",))
    background.run(server.__aenter__())
    try:
        yield server
    finally:
        background.run(server.__aexit__(None, None, None))


class World:
    """A gateway, one local upstream, and everything that is not local."""

    def __init__(self, gateway: Gateway, lan: ScriptedUpstream, elsewhere: dict[str, ScriptedUpstream]) -> None:
        self.gateway = gateway
        self.lan = lan
        self.elsewhere = elsewhere

    def leaks(self, canary: str) -> list[str]:
        """Where any writing of a canary is to be seen."""
        forms = spellings(canary)
        found = []
        for name, server in self.elsewhere.items():
            for request in server.requests:
                seen = request.path.encode() + str(request.headers).encode() + request.body
                found += [f"{name} got {form!r}: {seen[:300]!r}" for form in forms if form in seen]
        for file in [self.gateway.folder / "gateway.log", *(self.gateway.folder / "data").rglob("*")]:
            if file.is_file():
                content = file.read_bytes()
                found += [f"{file.name} holds {form!r}" for form in forms if form in content]
        return found


@contextmanager
def world(folder, background: Background, redaction: bool, data_plane: str) -> Iterator[World]:
    with ExitStack() as stack:
        elsewhere = {name: stack.enter_context(upstream(background)) for name in ELSEWHERE}
        lan = stack.enter_context(upstream(background))
        away = elsewhere["cloud"].base_url
        for server in (lan, *elsewhere.values()):
            server.default = faults(away)
        tree: dict[str, Any] = {
            "providers": {
                "openai": {"base_url": away, "api_key": "sk-upstream-planted-key", "models": [*OPENAIS]},
                "speaks": {"base_url": away, "responses": True, "models": ["gpt-5.5", "gpt-5-codex"]},
                "anthropic": {
                    "base_url": elsewhere["anthropic"].root,
                    "api_key": "sk-ant-planted-key",
                    "models": ["claude-opus-5-5"],
                },
                "lan": {"base_url": lan.base_url, "local": True, "models": ["llama3.1:8b"]},
                "ollama": {"base_url": elsewhere["ollama"].root},
                "litellm": {"base_url": elsewhere["litellm"].base_url, "models": ["claude"]},
                "farm": {"type": "ollama", "instances": [elsewhere["farm"].root, elsewhere["farm too"].root]},
            },
            "routing": {
                "aliases": {"mine": "openai:gpt-4o"},
                "intent_model": "openai:gpt-4o",
                "intent_timeout": 0.2,
                "intent_micro_usd_per_day": 1_000_000,
                "fallbacks": {
                    "lan:llama3.1:8b": ["openai:gpt-4o", "ollama:llama3:8b", "farm:llama3:8b", "litellm:claude"],
                    "openai:gpt-4o": ["lan:llama3.1:8b", "litellm:claude"],
                },
            },
            "limits": {"first_byte_timeout": 0.3, "between_bytes_timeout": 0.3, "connect_timeout": 1.0},
            "budgets": {"daily": 0.001, "hard": False, "webhook": f"{elsewhere['hook'].root}/alerts"},
            "privacy": {"redaction": redaction, "store_prompts": "public"},
            "server": {"data_plane": data_plane},
            "learning": {"judge": {"share": 1.0, "model": "openai:gpt-4o"}},
            "log": {"level": "debug"},
        }
        proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        environ = dict.fromkeys(proxies, elsewhere["proxy"].root)
        with running(folder, tree, env=environ) as gateway:
            yield World(gateway, lan, elsewhere)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("redaction", "data_plane"), [(False, "native"), (True, "native"), (True, "asgi")], ids=["off", "on", "on, asgi"]
)
def test_no_canary_gets_out(tmp_path, background, redaction, data_plane):
    with world(tmp_path, background, redaction, data_plane) as here:
        sent = 0
        ways = list(WAYS.items())
        statuses: set[int] = set()
        reached: set[str] = set()
        went_on = 0
        canaries = list(CANARIES.items())[:: 1 if data_plane == "native" else 4]
        for number, (kind, canary) in enumerate(canaries):
            for place, body in disguises(canary).items():
                # Every disguise goes two ways; over all canaries each disguise goes every way.
                for step in (0, 1):
                    name, way = ways[(number + sent + step * 4) % len(ways)]
                    reply = way(here.gateway, body)
                    statuses.add(reply.status)
                    sent += 1
                    assert reply.status in (200, 400, 403, 429, 502, 503, 504), (kind, place, name, reply.body)
                    if not redaction and name != "preview":
                        assert reply.headers.get("x-pointsman-provider", "lan") == "lan", (kind, place, name)
            ok = here.gateway.chat("hi", model="lan:llama3.1:8b").headers.get("x-pointsman-decision", "dec_0")
            for reply in other_ways(here.gateway, canary, ok):
                assert reply.status in (200, 400, 401, 403, 404, 405, 415, 422, 429, 502, 503, 504), (
                    kind,
                    reply.body,
                )
                sent += 1
            here.gateway.ask("GET", "/api/v1/decisions?limit=200")  # reads after what was queued is written
            assert here.leaks(canary) == [], kind
            seen = {name: server.chats for name, server in here.elsewhere.items()}
            if not redaction:
                private = [request for chats in seen.values() for request in chats if b"REDACTED_" in request.body]
                assert not private
            else:
                assert any(b"REDACTED_" in request.body for request in seen["cloud"])
            went_on += sum(GOES_ON in request.body for chats in seen.values() for request in chats)
            reached |= {name for name, server in here.elsewhere.items() if server.requests}
            # What may have it did get it, so the search finds what is there.
            assert any(form in request.body for request in here.lan.chats for form in spellings(canary)), kind
            for server in (here.lan, *here.elsewhere.values()):
                server.requests.clear()
        assert sent >= (200 if data_plane == "native" else 100)
        if redaction and data_plane == "native":  # the search was made where it could have found something
            assert reached == {"cloud", "anthropic", "ollama", "litellm", "farm", "farm too", "hook"}
            assert went_on, "models that went on with what others had told of private requests"
        assert "proxy" not in reached
        assert {200, 403} <= statuses
