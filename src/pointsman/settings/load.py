"""Reads the settings from every place where they may stand.

Precedence, strongest first: command line, environment, `providers.yaml` for the providers that it names,
`pointsman.yaml`, defaults. (A request's own preferences come before all of them, in the stages that read them.)
"""

from __future__ import annotations

import os
import re
import time
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pointsman.core.errors import SettingsError

from . import providers_file
from .checks import check
from .conversion import convert, kind_of
from .environment import ENVIRONMENT
from .schema import Settings, user_dir
from .section import Secret

CONFIG_NAME = "pointsman.yaml"


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
    """Where `providers.yaml` is looked for: beside the settings file that was named; else here, beside the one that was
    found, and in the user's configuration folder."""
    here, home = Path(providers_file.NAME), user_dir("config")
    if (config is None or config.parent == home) and here.exists():
        return here
    return (config.parent if config is not None else home) / providers_file.NAME


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
