"""Reads the settings: the only reader of the environment.

Precedence, strongest first: command line, environment, `providers.yaml` for the providers that it names,
`pointsman.yaml`, defaults. (A request's own preferences come before all of them, in the stages that read them.)
"""

from __future__ import annotations

import os
import re
import time
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from pointsman.core.errors import SettingsError

from . import providers_file
from .checks import check
from .schema import Secret, Settings, user_dir

CONFIG_NAME = "pointsman.yaml"

ENVIRONMENT: tuple[tuple[str, str], ...] = (
    ("APP_ENV", "env"),
    ("POINTSMAN_DATA_DIR", "data_dir"),
    ("POINTSMAN_CACHE_DIR", "cache_dir"),
    ("POINTSMAN_PROVIDERS", "providers_file"),
    ("PORT", "server.port"),
    ("POINTSMAN_HOST", "server.host"),
    ("POINTSMAN_PORT", "server.port"),
    ("POINTSMAN_API_KEY", "server.api_keys"),
    ("POINTSMAN_DATA_PLANE", "server.data_plane"),
    ("DATABASE_URL", "database.url"),
    ("REDIS_URL", "state.url"),
    ("REDIS_PASSWORD", "state.password"),
    ("POINTSMAN_SECRET_KEY", "security.secret_key"),
    ("POINTSMAN_PREVIOUS_SECRET_KEY", "security.previous_secret_key"),
    ("MONTHLY_BUDGET", "budgets.monthly"),
    ("POINTSMAN_REDACTION", "privacy.redaction"),
    ("POINTSMAN_NAMED_ENTITIES", "privacy.named_entities"),
    ("LOG_LEVEL", "log.level"),
    ("LOG_FORMAT", "log.format"),
    ("REQUEST_TIMEOUT", "limits.request_timeout"),
    ("COMPLEXITY_THRESHOLD", "routing.complexity_threshold"),
    ("DEFAULT_PROVIDER", "routing.default_provider"),
    ("TEMPERATURE", "routing.default_temperature"),
    ("MAX_TOKENS", "routing.default_max_tokens"),
    ("PRIVACY_SENSITIVE_TOKENS", "privacy.sensitive_tokens"),
    ("POINTSMAN_PRIVACY_LEVEL", "privacy.level"),
    ("POINTSMAN_STORE_PROMPTS", "privacy.store_prompts"),
    ("POINTSMAN_EMBEDDED_MODELS", "embedded.models"),
    ("POINTSMAN_EMBEDDED_ENABLED", "embedded.enabled"),
    ("POINTSMAN_EMBEDDED_START", "embedded.start"),
    ("POINTSMAN_EMBEDDED_CONTEXT", "embedded.context"),
    ("POINTSMAN_EMBEDDED_THREADS", "embedded.threads"),
    ("POINTSMAN_HUB", "embedded.hub"),
    ("OPENAI_API_KEY", "providers.openai.api_key"),
    ("OPENAI_ORG_ID", "providers.openai.organization"),
    ("OPENAI_BASE_URL", "providers.openai.base_url"),
    ("OPENAI_MODEL", "providers.openai.default_model"),
    ("ANTHROPIC_API_KEY", "providers.anthropic.api_key"),
    ("GEMINI_API_KEY", "providers.gemini.api_key"),
    ("OLLAMA_HOST", "providers.ollama.base_url"),
    ("OLLAMA_MODEL", "providers.ollama.default_model"),
    ("POINTSMAN_LITELLM", "litellm.enabled"),
    ("POINTSMAN_LITELLM_CONFIG", "litellm.config"),
    ("LITELLM_URL", "providers.litellm.base_url"),
    ("LITELLM_MASTER_KEY", "providers.litellm.api_key"),
)
"""Environment name → dotted setting; later rows win."""

NOT_USED_YET: tuple[str, ...] = (
    "FORCE_DEV_MODE", "ENABLE_CACHING", "CACHE_TTL", "ENABLE_PARALLEL_PROCESSING", "MAX_PARALLEL_REQUESTS",
    "ENABLE_BATCHING", "MAX_BATCH_SIZE", "TOKEN_BUDGET", "ENABLE_TOKEN_OPTIMIZATION", "DEV_MODE_TOKEN_LIMIT",
    "ENABLE_METRICS", "METRICS_PORT", "ENABLE_TRACING", "SENTRY_DSN",
)  # fmt: skip
"""Names that such systems have and this version does not act on. `doctor` says so where one is set."""


