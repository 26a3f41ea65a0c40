"""What callers say of answers moves where `auto` goes, in every gateway that shares the database, and back."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pointsman.testing.answers import Answer, Status
from pointsman.testing.upstream import ScriptedUpstream
from waiting import until

from .running import Gateway, Reply, running

ASK = "Write a Python function that merges two sorted lists."
SECRET = "a secret that both gateways share, and nobody else"
ADMIN = "sk-admin-key-of-the-feedback-tests"


@pytest.fixture
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Without exploration, so that a test sees what the gateway believes."""
    routing = {**settings["routing"], "exploration": {"share": 0.0}}
    return {**settings, "routing": routing}


@pytest.fixture(params=["sqlite", "postgres"])
def pair(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    settings: dict[str, Any],
    cloud: ScriptedUpstream,
    lan: ScriptedUpstream,
) -> Iterator[tuple[Gateway, Gateway]]:
    """Two gateways on one database."""
    env = {"POINTSMAN_SECRET_KEY": SECRET}
    tree = dict(settings)
    if request.param == "postgres":
        env["DATABASE_URL"] = request.getfixturevalue("postgres_url")
    else:
        tree["data_dir"] = str(tmp_path / "shared")
    with ExitStack() as stack:
        yield tuple(stack.enter_context(running(tmp_path / name, tree, env=env)) for name in "ab")  # type: ignore[misc]


def chosen(gateway: Gateway) -> dict[str, float]:
    """What the gateway would choose now: the predicted success of each candidate, the chosen one first."""
    body = {"model": "auto", "messages": [{"role": "user", "content": ASK}]}
    found = gateway.ask("POST", "/api/v1/route", body).json
    rest = {one["model"]: one["quality"] for one in found["candidates"]}
    return {found["model"]: rest[found["model"]], **rest}


def say(gateway: Gateway, identifier: str, **said: Any) -> Reply:
    reply = gateway.ask("POST", "/v1/feedback", {"id": identifier, **said})
    assert reply.status == 200, reply.body
    return reply


def answers(gateway: Gateway, count: int, model: str = "auto", text: str = ASK, **headers: str) -> list[str]:
    found = []
    for number in range(count):
        reply = gateway.chat(f"{text} ({number})", model=model, headers=headers)
        assert reply.status == 200, reply.body
        found.append(reply.headers["x-pointsman-decision"])
    return found


def test_many_thumbs_down_move_auto_away_in_both_gateways_and_thumbs_up_back(pair: tuple[Gateway, Gateway]):
    one, other = pair
    before = chosen(one)
    first = next(iter(before))
    assert chosen(other) == pytest.approx(before)
    ids = answers(one, 40, model=first)
    for identifier in ids:
        say(one, identifier, thumb="down")
    for gateway in pair:
        until(lambda gateway=gateway: next(iter(chosen(gateway))) != first)
    until(lambda: chosen(one) == pytest.approx(chosen(other), abs=1e-6))
    for identifier in ids:  # the same answers: the last word holds
        say(other, identifier, outcome="success")
    for gateway in pair:
        until(lambda gateway=gateway: chosen(gateway)[first] > before[first])
        assert next(iter(chosen(gateway))) == first


def test_a_storm_is_one_word_and_what_was_learned_outlives_a_restart(
    tmp_path: Path, settings: dict[str, Any], cloud: ScriptedUpstream, lan: ScriptedUpstream
):
    with running(tmp_path, settings) as gateway:
        before = chosen(gateway)
        first = next(iter(before))
        ids = answers(gateway, 20, model=first)
        say(gateway, ids[0], thumb="down")
        until(lambda: chosen(gateway)[first] != before[first])
        once = chosen(gateway)
        for number in range(100):
            say(gateway, ids[0], score=(number % 2) / 2)
        say(gateway, ids[0], thumb="down")
        assert gateway.record(ids[0])["feedback"]["thumb"] == "down"
        until(lambda: chosen(gateway) == pytest.approx(once, abs=1e-4))
        for identifier in ids[1:]:
            say(gateway, identifier, tests={"passed": 0, "failed": 3})
        until(lambda: next(iter(chosen(gateway))) != first)
        time.sleep(1.5)  # until the last of them is in
        learned = chosen(gateway)
    with running(tmp_path, settings) as gateway:
        until(lambda: chosen(gateway) == pytest.approx(learned, abs=1e-3))


