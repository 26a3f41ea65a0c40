from __future__ import annotations

import json
import os
import socket
import sqlite3
from pathlib import Path
from typing import Any

from pointsman.providers.llamacpp.sources import load_sources
from pointsman.surfaces.cli.checks import store
from pointsman.testing import Page, ScriptedUpstream, Status
from services import Valkey

from .commands import run_command
from .standin import page

NO_EMBEDDED = {"POINTSMAN_EMBEDDED_ENABLED": "false"}


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


async def examine(env: dict[str, str], *args: str) -> tuple[int, dict[str, Any]]:
    ran = await run_command(*args, "doctor", "--json", env=env)
    assert "Traceback" not in ran.err
    told = json.loads(ran.out)
    assert told["ok"] == (ran.code == 0)
    assert all(finding["mend"] for finding in told["findings"] if finding["status"] != "ok")
    return ran.code, {finding["part"]: finding for finding in told["findings"]}


async def test_nothing_is_broken(env) -> None:
    env = {**env, **NO_EMBEDDED, "PORT": free_port()}
    code, parts = await examine(env)
    assert code == 0, parts
    assert {"Python", "Packages", "Settings", "Data folder", "Cache folder", "Decision log", "Gateway"} <= set(parts)
    assert "uvloop" in parts["Packages"]["detail"]
    assert "is free" in parts["Gateway"]["detail"]
    ran = await run_command("doctor", env=env)
    assert ran.code == 0
    assert "Everything that was looked at works." in ran.out
    assert "\x1b" not in ran.out


async def test_settings_that_cannot_be_used(env) -> None:
    code, parts = await examine({**env, "PORT": "many"})
    assert code == 1
    assert parts["Settings"]["detail"] == "PORT = 'many': must be a whole number"
    assert "Gateway" not in parts


async def test_names_of_the_environment_that_do_nothing(env) -> None:
    code, parts = await examine({**env, **NO_EMBEDDED, "PORT": free_port(), "SENTRY_DSN": "x"})
    assert code == 0
    assert "SENTRY_DSN" in parts["Environment"]["detail"]


async def test_where_limits_and_budgets_are_counted(env, valkey_server: Valkey) -> None:
    env = {**env, **NO_EMBEDDED, "PORT": free_port()}
    _, parts = await examine(env)
    assert parts["Limits and budgets"]["detail"] == "counted in this process"
    _, parts = await examine({**env, "REDIS_URL": valkey_server.url})
    assert parts["Limits and budgets"]["status"] == "warning", "it keeps nothing over a restart"
    assert "Valkey 9" in parts["Limits and budgets"]["detail"]
    assert "appendonly" in parts["Limits and budgets"]["mend"]
    nowhere = f"redis://:hush-hush@127.0.0.1:{free_port()}/0"
    for url, said in ((nowhere, "cannot be reached"), ("http://:hush-hush@x", "redis://host:6379/0")):
        ran = await run_command("doctor", "--quick", "--json", env={**env, "REDIS_URL": url})
        assert ran.code == 1
        assert said in ran.out
        assert ran.err == ""
        assert "hush-hush" not in ran.out


async def test_a_misspelt_name_of_the_environment(env) -> None:
    code, parts = await examine({**env, **NO_EMBEDDED, "PORT": free_port(), "POINTSMAN_PRIVACY_LEVLE": "max"})
    assert code == 0
    assert parts["Environment"]["status"] == "warning"
    assert "POINTSMAN_PRIVACY_LEVLE" in parts["Environment"]["detail"]


async def test_a_port_that_another_program_has(env) -> None:
    async with ScriptedUpstream(default=Page(b"<html>")) as other:
        code, parts = await examine({**env, **NO_EMBEDDED, "PORT": str(other.port)})
    assert code == 1
    assert f"port {other.port} is taken" in parts["Gateway"]["detail"]
    assert "PORT" in parts["Gateway"]["mend"]


async def test_a_gateway_that_runs_and_cannot_write_its_log(gateway, with_gateway) -> None:
    log = {"ok": False, "pending": 4, "dropped": 0, "last_error": "disk full"}
    health = {"version": "9", "models": 3, "status": "degraded", "providers": {}, "decision_log": log}
    gateway.pages["/api/v1/health"] = page(health)
    code, parts = await examine({**with_gateway, **NO_EMBEDDED})
    assert code == 1
    assert "disk full" in parts["Gateway"]["detail"]
    gateway.pages["/api/v1/health"] = page({**health, "decision_log": {**log, "ok": True}})
    code, parts = await examine({**with_gateway, **NO_EMBEDDED})
    assert (code, "3 models" in parts["Gateway"]["detail"]) == (0, True)


async def test_a_gateway_that_leaves_a_model_alone(gateway, with_gateway) -> None:
    circuit = {"scope": "model", "name": "cloud:m", "state": "open", "why": "5 of 5 calls failed in 30 s"}
    gateway.pages["/api/v1/health"] = page(
        {"version": "9", "models": 3, "status": "degraded", "decision_log": {"ok": True, "dropped": 0},
         "circuits": [circuit]}
    )  # fmt: skip
    code, parts = await examine({**with_gateway, **NO_EMBEDDED})
    assert code == 0
    assert parts["Gateway"]["status"] == "warning"
    assert "cloud:m (5 of 5 calls failed in 30 s)" in parts["Gateway"]["detail"]


async def test_a_damaged_store_and_a_folder_that_is_none(env, tmp_path: Path) -> None:
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    (data / "pointsman.sqlite3").write_bytes(b"this is no database" * 100)
    cache.write_text("a file")
    code, parts = await examine({**env, **NO_EMBEDDED, "PORT": free_port()})
    assert code == 1
    assert parts["Decision log"]["status"] == "broken"
    assert "is not a folder" in parts["Cache folder"]["detail"]
    assert "POINTSMAN_CACHE_DIR" in parts["Cache folder"]["mend"]


