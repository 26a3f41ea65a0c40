from __future__ import annotations

import subprocess

import pytest

from .commands import COMMAND, run_command


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_the_script_of_each_shell(shell: str, env) -> None:
    ran = await run_command("completion", shell, env=env)
    assert (ran.code, ran.err) == (0, "")
    assert f"{shell}_complete" in ran.out


async def complete(typed: list[str], env) -> list[str]:
    """What Bash itself offers for the words, broken at colons as it breaks them."""
    script = (await run_command("completion", "bash", env=env)).out
    words = " ".join(f"'{word}'" for word in typed)
    python, *arguments = COMMAND
    launcher = f'#!/bin/sh\nexec {python} {" ".join(arguments)} "$@"\n'
    test = f"""
{script}
mkdir -p "$HOME/bin"; printf '%s' '{launcher}' > "$HOME/bin/pointsman"; chmod +x "$HOME/bin/pointsman"
PATH="$HOME/bin:$PATH"
COMP_WORDS=({words}); COMP_CWORD={len(typed) - 1}
_pointsman_completion pointsman
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    ran = subprocess.run(["bash", "-c", test], env=env, capture_output=True, text=True, check=True)
    return ran.stdout.split()


async def test_bash_completes_commands_options_and_models(env) -> None:
    assert await complete(["pointsman", "co"], env) == ["complete", "config", "completion"]
    assert "--welcome" in await complete(["pointsman", "serve", "--w"], env)
    assert "smollm2:135m" in await complete(["pointsman", "models", "pull", "smo"], env)
    assert "embedded:smollm2:135m" in await complete(["pointsman", "keys", "create", "ci", "--model", "emb"], env)
    assert "embedded:smollm2:135m" in await complete(["pointsman", "complete", "--model", "emb"], env)


async def test_bash_completes_names_that_hold_colons(env) -> None:
    offered = await complete(["pointsman", "complete", '"two words"', "--model", "embedded", ":", "smo"], env)
    assert offered == ["smollm2:135m"]
    offered = await complete(["pointsman", "models", "info", "embedded", ":", "smollm2", ":", "1"], env)
    assert offered == ["135m"]