def load(
    overrides: Mapping[str, Any] | None = None,
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings.

    Args:
        overrides: dotted setting → value, from the command line.
        config: the YAML file; by default `./pointsman.yaml`, then the one in the user's configuration folder.
        environ: the environment; by default the process's.

    Raises:
        SettingsError: naming the key, the value and the mend.
    """
    environ = os.environ if environ is None else environ  # noqa: TID251 - the one place
    file = _config_path(config, environ)
    tree = _read_file(file)
    own = _providers_file(tree, file, overrides or {}, environ)
    beside = providers_file.read(own) if own is not None else None
    if beside is not None and isinstance(tree.setdefault("providers", {}), dict):
        tree["providers"].update(beside.entries)
    try:
        _refuse_two_keys(tree)
        for name, path in ENVIRONMENT:
            value = environ.get(name, "").strip()
            if value:
                _put(tree, path, value, source=name)
        for name, provider in (("FORCE_OLLAMA", "ollama"), ("FORCE_OPENAI", "openai")):
            if _truth(name, environ.get(name, "")):
                _put(tree, "routing.force_provider", provider, source=name)
        for path, override in (overrides or {}).items():
            if override is not None:
                _put(tree, path, override, source=path)
        settings = convert(tree)
        _read_named_keys(settings, environ)
        check(settings)
    except SettingsError as error:
        raise (beside.located(error) if beside is not None else error) from None
    return settings


class Source:
    """Where settings came from, so that they can be read again as they were read first."""

    def __init__(self, overrides: Mapping[str, Any] | None = None, *, config: Path | None = None) -> None:
        self._overrides = dict(overrides or {})
        self._config = config
        self.read_at_ns = 0
        """When the files were last read, in nanoseconds since the epoch: one that is younger has been changed since."""

    def load(self) -> Settings:
        """See `load`."""
        self.read_at_ns = time.time_ns()
        return load(self._overrides, config=self._config)

    def config_file(self) -> Path | None:
        """The settings file; None when there is none, or not any more."""
        try:
            return config_path(self._config)
        except SettingsError:
            return self._config

    def providers_file(self, settings: Settings) -> Path:
        """Where `providers.yaml` is, or would be looked for."""
        return settings.providers_file or _beside(self.config_file())


def providers_path(settings: Settings, config: Path | None = None) -> Path | None:
    """The file with providers that `load` would read, or None."""
    path = Source(config=config).providers_file(settings)
    return path if path.exists() else None


def _beside(config: Path | None) -> Path:
    return (config.parent if config is not None else user_dir("config")) / providers_file.NAME


def _providers_file(
    tree: Mapping[str, Any], config: Path | None, overrides: Mapping[str, Any], environ: Mapping[str, str]
) -> Path | None:
    """
    Raises:
        SettingsError: one is named that is not there.
    """
    named = overrides.get("providers_file") or environ.get("POINTSMAN_PROVIDERS", "").strip()
    named = named or tree.get("providers_file")
    if not isinstance(named, str | Path):
        path = _beside(config)
        return path if path.exists() else None
    path = Path(named).expanduser()
    if not path.exists():
        raise SettingsError("providers_file", str(path), "there is no such file; make it, or name another")
    return path


def _refuse_two_keys(tree: Mapping[str, Any]) -> None:
    providers = tree.get("providers")
    for name, own in providers.items() if isinstance(providers, dict) else ():
        if isinstance(own, dict) and own.get("api_key") is not None and own.get("api_key_env") is not None:
            raise SettingsError(f"providers.{name}.api_key", "…", "stands beside api_key_env: give one of them")


def _read_named_keys(settings: Settings, environ: Mapping[str, str]) -> None:
    """Take the keys that stand in variables which the settings name.

    Raises:
        SettingsError: there is no such variable.
    """
    for name, own in settings.providers.items():
        if own.api_key_env is None or not own.enabled:
            continue
        value = environ.get(own.api_key_env, "").strip()
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", own.api_key_env):
            # A key that was put here by mistake must not be shown.
            raise SettingsError(f"providers.{name}.api_key_env", "…", "is no name of an environment variable")
        if not value:
            raise SettingsError(
                f"providers.{name}.api_key_env", own.api_key_env,
                "there is no such environment variable, or it is empty; set it and start anew",
            )  # fmt: skip
        own.api_key = Secret(value)


def environment_value(name: str) -> str | None:
    """A variable that a person named at the command line, without spaces around; None where it is not set."""
    value = os.environ.get(name)  # noqa: TID251 - the one place
    return value.strip() if value is not None else None


def unused_environment(environ: Mapping[str, str] | None = None) -> list[str]:
    """Names from `NOT_USED_YET` that are set."""
    environ = os.environ if environ is None else environ  # noqa: TID251 - the one place
    return [name for name in NOT_USED_YET if environ.get(name)]


def unknown_environment(environ: Mapping[str, str] | None = None) -> list[str]:
    """Names that begin as ours do and are none of ours: misspelt, most likely."""
    environ = os.environ if environ is None else environ  # noqa: TID251 - the one place
    known = {name for name, _ in ENVIRONMENT} | {"POINTSMAN_CONFIG"}
    return sorted(name for name in environ if name.startswith("POINTSMAN_") and name not in known)


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child process: ours without anything that looks like a credential, and `extra`."""
    secretive = re.compile(
        r"KEY|TOKEN|SECRET|PASS|PWD$|CREDENTIAL|AUTH|COOKIE|DSN|^(?:DATABASE|REDIS|LITELLM)_URL$", re.IGNORECASE
    )
    kept = {name: value for name, value in os.environ.items() if not secretive.search(name)}  # noqa: TID251
    return {**kept, **extra}


def config_path(config: Path | None = None) -> Path | None:
    """The configuration file that `load` would read, or None."""
    return _config_path(config, os.environ)  # noqa: TID251 - the one place


def _config_path(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    if config is None and environ.get("POINTSMAN_CONFIG"):
        config = Path(environ["POINTSMAN_CONFIG"])
    if config is not None:
        if not config.is_file():
            raise SettingsError("config", str(config), "there is no such file; `pointsman config example` prints one")
        return config
    for path in (Path(CONFIG_NAME), user_dir("config") / CONFIG_NAME):
        if path.is_file():
            return path
    return None


def _read_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    import yaml

    from .strict_yaml import StrictLoader

    try:
        # S506: the loader is a SafeLoader
        tree = yaml.load(path.read_text(encoding="utf-8"), StrictLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise SettingsError("config", str(path), f"cannot be read: {where}{error.problem or error.context}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError("config", str(path), f"cannot be read: {reason}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise SettingsError(
            "config", str(path), "the file must hold `key: value` lines; see `pointsman config example`"
        )
    return tree


def _put(tree: dict[str, Any], path: str, value: Any, *, source: str) -> None:
    *parents, last = path.split(".")
    kind = kind_of(path)
    if isinstance(value, str):
        value = _from_text(source, value, kind)
    for name in parents:
        branch = tree.get(name)
        if not isinstance(branch, dict):
            branch = tree[name] = {}
        tree = branch
    tree[last] = value


def kind_of(path: str) -> Any:
    """The type of the setting at a dotted path."""
    kind: Any = Settings
    for name in path.split("."):
        kind = typing.get_args(kind)[1] if typing.get_origin(kind) is dict else typing.get_type_hints(kind)[name]
    return kind


def _from_text(source: str, value: str, kind: Any) -> Any:
    """A value from the environment, in the form that the YAML file would give."""
    options = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    if typing.get_origin(options[0]) is list:
        return [part.strip() for part in value.split(",") if part.strip()]
    if bool in options:
        return _truth(source, value)
    for number in (int, float):
        if number in options:
            try:
                return number(value)
            except ValueError:
                what = "a whole number" if number is int else "a number"
                raise SettingsError(source, value, f"must be {what}") from None
    if typing.get_origin(options[0]) is Literal:
        return value.lower()
    return value


def _truth(source: str, value: str) -> bool:
    word = value.strip().lower()
    if word in ("", "0", "false", "no", "off"):
        return False
    if word in ("1", "true", "yes", "on"):
        return True
    raise SettingsError(source, value, "must be true or false")


def _dec_hook(kind: type, value: Any) -> Any:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    raise ValueError(f"Expected `{kind.__name__.lower()}`, got `{type(value).__name__}`")


def convert(tree: dict[str, Any]) -> Settings:
    """The settings that a tree of plain values says, unchecked beyond their types. Raises SettingsError."""
    try:
        return msgspec.convert(tree, Settings, dec_hook=_dec_hook)
    except msgspec.ValidationError as error:
        text = str(error)
        found = re.search(r" - at `\$\.?(.*)`$", text)
        key = found.group(1) if found else ""
        reason = text[: found.start()] if found else text
        unknown = re.search(r"unknown field `([^`]+)`", reason)
        if unknown:
            key = f"{key}.{unknown.group(1)}" if key else unknown.group(1)
            named = next(_spelled_out(tree, key), key)
            raise SettingsError(named, _shown(tree, named, of=key), _unknown_key(named)) from None
        named = next((path for path in _spelled_out(tree, key) if not _converts(path, _at(tree, path))), key)
        choices = choices_of(key)
        if reason.startswith("Invalid enum value") and choices:
            raise SettingsError(named, _at(tree, named), f"must be one of {', '.join(choices)}") from None
        raise SettingsError(named, _shown(tree, named, of=key), _in_words(reason)) from None


def _spelled_out(tree: Any, key: str) -> Iterator[str]:
    """Paths that are in the tree and of the form of `key`, where any entry of a mapping is written `[...]`."""
    before, anywhere, after = key.partition("[...]")
    if not anywhere:
        yield key
        return
    entries = _at(tree, before)
    if isinstance(entries, dict):
        for name in entries:
            for path in _spelled_out(tree, f"{before}.{name}{after}"):
                if _at(tree, path) is not None:
                    yield path


def _shown(tree: Any, path: str, *, of: str) -> Any:
    """What an error may show of a value. An entry that the user named may be anything: of those, numbers alone."""
    value = _at(tree, path)
    return value if "[...]" not in of or isinstance(value, int | float) else "…"


def _converts(path: str, value: Any) -> bool:
    try:
        msgspec.convert(value, kind_of(path), dec_hook=_dec_hook)
    except (msgspec.ValidationError, KeyError, TypeError, IndexError):
        return False
    return True


def _in_words(reason: str) -> str:
    for theirs, ours in (("Expected", "must be"), ("`array`", "a list"), ("`object`", "a mapping"), ("`", "")):
        reason = reason.replace(theirs, ours)
    return reason


def choices_of(key: str) -> list[str]:
    """The words that a setting may be, when it may only be certain words."""
    try:
        kind = kind_of(key.replace("[...]", ".any"))
    except (KeyError, TypeError, IndexError):
        return []
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    return [str(word) for kind in kinds if typing.get_origin(kind) is Literal for word in typing.get_args(kind)]


def _unknown_key(key: str) -> str:
    import difflib

    *parents, last = key.replace("[...]", ".any").split(".")
    try:
        known = list(typing.get_type_hints(kind_of(".".join(parents)) if parents else Settings))
    except (KeyError, TypeError):
        known = []
    close = difflib.get_close_matches(last, known, n=1)
    return f"there is no such setting; did you mean {close[0]}?" if close else "there is no such setting"


def _at(tree: Any, key: str) -> Any:
    """The value at a dotted path, masked where it looks like a secret."""
    if re.search("key|secret|token|password", key.rsplit(".", 1)[-1], re.IGNORECASE):
        return "…"
    for name in filter(None, re.split(r"[.\[\]]+", key)):
        if isinstance(tree, dict):
            tree = tree.get(name)
        elif isinstance(tree, list) and name.isdigit() and int(name) < len(tree):
            tree = tree[int(name)]
        else:
            return None
    return tree
