"""Whatever goes wrong, at the start or later: no secret stands in what the program writes."""

from __future__ import annotations

import resource
import subprocess
import sys

import psutil
import pytest

from pointsman.testing.answers import Status

from .running import running

PLANTED = "sk-planted-0123456789abcdef"


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


def ended(tmp_path, command: list[str], env: dict[str, str], config: str = "") -> str:
    """What a command that fails writes."""
    (tmp_path / "pointsman.yaml").write_text(f"data_dir: {tmp_path}/data\nembedded: {{enabled: false}}\n{config}")
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", "--config", str(tmp_path / "pointsman.yaml"), *command],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "POINTSMAN_SECRET_KEY": "planted-" * 5, **env},
    )  # fmt: skip
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("env", "config"),
    [
        ({"DATABASE_URL": "postgresql://joe:planted@127.0.0.1:1/x"}, ""),
        ({"DATABASE_URL": "postgresql://joe:pl@nted/planted?x#planted@127.0.0.1:1/x"}, ""),
        ({"DATABASE_URL": "postgresql://joe:pl@nted/planted@127.0.0.1:1/x"}, ""),
        ({"DATABASE_URL": "mysql://joe:planted@127.0.0.1/x"}, ""),
        ({"REDIS_URL": "gopher://:planted@127.0.0.1:1/0"}, ""),
        ({"POINTSMAN_SECRET_KEY": "planted"}, ""),
        ({"OPENAI_BASE_URL": "http://joe:planted@127.0.0.1:1/v1"}, ""),
        ({"OPENAI_API_KEY": f"{PLANTED}\u00e9"}, ""),
        ({"POINTSMAN_API_KEY": f"{PLANTED}\u00e9"}, ""),
        ({}, f"providers: {{openai: {{base_url: 'http://127.0.0.1:1', headers: {{x: \"{PLANTED}\\u00e9\"}}}}}}\n"),
        ({}, f"security: {{secret_keys: {PLANTED}}}\n"),
    ],
)
def test_a_start_that_fails(tmp_path, env, config):
    said = ended(tmp_path, ["serve", "--port", "0"], env, config)
    assert "error:" in said
    assert "planted" not in said


@pytest.mark.parametrize(
    "command", [["keys"], ["credentials", "list"], ["secret", "status"], ["secret", "rotate"], ["doctor"]]
)
def test_a_command_whose_database_is_away(tmp_path, command):
    said = ended(tmp_path, command, {"DATABASE_URL": "postgresql://joe:planted@127.0.0.1:1/x"})
    assert "planted" not in said


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_upstream_that_quotes_keys(tmp_path, settings, cloud, form):
    quoted = f'{{"error": {{"message": "Incorrect key {PLANTED}, Bearer {PLANTED}"}}}}'.encode()
    tree = {
        **settings,
        "providers": {
            "openai": {"base_url": cloud.base_url, "api_key": PLANTED},
            "ollama": {"base_url": cloud.base_url, "api_key": PLANTED},
        },
        "log": {"level": "debug", "format": form},
    }
    cloud.script(*[Status(401, quoted)] * 50)
    with running(tmp_path, tree) as gateway:
        gateway.chat("hi", model="openai:gpt-4o-mini")
        health = gateway.ask("GET", "/api/v1/health")
        assert b"planted" not in health.body
        assert "openai" in gateway.log_text
        assert "planted" not in gateway.log_text


def test_no_core_dumps(tmp_path):
    """Also where the shell allows them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0 or not hasattr(psutil.Process, "rlimit"):
        pytest.skip("core dumps cannot be allowed here")
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        with running(tmp_path, {}) as gateway:
            assert psutil.Process(gateway.process.pid).rlimit(psutil.RLIMIT_CORE)[0] == 0
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