def test_one_keys_flood_does_not_take_a_model_from_the_others(
    tmp_path: Path, settings: dict[str, Any], cloud: ScriptedUpstream, lan: ScriptedUpstream
):
    keys = {"flood": "sk-flood-key", "fair": "sk-fair-key"}
    tree = {**settings, "server": {"api_keys": list(keys.values()), "admin_keys": [ADMIN]}}
    bearer = {name: {"authorization": f"Bearer {key}"} for name, key in keys.items()}
    with running(tmp_path, tree) as gateway:
        gateway.headers = {"authorization": f"Bearer {ADMIN}"}
        first = next(iter(chosen(gateway)))
        fair = answers(gateway, 40, model=first, **bearer["fair"])
        for identifier in fair:
            say(gateway, identifier, thumb="up")
        for identifier in answers(gateway, 120, model=first, **bearer["flood"]):
            reply = gateway.ask("POST", "/v1/feedback", {"id": identifier, "thumb": "down"}, headers=bearer["flood"])
            assert reply.status == 200
        foreign = gateway.ask("POST", "/v1/feedback", {"id": fair[0], "thumb": "down"}, headers=bearer["flood"])
        assert foreign.status == 404
        time.sleep(1.5)
        # Forty good and a hundred and twenty bad would be a quarter; of the flood no more than forty count.
        assert 0.4 < chosen(gateway)[first] < 0.65


class Watched:
    """A gateway, and the implicit signals that it has noted since the last look."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._seen: Counter[str] = Counter()

    def noted(self, wanted: int) -> Counter[str]:
        """By kind, once there are so many."""
        until(lambda: (self._read() - self._seen).total() >= wanted)
        now = self._read()
        before, self._seen = self._seen, now
        return now - before

    def _read(self) -> Counter[str]:
        with sqlite3.connect(self.gateway.folder / "data" / "pointsman.sqlite3") as connection:
            return Counter(kind for (kind,) in connection.execute("SELECT kind FROM implicit_signals"))


@pytest.fixture(scope="module")
def watched(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with running(tmp_path_factory.mktemp("watched"), settings) as gateway:
        yield Watched(gateway)


def test_what_callers_do_next_is_noted_and_counts_for_nothing_unchecked(
    watched: Watched, cloud: ScriptedUpstream, lan: ScriptedUpstream
):
    gateway = watched.gateway
    before = chosen(gateway)
    first = next(iter(before))

    def turn(messages: list[dict[str, Any]], status: int = 200) -> list[dict[str, Any]]:
        reply = gateway.ask("POST", "/v1/chat/completions", {"model": first, "messages": messages})
        assert reply.status == status, reply.body
        if status != 200:
            return messages
        gateway.decision(reply)
        return [*messages, {"role": "assistant", "content": reply.json["choices"][0]["message"]["content"]}]

    said = turn([{"role": "user", "content": ASK}])
    said = turn([*said, {"role": "user", "content": "That still doesn't work."}])
    said = turn([*said, {"role": "user", "content": "That works, thanks!"}])
    said = turn([*said, {"role": "user", "content": "That didn't take long. Now add a docstring."}])
    turn(said[:1])  # the same prompt again
    turn([{"role": "user", "content": "Another question, which nobody has asked before."}])
    assert watched.noted(3) == {"complaint": 1, "praise": 1, "retry": 1}
    server = cloud if first.startswith("openai:") else lan
    server.script(Status(500))
    turn([{"role": "user", "content": "an answer that fails"}], status=502)
    turn([{"role": "user", "content": "an answer that fails"}])  # no word against an answer that never came
    time.sleep(1)
    assert watched.noted(0) == {}
    assert chosen(gateway) == pytest.approx(before)


def test_test_results_of_an_agents_tools_are_noted(watched: Watched, lan: ScriptedUpstream):
    call = {"id": "call_1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "pytest"}'}}
    tools = [{"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Make the tests pass."}]
    for result in ("2 failed, 3 passed in 0.12s", "5 passed in 0.11s", None):
        lan.script(Answer(text="On it."))
        body = {"model": "lan:llama3.1:8b", "messages": messages, "tools": tools}
        reply = watched.gateway.ask("POST", "/v1/chat/completions", body)
        assert reply.status == 200, reply.body
        watched.gateway.decision(reply)
        if result is not None:
            messages += [
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": result},
            ]
    assert watched.noted(4) == {"tests_failed": 1, "tool_failed": 1, "tests_passed": 1, "tool_worked": 1}