async def test_a_store_that_may_not_be_written_is_not_thrown_away(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "pointsman.sqlite3"
    sqlite3.connect(path).close()
    monkeypatch.setattr(os, "access", lambda place, mode: place != path.parent)  # root may write anywhere
    [found] = store(path)
    assert found.status == "broken"
    assert "Permission denied" in found.detail
    assert "read and write" in found.mend
    assert "move" not in found.mend


async def test_a_store_that_is_whole_is_not_touched(env, tmp_path: Path) -> None:
    path = tmp_path / "data" / "pointsman.sqlite3"
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    before = path.read_bytes()
    _, parts = await examine({**env, **NO_EMBEDDED, "PORT": free_port()})
    assert parts["Decision log"]["status"] == "ok"
    assert path.read_bytes() == before


async def test_providers_are_asked(env, tmp_path: Path) -> None:
    async with ScriptedUpstream(models=("a", "b")) as good, ScriptedUpstream() as refusing:
        refusing.pages["/v1/models"] = Status(401)
        (tmp_path / "pointsman.yaml").write_text(
            f"providers:\n"
            f"  good: {{base_url: '{good.base_url}'}}\n"
            f"  refusing: {{base_url: '{refusing.base_url}', api_key: sk-wrong}}\n"
            f"  gone: {{base_url: 'http://127.0.0.1:9/v1'}}\n"
            f"  ollama: {{enabled: false}}\n"
            f"  anthropic: {{}}\n"
        )
        code, parts = await examine({**env, **NO_EMBEDDED, "PORT": free_port()})
    assert code == 1
    assert parts["Provider good"]["status"] == "ok"
    assert "2 models" in parts["Provider good"]["detail"]
    assert "refuses the API key" in parts["Provider refusing"]["detail"]
    assert parts["Provider gone"]["status"] == "broken"
    assert parts["Provider anthropic"]["detail"] == "has no API key"
    assert parts["Provider ollama"]["detail"] == "disabled"
    assert "sk-wrong" not in json.dumps(parts)


async def test_weights_that_are_missing_or_damaged(env, tmp_path: Path) -> None:
    source = load_sources()["smollm2:135m"]
    path = tmp_path / "cache" / "weights" / source.file
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(source.size)  # the right size, and nothing in it
    code, parts = await examine({**env, "PORT": free_port(), "POINTSMAN_EMBEDDED_MODELS": "smollm2:135m,none"})
    assert code == 1
    assert "SHA-256 is wrong" in parts["Weights smollm2:135m"]["detail"]
    assert "pointsman models pull smollm2:135m" in parts["Weights smollm2:135m"]["mend"]
    assert "smollm2:135m" in parts["Weights none"]["mend"]
    assert parts["Engine"]["status"] == "ok"
    path.unlink()
    code, parts = await examine({**env, "PORT": free_port(), "POINTSMAN_EMBEDDED_MODELS": "smollm2:135m"})
    assert code == 0
    assert parts["Weights smollm2:135m"]["status"] == "warning"


async def test_an_engine_whose_library_does_not_load(env, tmp_path: Path) -> None:
    (tmp_path / "xllamacpp.py").write_text(
        "raise ImportError('libgomp.so.1: cannot open shared object file: No such file or directory')\n"
    )
    env = {**env, "PORT": free_port(), "POINTSMAN_EMBEDDED_MODELS": "smollm2:135m", "PYTHONPATH": str(tmp_path)}
    code, parts = await examine(env)
    assert code == 1
    assert "libgomp.so.1" in parts["Engine"]["detail"]
    assert "libgomp1" in parts["Engine"]["mend"]


async def test_each_server_of_a_pool_is_told_of(env, tmp_path: Path) -> None:
    async with ScriptedUpstream(models=("m:1b",)) as up, ScriptedUpstream() as down:
        up.loaded = [{"name": "m:1b", "model": "m:1b"}]
        await down.refuse()
        instances = f"['{up.root}', '{down.root}']"
        (tmp_path / "pointsman.yaml").write_text(f"providers: {{farm: {{type: ollama, instances: {instances}}}}}\n")
        code, parts = await examine({**env, **NO_EMBEDDED, "PORT": free_port()})
        assert code == 0, parts
        assert parts["Provider farm"]["detail"] == "1 of 2 instances answer."
        assert parts[f"Provider farm, {up.root}"]["detail"] == "1 model, in memory m:1b"
        away = parts[f"Provider farm, {down.root}"]
        assert (away["status"], "could not be reached" in away["detail"]) == ("warning", True)
        assert "providers.farm.instances" in away["mend"]
        slots = parts["Provider farm, slots"]
        assert (slots["status"], "how many answers of its servers" in slots["detail"]) == ("warning", True)
        assert "OLLAMA_NUM_PARALLEL" in slots["mend"]
        one = f"[{{url: '{up.root}', slots: 4}}, '{down.root}']"
        (tmp_path / "pointsman.yaml").write_text(f"providers: {{farm: {{type: ollama, instances: {one}}}}}\n")
        _, parts = await examine({**env, **NO_EMBEDDED, "PORT": free_port()})
        assert "1 of its 2 servers" in parts["Provider farm, slots"]["detail"]
        both = f"type: ollama, slots: 2, instances: {one}"
        (tmp_path / "pointsman.yaml").write_text(f"providers: {{farm: {{{both}}}}}\n")
        await up.refuse()
        code, parts = await examine({**env, **NO_EMBEDDED, "PORT": free_port()})
        assert (code, parts["Provider farm"]["status"]) == (1, "broken")
        assert "Provider farm, slots" not in parts
