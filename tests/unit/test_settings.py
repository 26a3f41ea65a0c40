"""Settings: precedence, environment names, and errors that name the mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman import settings
from pointsman.core.errors import SettingsError


def test_defaults_need_nothing():
    found = settings.load(environ={})
    assert (found.server.host, found.server.port) == ("127.0.0.1", 8000)
    assert found.embedded.models == ["smollm2:135m", "qwen2.5-coder:0.5b"]


def test_command_line_beats_environment_beats_file(tmp_path: Path):
    config = tmp_path / "pointsman.yaml"
    config.write_text("server: {port: 1111}\nlog: {level: debug}\nlimits: {request_timeout: 5}\n")
    found = settings.load({"server.port": 3333}, config=config, environ={"PORT": "2222", "REQUEST_TIMEOUT": "9"})
    assert (found.server.port, found.limits.request_timeout, found.log.level) == (3333, 9.0, "debug")


@pytest.mark.parametrize(("name", "path"), settings.ENVIRONMENT)
def test_every_environment_name_reaches_its_setting(name: str, path: str, tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("providers: []\n")
    kind = settings.kind_of(path)
    value = {bool: "true", int: "7000", float: "0.5", int | None: "7000"}.get(kind, "something")
    special = {
        "server.data_plane": "asgi", "log.level": "debug", "log.format": "json", "privacy.level": "max",
        "privacy.store_prompts": "all", "embedded.start": "lazy", "embedded.context": "512", "embedded.threads": "3",
        "routing.default_max_tokens": "77", "routing.default_temperature": "0.5", "server.host": "127.0.0.2",
        "budgets.monthly": "20.5", "providers_file": str(tmp_path / "mine.yaml"),
        "security.secret_key": "s" * 32, "security.previous_secret_key": "p" * 32,
    }  # fmt: skip
    value = special.get(path, "http://127.0.0.1:9" if path.endswith("base_url") else value)
    found = settings.load(environ={name: value})
    for part in path.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    if isinstance(found, settings.Secret):
        found = found.reveal()
    if isinstance(found, list):
        found = found[0].reveal() if isinstance(found[0], settings.Secret) else found[0]
    assert str(found).lower() == value.lower()


@pytest.mark.parametrize(
    ("environ", "key", "words"),
    [
        ({"PORT": "eighty"}, "PORT", "whole number"),
        ({"PORT": "70000"}, "server.port", "between 0 and 65535"),
        ({"LOG_LEVEL": "loud"}, "log.level", "loud"),
        ({"FORCE_OLLAMA": "perhaps"}, "FORCE_OLLAMA", "true or false"),
        ({"OLLAMA_HOST": "ftp://x"}, "providers.ollama.base_url", "http://"),
        ({"COMPLEXITY_THRESHOLD": "2"}, "routing.complexity_threshold", "between 0 and 1"),
        ({"REQUEST_TIMEOUT": "0"}, "limits.request_timeout", "above 0"),
    ],
)
def test_a_bad_value_names_key_and_mend(environ, key, words):
    with pytest.raises(SettingsError) as refused:
        settings.load(environ=environ)
    assert refused.value.key == key
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("server: {prot: 1}", "server.prot", "did you mean port"),
        ("sever: {}", "sever", "did you mean server"),
        ("limits: {tiers: {a: {per_day: 1}, b: {per_minut: 1}}}", "limits.tiers.b.per_minut", "mean per_minute"),
        ("limits: {tiers: {a: {per_day: 1}, b: {per_day: x}}}", "limits.tiers.b.per_day", "must be"),
        ("server: {port: [1]}", "server.port", "must be a whole number, and is a list"),
        ("server: {port: abc}", "server.port", "must be a whole number, and is text"),
        ("database: {timeout: soon}", "database.timeout", "must be a number, and is text"),
        ("providers: {openai: {api_key: 3}}", "providers[...].api_key", "…"),
        ("- a", "config", "key: value"),
        ("a: [", "config", "cannot be read: line 1, column 5"),
        ("server:\n  port: 1\nserver:\n  host: x", "config", "line 3, column 1: 'server' stands twice"),
        ("server: &s {port: 1}\nlimits: {<<: *s}", "limits.port", "no such setting"),
        ("state: {timeout: 0}", "state.timeout", "above 0"),
        ("state: {prefix: 'a{b}'}", "state.prefix", "braces"),
        ("privacy: {level: hihg}", "privacy.level", "must be one of standard, high, max"),
        ("providers: {lab: {type: olama}}", "providers.lab.type", "must be one of openai, ollama"),
        ("routing: {fallbacks: {a: b}}", "routing.fallbacks.a", "must be a list"),
        ('providers: {openai: {api_key: "sk-1\\nsk-2"}}', "providers.openai.api_key", "one line of printable ASCII"),
        ("routing: {complexity_weights: [1, 1, 1]}", "routing.complexity_weights", "add up to 1"),
    ],
)
def test_a_bad_file_names_key_and_mend(tmp_path: Path, text, key, words):
    config = tmp_path / "pointsman.yaml"
    config.write_text(text)
    with pytest.raises(SettingsError) as refused:
        settings.load(config=config, environ={})
    assert refused.value.key in (key, str(config))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_secrets_do_not_show():
    found = settings.load(environ={"OPENAI_API_KEY": "sk-planted", "POINTSMAN_API_KEY": "pk-planted"})
    assert "planted" not in repr(found)
    assert found.providers["openai"].api_key.reveal() == "sk-planted"


def test_a_bad_secret_is_not_quoted(tmp_path: Path):
    config = tmp_path / "pointsman.yaml"
    config.write_text("providers: {openai: {api_key: [sk-planted]}}")
    with pytest.raises(SettingsError) as refused:
        settings.load(config=config, environ={})
    assert "planted" not in str(refused.value)


def test_commands_may_read_the_settings_of_a_wide_port_without_a_key():
    """Whether there is a key in the store is seen at the start of the gateway, which refuses to open without one."""
    assert settings.load(environ={"POINTSMAN_HOST": "0.0.0.0"}).server.host == "0.0.0.0"


@pytest.mark.parametrize("name", ["api_keys", "admin_keys"])
@pytest.mark.parametrize("key", ["", " planted", "planted\u00e9"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_told(tmp_path: Path, name: str, key: str):
    config = tmp_path / "pointsman.yaml"
    config.write_text(f'server: {{{name}: ["{key}"]}}\n', encoding="utf-8")
    with pytest.raises(SettingsError, match=f"server.{name}") as refused:
        settings.load(config=config, environ={})
    assert "planted" not in str(refused.value)


def test_a_missing_file_is_said():
    with pytest.raises(SettingsError, match="no such file"):
        settings.load(config=Path("/nowhere.yaml"), environ={})


def test_children_get_no_credentials(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    monkeypatch.setenv("SOME_SECRET", "planted")
    child = settings.child_environment({"OMP_WAIT_POLICY": "passive"})
    assert child["OMP_WAIT_POLICY"] == "passive"
    assert "planted" not in "".join(child.values())


def test_names_that_are_not_used_are_listed():
    assert settings.unused_environment({"SENTRY_DSN": "x", "PORT": "1"}) == ["SENTRY_DSN"]


@pytest.mark.parametrize(
    "text",
    [
        "providers: {openai: {api_key: 'sk-planted-0123",
        "providers:\n  openai:\n    api_key: sk-planted-0123\n   base_url: x\n",
        "server: {api_keys: sk-planted-0123}",
        "server: {api_keys: ['', sk-planted-0123]}",
        "providers: {openai: {api_key: {a: sk-planted-0123}}}",
        "providers: {openai: {base_url: 'ftp://me:sk-planted-0123@host'}}",
        "providers: {openai: {base_url: 'http:///v1?key=sk-planted-0123'}}",
        "providers: {openai: {headers: [sk-planted-0123]}}",
        "providers: {openai: {headers: {x-auth: [sk-planted-0123]}}}",
    ],
)
def test_an_error_in_the_file_shows_no_key(tmp_path, text):
    path = tmp_path / "pointsman.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as wrong:
        settings.load(config=path, environ={})
    assert "planted" not in str(wrong.value)


def test_children_inherit_no_credentials(monkeypatch):
    planted = ("DATABASE_URL", "REDIS_URL", "SENTRY_DSN", "DB_PASS", "OPENAI_API_KEY", "GH_TOKEN", "HTTP_AUTHORIZATION")
    for name in planted:
        monkeypatch.setenv(name, "planted")
    kept = settings.child_environment({})
    assert "PATH" in kept
    assert "planted" not in kept.values()


def test_a_shells_own_host_is_not_ours():
    """Several shells and package managers set HOST to the machine's name or architecture."""
    assert settings.load(environ={"HOST": "x86_64-conda-linux-gnu"}).server.host == "127.0.0.1"
