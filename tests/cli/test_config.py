from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from pointsman.settings import ProviderSettings, Section, Settings, load
from pointsman.surfaces.cli.example import example

from .commands import run_command

ROOT = Path(__file__).parents[2]


def settings_of(text: str) -> str:
    """The example with every setting in force: prose has two `#`, settings have one."""
    lines = [line.removeprefix("#") for line in text.splitlines() if not line.startswith("##")]
    return "\n".join(lines)


async def test_the_example_in_the_docs_is_the_one_that_is_printed(env) -> None:
    ran = await run_command("config", "example", env=env)
    assert ran.code == 0
    assert ran.out == (ROOT / "docs/reference/pointsman.example.yaml").read_text(encoding="utf-8")


def test_the_example_changes_nothing_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "pointsman.yaml"
    file.write_text(example(), encoding="utf-8")
    assert load(config=file, environ={}) == Settings()


def test_the_example_holds_every_setting_with_its_default(tmp_path: Path) -> None:
    tree = yaml.safe_load(settings_of(example()))
    every = tree["providers"].pop("name-of-yours")
    assert set(every) == set(ProviderSettings.__struct_fields__)
    tree.pop("providers")
    for name in Settings.__struct_fields__:
        assert name in tree or name == "providers", name
        value = getattr(Settings(), name)
        if isinstance(value, Section):
            assert set(tree[name]) == set(type(value).__struct_fields__)
    del tree["data_dir"], tree["cache_dir"]  # they differ from machine to machine
    file = tmp_path / "pointsman.yaml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    assert load(config=file, environ={}) == Settings()


def test_the_example_s_providers_can_be_loaded(tmp_path: Path) -> None:
    tree = yaml.safe_load(settings_of(example()))
    file = tmp_path / "pointsman.yaml"
    file.write_text(yaml.safe_dump({"providers": tree["providers"]}), encoding="utf-8")
    assert set(load(config=file, environ={}).providers) == {"openai", "ollama", "workstation", "name-of-yours"}


def test_every_docstring_of_a_setting_is_in_the_example() -> None:
    text = re.sub(r"\n##\s+", " ", example())
    assert "Seconds that a client may take to send a request's head, and between two reads of its body." in text
    assert "environment" in text.lower()


async def test_show_tells_values_and_sources_and_no_secret(env, tmp_path: Path) -> None:
    (tmp_path / "pointsman.yaml").write_text(
        "routing: {priority: cost}\nproviders: {lan: {base_url: 'http://lan/v1', api_key: file-planted,"
        " headers: {x-token: header-planted}}}\n"
    )
    secrets = {"OPENAI_API_KEY": "sk-env-planted", "POINTSMAN_API_KEY": "caller-planted"}
    ran = await run_command("config", "show", "--json", env={**env, **secrets})
    assert ran.code == 0
    told = {row["setting"]: (row["value"], row["source"]) for row in json.loads(ran.out)["settings"]}
    assert told["routing.priority"] == ("cost", "file")
    assert told["server.port"] == (1, "environment (PORT, POINTSMAN_PORT)")
    assert told["server.host"] == ("127.0.0.1", "default")
    assert told["providers.openai.api_key"] == ("…", "environment (OPENAI_API_KEY)")
    assert told["providers.lan.api_key"] == ("…", "file")
    assert told["providers.lan.headers"] == ({"x-token": "…"}, "file")
    table = await run_command("config", "show", env={**env, **secrets})
    assert table.code == 0
    assert "cost" in table.out
    assert "planted" not in ran.out + table.out
    assert "\x1b" not in table.out


async def test_path_names_the_file_or_says_how_to_make_one(env, tmp_path: Path) -> None:
    ran = await run_command("config", "path", env=env)
    assert (ran.code, ran.out) == (1, "")
    assert "pointsman config example > pointsman.yaml" in ran.err
    (tmp_path / "pointsman.yaml").write_text("env: test\n")
    assert (await run_command("config", "path", env=env)).out == f"{tmp_path / 'pointsman.yaml'}\n"


async def test_addresses_are_shown_without_what_opens_them(env, tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(
        "server: {api_keys: [planted-1]}\n"
        "providers:\n"
        "  openai: {api_key: planted-2, headers: {x-auth: planted-3}, base_url: 'http://h/v1?key=planted-4'}\n"
        "  lan: {base_url: 'http://me:planted-5@h/v1'}\n"
    )
    for extra in ((), ("--json",)):
        ran = await run_command("--config", str(path), "config", "show", *extra, env=env)
        assert "planted" not in ran.out + ran.err
        assert "http://h/v1" in ran.out


async def test_check_tells_programs_what_it_read(env, tmp_path: Path) -> None:
    (tmp_path / "pointsman.yaml").write_text("providers: {lan: {base_url: 'http://lan/v1', models: [a]}}\n")
    told = json.loads((await run_command("config", "check", "--json", env=env)).out)
    assert [Path(file).name for file in told["files"]] == ["pointsman.yaml"]
    assert "lan" in told["providers"]


async def test_check_tells_names_that_no_setting_has(env) -> None:
    misspelt = {**env, "POINTSMAN_ROUTING__PRIORITY": "planted-cost"}
    ran = await run_command("config", "check", env=misspelt)
    assert (ran.code, "POINTSMAN_ROUTING__PRIORITY" in ran.err, "planted" in ran.err) == (0, True, False)
    told = json.loads((await run_command("config", "check", "--json", env=misspelt)).out)
    assert told["unknown_environment"] == ["POINTSMAN_ROUTING__PRIORITY"]
    assert (await run_command("config", "check", env=env)).err == ""


async def test_check_refuses_addresses_of_stores_as_a_start_does(env) -> None:
    for more, words in (
        ({"REDIS_URL": "nowhere"}, "redis://host:6379/0"),
        ({"DATABASE_URL": "nowhere"}, "POINTSMAN_SECRET_KEY"),
        ({"DATABASE_URL": "nowhere", "POINTSMAN_SECRET_KEY": "s" * 40}, "must be postgresql://"),
    ):
        ran = await run_command("config", "check", env={**env, **more})
        assert ran.code == 1
        assert words in ran.err
        assert "nowhere" not in ran.err
