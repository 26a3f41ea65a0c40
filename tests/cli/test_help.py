from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest

from pointsman.surfaces.cli.main import COMMANDS

from .commands import run_command

HEAVY = (
    "aiohttp", "asyncio", "bpe_openai", "fastapi", "httptools", "markdown_it", "msgspec", "prompt_toolkit", "pydantic",
    "pygments", "re2", "rich", "sqlite3", "ssl", "starlette", "uvicorn", "uvloop", "xllamacpp", "yaml",
)  # fmt: skip


async def test_help_lists_every_command(env) -> None:
    ran = await run_command("--help", env=env)
    assert ran.code == 0
    for name, entry in COMMANDS.items():
        assert (f"  {name} " in ran.out) is not entry.hidden  # an older name goes on to work, unseen
        assert entry.hidden or entry.help.split()[0] in ran.out


@pytest.mark.parametrize("name", COMMANDS)
async def test_each_command_has_help(name: str, env) -> None:
    ran = await run_command(name, "--help", env=env)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: pointsman {name}")


@pytest.mark.parametrize(
    "code",
    [
        "import pointsman",
        "import sys; sys.argv = ['pointsman', '--help']\n"
        "from pointsman.surfaces.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass",
        "import sys; sys.argv = ['pointsman', 'serve', '--help']\n"
        "from pointsman.surfaces.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass",
    ],
    ids=["import", "help", "serve-help"],
)
def test_nothing_heavy_is_imported_for_it(code: str, env) -> None:
    report = "\nimport json, sys; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", code + report], env=env, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(ran.stderr)}
    assert "pointsman" in loaded
    assert loaded.isdisjoint(HEAVY), sorted(loaded & set(HEAVY))


async def test_version(env) -> None:
    from pointsman import __version__

    assert (await run_command("--version", env=env)).out == f"pointsman {__version__}\n"


async def test_wrong_usage_is_code_2_and_names_the_help(env) -> None:
    nothing, unknown, option, value = await asyncio.gather(
        run_command(env=env),
        run_command("srve", env=env),
        run_command("serve", "--prot", "1", env=env),
        run_command("serve", "--port", "many", env=env),
    )
    assert (nothing.code, "Commands:" in nothing.err) == (2, True)
    assert unknown.code == 2
    assert unknown.err == "error: There is no command 'srve'. Did you mean 'serve'? See `pointsman --help`.\n"
    assert option.code == value.code == 2
    assert "--port" in option.err
    assert "See `pointsman serve --help`." in value.err


async def test_settings_that_cannot_be_used_name_key_value_and_mend(env, tmp_path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("server:\n  prot: 1\n")
    for ran, words in (
        (await run_command("config", "show", env={**env, "PORT": "x"}), "PORT = 'x': must be a whole number"),
        (await run_command("--config", str(bad), "models", env=env), "did you mean port?"),
        (await run_command("--config", "nowhere.yaml", "doctor", "--json", env=env), "there is no such file"),
    ):
        assert ran.code == 1
        assert words in ran.err + ran.out
        assert "Traceback" not in ran.err
