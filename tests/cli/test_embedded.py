"""The command on real weights, which are fetched into the user's cache once per machine."""

from __future__ import annotations

import json
from pathlib import Path

import platformdirs
import pytest

from .commands import run_command
from .test_doctor import examine, free_port

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


@pytest.fixture
def env(env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The smallest model alone."""
    (tmp_path / "pointsman.yaml").write_text("embedded: {pulled: false}\nproviders: {ollama: {enabled: false}}\n")
    cache = str(platformdirs.user_cache_path("pointsman", appauthor=False))
    return {
        **env,
        "PORT": free_port(),
        "POINTSMAN_CACHE_DIR": cache,
        "POINTSMAN_EMBEDDED_MODELS": "smollm2:135m",
        "POINTSMAN_EMBEDDED_CONTEXT": "1024",
    }


async def test_pull_doctor_and_one_answer_without_any_configuration(env) -> None:
    pulled = await run_command("models", "pull", "smollm2:135m", env=env, seconds=200)
    assert pulled.code == 0, pulled.err
    assert pulled.out.strip().endswith("smollm2-135m.gguf")
    code, parts = await examine(env)
    assert code == 0, parts
    assert "SHA-256 is right" in parts["Weights smollm2:135m"]["detail"]
    assert "loads smollm2:135m" in parts["Engine"]["detail"]
    ran = await run_command("complete", "Say hello.", "--max-tokens", "16", "--json", env=env, seconds=120)
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["text"]
    assert told["model"] == "embedded:smollm2:135m"
