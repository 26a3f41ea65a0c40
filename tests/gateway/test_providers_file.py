"""`providers.yaml` under a running gateway: what is written holds a moment later, and a mistake changes nothing."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pointsman.testing.answers import Page, SeenRequest, Wire
from waiting import until

from .running import Gateway, Reply, running
from .test_credentials import pointsman

SECRET = "My token is ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2."
PLANTED = "sk-planted-0123456789abcdef"


@dataclass
class Live:
    """A running gateway and its file."""

    gateway: Gateway
    file: Path
    cloud: Any
    lan: Any

    def write(self, *providers: dict[str, Any]) -> None:
        """Replace the file, as editors do, and wait until it is in force."""
        self.replace(yaml.safe_dump({"providers": list(providers)}))
        self.in_force()

    def replace(self, text: str | bytes) -> None:
        beside = self.file.with_suffix(".new")
        beside.write_bytes(text if isinstance(text, bytes) else text.encode())
        beside.replace(self.file)

    def in_force(self) -> None:
        changed = os.stat(self.file).st_ctime
        until(lambda: self.standing["ok"] and self.standing["loaded_at"] >= changed)

    def refused(self, words: str) -> str:
        """Wait until the file is refused; says why."""
        until(lambda: words in (self.standing["error"] or ""))
        return str(self.standing["error"])

    @property
    def standing(self) -> dict[str, Any]:
        found: dict[str, Any] = self.gateway.ask("GET", "/api/v1/health").json["configuration"]
        return found

    @property
    def models(self) -> set[str]:
        return {model["id"] for model in self.gateway.ask("GET", "/v1/models").json["data"]} - {"auto"}

    def at(self, name: str, server: Any, *models: Any, **more: Any) -> dict[str, Any]:
        return {"name": name, "base_url": server.base_url, "models": list(models), **more}


@pytest.fixture
def live(tmp_path, cloud, lan) -> Iterator[Live]:
    file = tmp_path / "providers.yaml"
    first = {"name": "first", "base_url": cloud.base_url, "models": ["a"]}
    file.write_text(yaml.safe_dump({"providers": [first]}))
    tree = {"providers": {"ollama": {"enabled": False}}}
    with running(tmp_path, tree, env={"LAB_KEY": PLANTED}) as gateway:
        yield Live(gateway, file, cloud, lan)
    assert "planted" not in gateway.log_text


def test_providers_come_change_and_go(live):
    assert live.models == {"first:a"}
    lab = live.at("lab", live.lan, {"name": "coder", "deployment": "coder-prod"}, "b", api_key_env="LAB_KEY",
                  type="openai-compatible")  # fmt: skip
    live.write(live.at("first", live.cloud, "a"), lab)
    until(lambda: live.models == {"first:a", "lab:coder", "lab:b"})
    assert live.gateway.chat("hi", model="lab:coder").status == 200
    assert live.lan.chats[-1].headers["authorization"] == f"Bearer {PLANTED}"
    assert live.lan.chats[-1].json["model"] == "coder-prod"
    live.write(live.at("lab", live.cloud, "c"))
    until(lambda: live.models == {"lab:c"})
    assert live.gateway.chat("hi", model="lab:c").status == 200
    assert "authorization" not in live.cloud.chats[-1].headers
    assert live.gateway.chat("hi", model="first:a").status == 404
    live.replace("providers: []\n")
    until(lambda: not live.models)


class Held:
    """A streamed answer whose second half waits for `go`."""

    def __init__(self) -> None:
        self.go = threading.Event()

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        chunk = {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "a", "choices": [
            {"index": 0, "delta": {"content": "word"}, "finish_reason": None}]}  # fmt: skip
        await wire.head(200, {"content-type": "text/event-stream"}, length=None)
        await wire.body(f"data: {json.dumps(chunk)}\n\n".encode())
        while not self.go.is_set():
            await asyncio.sleep(0.02)
        chunk["choices"][0]["finish_reason"] = "stop"
        await wire.body(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode())
        await wire.end()


def test_what_has_not_changed_is_left_alone_and_running_answers_go_on(live):
    live.write(live.at("first", live.cloud, "a"), {"name": "asked", "base_url": live.lan.base_url})
    until(lambda: any(model.startswith("asked:") for model in live.models))
    held = Held()
    live.cloud.script(held)
    replies: list[Reply] = []
    asking = threading.Thread(
        target=lambda: replies.append(live.gateway.chat("hi", model="first:a", stream=True)), daemon=True
    )
    asking.start()
    until(lambda: bool(live.cloud.chats))
    live.write({"name": "asked", "base_url": live.lan.base_url}, live.at("more", live.lan, "x"))
    until(lambda: "more:x" in live.models)
    assert "first:a" not in live.models
    assert asking.is_alive()
    held.go.set()
    asking.join(20)
    assert replies[0].status == 200
    assert replies[0].body.count(b"word") == 2
    assert replies[0].body.endswith(b"data: [DONE]\n\n")
    told = [line.rpartition(": ")[2] for line in live.gateway.log_text.splitlines() if "the provider" in line]
    assert sorted(told) == [
        "the provider asked was added",
        "the provider first was taken away",
        "the provider more was added",
    ]


BROKEN = (
    (b"providers: [", "line 1, column 13"),
    (b"", "write `providers: []`"),
    (b"providers:\n  - name: first\n    base_url: ftp://x\n", "providers.yaml, line 3"),
    (
        b"providers:\n  - {name: first, base_url: 'http://x/v1', api_key_env: NO_SUCH_KEY, headers: {x: sk-planted}}\n",
        "'NO_SUCH_KEY'",
    ),
    (b"providers: [{name: first, base_url: 'https://api.openai.com/v1', local: true}]\n", "a service on the internet"),
    (b"#" * 10_000_000, "larger than 1024 KiB"),
)


def test_a_broken_file_changes_nothing_is_told_once_and_recovers(live):
    for broken, words in BROKEN:
        live.replace(broken)
        assert "planted" not in live.refused(words)
        assert live.models == {"first:a"}
    assert live.gateway.ask("GET", "/api/v1/health").json["status"] == "degraded"
    assert live.gateway.chat("hi", model="first:a").status == 200
    live.replace(BROKEN[0][0])
    live.refused(BROKEN[0][1])
    told = live.gateway.log_text.count("The new settings of providers are not used")
    assert told == len(BROKEN) + 1
    os.utime(live.file)  # the same mistake again
    live.write(live.at("second", live.cloud, "b"))
    until(lambda: live.models == {"second:b"})
    assert live.gateway.log_text.count("The new settings of providers are not used") == told


def test_a_file_that_is_still_being_written_is_not_read(live):
    """Every prefix that ends a line here would be a valid file."""
    lines = ["providers:\n"] + [
        f"  - {{name: p{n}, base_url: '{live.cloud.base_url}', models: [m]}}\n" for n in range(6)
    ]
    seen: list[set[str]] = []
    with live.file.open("w") as file:
        for line in lines:
            file.write(line)
            file.flush()
            threading.Event().wait(0.2)
            seen.append(live.models)
    assert all(models == {"first:a"} for models in seen)
    until(lambda: live.models == {f"p{n}:m" for n in range(6)})


def test_a_deleted_file_is_missed_and_nothing_is_lost(live):
    kept = live.file.read_bytes()
    live.file.unlink()
    assert "is gone" in live.refused("is gone")
    assert live.models == {"first:a"}
    live.file.mkdir()
    live.refused("cannot be read")
    live.file.rmdir()
    live.file.write_bytes(kept)
    live.in_force()
    assert live.models == {"first:a"}


def test_a_config_map_of_kubernetes(tmp_path, cloud):
    """There the file is a link into a folder whose name is a link, and that one is swapped."""

    def put(version: str, model: str) -> None:
        folder = tmp_path / "mount" / version
        folder.mkdir(parents=True)
        provider = {"name": "lab", "base_url": cloud.base_url, "models": [model]}
        (folder / "providers.yaml").write_text(yaml.safe_dump({"providers": [provider]}))
        swap = tmp_path / "mount" / "..data_tmp"
        swap.symlink_to(version)
        swap.rename(tmp_path / "mount" / "..data")

    put("..2026_1", "one")
    file = tmp_path / "mount" / "providers.yaml"
    file.symlink_to("..data/providers.yaml")
    with running(
        tmp_path, {"providers": {"ollama": {"enabled": False}}}, env={"POINTSMAN_PROVIDERS": str(file)}
    ) as gateway:
        live = Live(gateway, file, cloud, cloud)
        assert live.models == {"lab:one"}
        put("..2026_2", "two")
        until(lambda: live.models == {"lab:two"})


def test_one_that_appears_later_and_the_settings_file_itself(tmp_path, cloud, lan):
    tree: dict[str, Any] = {"providers": {"ollama": {"enabled": False}}}
    with running(tmp_path, tree) as gateway:
        live = Live(gateway, tmp_path / "providers.yaml", cloud, lan)
        assert (live.standing["found"], live.standing["ok"]) == (False, True)
        live.write(live.at("late", cloud, "a"))
        until(lambda: live.models == {"late:a"})
        config = tmp_path / "pointsman.yaml"
        changed = yaml.safe_load(config.read_text())
        changed["providers"]["here"] = {"base_url": lan.base_url, "models": ["b"]}
        changed["log"] = {"level": "debug"}
        config.write_text(yaml.safe_dump(changed))
        until(lambda: live.models == {"late:a", "here:b"})
        assert "log changed in the settings; that holds from the next start" in gateway.log_text


def test_a_provider_that_is_not_local_any_more_gets_nothing_private_at_once(live):
    live.write(live.at("first", live.lan, "a", local=True))
    until(lambda: live.gateway.chat(SECRET, model="first:a").status == 200)
    live.lan.reset()
    live.write(live.at("first", live.lan, "a"))
    assert live.gateway.chat(SECRET, model="first:a").status in (403, 404)
    until(lambda: live.models == {"first:a"})
    assert live.gateway.chat(SECRET, model="first:a").status == 403
    assert not live.lan.chats
    live.write(live.at("first", live.lan, "a", local=True))
    until(lambda: live.gateway.chat(SECRET, model="first:a").status == 200)


class Asking:
    """Asks a model again and again, until the block ends."""

    def __init__(self, gateway: Gateway, model: str) -> None:
        self._gateway = gateway
        self._model = model
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.answers: list[tuple[int, bytes]] = []

    def __enter__(self) -> list[tuple[int, bytes]]:
        self._thread.start()
        return self.answers

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(20)

    def _ask(self) -> None:
        while not self._over.is_set():
            reply = self._gateway.chat("hi", model=self._model)
            self.answers.append((reply.status, b"" if reply.status == 200 else reply.body))
            time.sleep(0.01)


class Told:
    """A list of models that is told when `go` says so."""

    def __init__(self) -> None:
        self.go = threading.Event()

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        while not self.go.is_set():
            await asyncio.sleep(0.01)
        models = b'{"data": [{"id": "scripted-model"}, {"id": "gpt-4o-mini"}]}'
        await Page(models, "application/json").play(request, wire)


def test_nobody_misses_a_model_while_its_provider_moves(live):
    with Asking(live.gateway, "first:a") as answers:
        live.write(live.at("first", live.lan, "a"))
        until(lambda: live.lan.chats)
        live.write(live.at("first", live.lan, "a", local=True))
        live.write(live.at("first", live.cloud, "a"))
        until(lambda: live.gateway.ask("GET", "/v1/models").status == 200 and len(answers) > 10)
    assert {status for status, _ in answers} == {200}, answers
    held = Told()
    live.write({"name": "first", "base_url": live.cloud.base_url})
    until(lambda: live.models == {"first:scripted-model"})
    live.lan.reset()
    live.lan.pages["/v1/models"] = held
    try:
        with Asking(live.gateway, "first:scripted-model") as answers:
            live.write({"name": "first", "base_url": live.lan.base_url})
            seen = len(answers)
            until(lambda: len(answers) > seen + 5)
            assert not live.lan.chats
            held.go.set()
            until(lambda: live.lan.chats)
        assert {status for status, _ in answers} == {200}, answers
    finally:
        held.go.set()


def test_one_that_is_renamed_goes_when_its_new_name_is_there(live):
    live.write(live.at("first", live.cloud, "gpt-4o"))
    until(lambda: live.models == {"first:gpt-4o"})
    held = Told()
    live.lan.pages["/v1/models"] = held
    try:
        with Asking(live.gateway, "auto") as answers:
            live.replace(yaml.safe_dump({"providers": [{"name": "second", "base_url": live.lan.base_url}]}))
            until(lambda: "the provider second was added" in live.gateway.log_text)
            seen = len(answers)
            until(lambda: len(answers) > seen + 3)
            assert live.models == {"first:gpt-4o"}
            held.go.set()
            until(lambda: live.models == {"second:scripted-model", "second:gpt-4o-mini"})
            until(lambda: live.lan.chats)
        assert {status for status, _ in answers} == {200}, answers
    finally:
        held.go.set()


def test_one_that_moves_and_is_not_there_is_away(live):
    with Asking(live.gateway, "first:a") as answers:
        live.write({"name": "first", "base_url": "http://127.0.0.1:9/v1"})
        until(lambda: answers[-1][0] != 200)
    assert b"first is away" in answers[-1][1]
    live.write({"name": "first", "base_url": live.lan.base_url})
    until(lambda: live.gateway.chat("hi", model="first:scripted-model").status == 200)


def test_private_requests_are_answered_while_a_local_provider_moves(live):
    live.write(live.at("first", live.cloud, "a", local=True))
    until(lambda: live.gateway.chat(SECRET, model="first:a").status == 200)
    statuses = [live.gateway.chat(SECRET, model="first:a").status]
    live.replace(yaml.safe_dump({"providers": [live.at("first", live.lan, "a", local=True)]}))
    until(lambda: statuses.append(live.gateway.chat(SECRET, model="first:a").status) or live.lan.chats, every=0.0)
    assert set(statuses) == {200}


def test_limits_of_providers_follow(live):
    assert all(live.gateway.chat("hi", model="first:a").status == 200 for _ in range(3))
    live.write(live.at("first", live.cloud, "a", requests_per_minute=1))
    assert {live.gateway.chat("hi", model="first:a").status for _ in range(3)} == {200, 429}
    live.write(live.at("first", live.cloud, "a"))
    assert all(live.gateway.chat("hi", model="first:a").status == 200 for _ in range(3))


def test_a_stored_credential_holds_beyond_a_change(live):
    live.write(live.at("openai", live.cloud, "gpt-4o-mini"))
    pointsman(live.gateway, "credentials", "set", "openai", stdin=PLANTED)

    def key() -> str | None:
        live.cloud.reset()
        assert live.gateway.chat("hi", model="openai:gpt-4o-mini").status == 200
        found: str | None = live.cloud.chats[-1].headers.get("authorization")
        return found

    until(lambda: key() == f"Bearer {PLANTED}")
    live.write(live.at("openai", live.cloud, "gpt-4o-mini", "gpt-4o"))
    until(lambda: "openai:gpt-4o" in live.models)
    assert key() == f"Bearer {PLANTED}"


def test_the_command_line_knows_the_file(live):
    assert "2 providers" in pointsman(live.gateway, "config", "check")
    shown = json.loads(pointsman(live.gateway, "config", "show", "--json"))
    assert shown["providers_file"] == str(live.file)
    sources = {row["setting"]: row["source"] for row in shown["settings"]}
    assert sources["providers.first.base_url"] == "providers.yaml"
    assert sources["providers.ollama.enabled"] == "file"
    live.file.write_text("providers:\n  - name: lab\n    type: nonsense\n")
    said = pointsman(live.gateway, "config", "check", code=1)
    assert "line 3" in said
    assert "openai-compatible" in said
