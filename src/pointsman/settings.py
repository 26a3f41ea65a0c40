"""Every setting with its default. The only reader of the environment.

Precedence, strongest first: command line, environment, `pointsman.yaml`, defaults. (A request's own preferences come
before all of them, in the stages that read them.)
"""

from __future__ import annotations

import os
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from pointsman.core.errors import SettingsError
from pointsman.core.request import Priority, PrivacyLevel

CONFIG_NAME = "pointsman.yaml"


class Secret:
    """A string that does not show itself."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('…')"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._value)


class Section(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A part of the settings."""


class Server(Section):
    """The listener."""

    host: str = "127.0.0.1"
    port: int = 8000
    data_plane: Literal["native", "asgi"] = "native"
    """`native`: our own HTTP/1.1 protocol. `asgi`: uvicorn and aiohttp (the `fallback` extra)."""
    api_keys: list[Secret] = msgspec.field(default_factory=list)
    """Keys that callers must send. Needed when bound beyond loopback."""
    allow_unauthenticated: bool = False
    """Serve beyond loopback without a key, for a listener that something else protects."""
    allowed_hosts: list[str] = msgspec.field(default_factory=list)
    """Host names, beside loopback ones, that a request's Host header may carry."""
    allowed_origins: list[str] = msgspec.field(default_factory=list)
    """Web origins that may call the gateway from a browser."""
    max_body_bytes: int = 32 * 1024 * 1024
    max_connections: int = 2048
    header_timeout: float = 10.0
    """Seconds that a client may take to send a request's head, and between two reads of its body."""
    keep_alive_timeout: float = 75.0
    shutdown_grace: float = 10.0
    """Seconds that running answers get when the gateway stops."""


class Limits(Section):
    """Time-outs towards upstreams, in seconds."""

    connect_timeout: float = 5.0
    first_byte_timeout: float = 120.0
    between_bytes_timeout: float = 60.0
    request_timeout: float = 600.0
    """From the request's arrival to the end of its answer, over all attempts."""


class PrivacySettings(Section):
    """What must stay on the machine."""

    level: PrivacyLevel = "standard"
    sensitive_tokens: list[str] = msgspec.field(default_factory=list)
    """Words of your own (project names, internal hosts) that count as class `internal`."""
    store_prompts: Literal["never", "public", "all"] = "never"
    """Which prompts the decision log keeps: none, those in which nothing private was found, or all."""


class Routing(Section):
    """How a model is chosen."""

    priority: Priority = "balanced"
    model_names: Literal["override", "hint"] = "override"
    """Whether a known model name in a request forces that model or only prefers it. `provider:model` always forces."""
    complexity_threshold: float = 0.65
    complexity_weights: list[float] = msgspec.field(default_factory=lambda: [0.3, 0.4, 0.3])
    """Of length, specialised terms and structure."""
    default_provider: str | None = None
    """Preferred among candidates of equal utility."""
    force_provider: str | None = None
    """Only this provider's models may be chosen (FORCE_OLLAMA, FORCE_OPENAI)."""
    aliases: dict[str, str] = msgspec.field(default_factory=dict)
    """Your own names for models: `fast: embedded:smollm2:135m`."""
    fallbacks: dict[str, list[str]] = msgspec.field(default_factory=dict)
    """Per model id: which models follow when it fails, in order. Others get a chain by utility."""
    max_attempts: int = 4
    default_temperature: float | None = None
    default_max_tokens: int | None = None


class Embedded(Section):
    """The llama.cpp models that run in child processes of the gateway."""

    enabled: bool = True
    models: list[str] = msgspec.field(default_factory=lambda: ["smollm2:135m", "qwen2.5-coder:0.5b"])
    start: Literal["eager", "lazy"] = "eager"
    context: int | None = None
    """Tokens of context per slot; None chooses from the model and the free memory."""
    threads: int | None = None
    """None: the machine's cores, at most 8."""
    slots: int = 2
    """Answers at the same time per model."""
    queue: int = 64
    """Requests that may wait for a slot before callers get a 503."""
    cache_ram_mib: int = 256
    hub: bool = False
    """Fetch weights from the official model hub when the package index does not have them."""


class ProviderSettings(Section):
    """One upstream. Built-in ones (openai, anthropic, gemini, litellm, ollama) need only a key or a URL."""

    type: Literal["openai", "ollama"] = "openai"
    base_url: str | None = None
    api_key: Secret | None = None
    organization: str | None = None
    enabled: bool = True
    local: bool = False
    """Declare that this provider's models run on this machine. Prompts with private content may go there."""
    models: list[str] = msgspec.field(default_factory=list)
    """Names to put in the catalog without asking the upstream; empty asks it."""
    default_model: str | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)


class Log(Section):
    """The gateway's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(Section):
    """Everything."""

    env: str = "production"
    data_dir: Path = msgspec.field(default_factory=lambda: _user_dir("data"))
    cache_dir: Path = msgspec.field(default_factory=lambda: _user_dir("cache"))
    server: Server = msgspec.field(default_factory=Server)
    limits: Limits = msgspec.field(default_factory=Limits)
    privacy: PrivacySettings = msgspec.field(default_factory=PrivacySettings)
    routing: Routing = msgspec.field(default_factory=Routing)
    embedded: Embedded = msgspec.field(default_factory=Embedded)
    providers: dict[str, ProviderSettings] = msgspec.field(default_factory=dict)
    log: Log = msgspec.field(default_factory=Log)

    @property
    def database_path(self) -> Path:
        return self.data_dir / "pointsman.sqlite3"


def _user_dir(kind: Literal["data", "cache", "config"]) -> Path:
    import platformdirs

    find = {
        "data": platformdirs.user_data_path,
        "cache": platformdirs.user_cache_path,
        "config": platformdirs.user_config_path,
    }[kind]
    return find("pointsman", appauthor=False)


ENVIRONMENT: tuple[tuple[str, str], ...] = (
    ("APP_ENV", "env"),
    ("POINTSMAN_DATA_DIR", "data_dir"),
    ("POINTSMAN_CACHE_DIR", "cache_dir"),
    ("HOST", "server.host"),
    ("PORT", "server.port"),
    ("POINTSMAN_HOST", "server.host"),
    ("POINTSMAN_PORT", "server.port"),
    ("POINTSMAN_API_KEY", "server.api_keys"),
    ("POINTSMAN_DATA_PLANE", "server.data_plane"),
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
    ("LITELLM_URL", "providers.litellm.base_url"),
    ("LITELLM_MASTER_KEY", "providers.litellm.api_key"),
)
"""Environment name → dotted setting; later rows win."""

NOT_USED_YET: tuple[str, ...] = (
    "FORCE_DEV_MODE", "REDIS_URL", "REDIS_PASSWORD", "DATABASE_URL", "ENABLE_CACHING", "CACHE_TTL",
    "ENABLE_PARALLEL_PROCESSING", "MAX_PARALLEL_REQUESTS", "ENABLE_BATCHING", "MAX_BATCH_SIZE", "MONTHLY_BUDGET",
    "TOKEN_BUDGET", "ENABLE_TOKEN_OPTIMIZATION", "DEV_MODE_TOKEN_LIMIT", "ENABLE_METRICS", "METRICS_PORT",
    "ENABLE_TRACING", "SENTRY_DSN",
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
    tree = _read_file(_config_path(config, environ))
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
    settings = _convert(tree)
    _check(settings)
    return settings


def unused_environment(environ: Mapping[str, str] | None = None) -> list[str]:
    """Names from `NOT_USED_YET` that are set."""
    environ = os.environ if environ is None else environ  # noqa: TID251 - the one place
    return [name for name in NOT_USED_YET if environ.get(name)]


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child process: ours without anything that looks like a credential, and `extra`."""
    secretive = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
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
    for path in (Path(CONFIG_NAME), _user_dir("config") / CONFIG_NAME):
        if path.is_file():
            return path
    return None


def _read_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    import yaml

    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError("config", str(path), f"cannot be read: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise SettingsError(
            "config", str(path), "the file must hold `key: value` lines; see `pointsman config example`"
        )
    return tree


def _put(tree: dict[str, Any], path: str, value: Any, *, source: str) -> None:
    *parents, last = path.split(".")
    kind = _kind(path)
    if isinstance(value, str):
        value = _from_text(source, value, kind)
    for name in parents:
        branch = tree.get(name)
        if not isinstance(branch, dict):
            branch = tree[name] = {}
        tree = branch
    tree[last] = value


def _kind(path: str) -> Any:
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


def _convert(tree: dict[str, Any]) -> Settings:
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
            raise SettingsError(key, _at(tree, key), _unknown_key(key)) from None
        raise SettingsError(key, _at(tree, key), reason.replace("Expected", "must be").replace("`", "")) from None


def _unknown_key(key: str) -> str:
    import difflib

    *parents, last = key.split(".")
    try:
        known = list(typing.get_type_hints(_kind(".".join(parents)) if parents else Settings))
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


def _check(settings: Settings) -> None:
    server, routing, embedded = settings.server, settings.routing, settings.embedded
    checks: list[tuple[str, Any, bool, str]] = [
        ("server.port", server.port, 0 <= server.port <= 65535, "must be between 0 and 65535 (0 picks a free port)"),
        ("server.max_body_bytes", server.max_body_bytes, server.max_body_bytes >= 1024, "must be at least 1024"),
        ("routing.complexity_threshold", routing.complexity_threshold, 0 <= routing.complexity_threshold <= 1,
         "must be between 0 and 1"),
        ("routing.complexity_weights", routing.complexity_weights,
         len(routing.complexity_weights) == 3 and min(routing.complexity_weights) >= 0
         and abs(sum(routing.complexity_weights) - 1) < 1e-6, "must be three numbers of at least 0 that add up to 1"),
        ("routing.max_attempts", routing.max_attempts, 1 <= routing.max_attempts <= 16, "must be between 1 and 16"),
        ("embedded.slots", embedded.slots, 1 <= embedded.slots <= 64, "must be between 1 and 64"),
        ("embedded.queue", embedded.queue, embedded.queue >= 0, "must be at least 0"),
        ("embedded.context", embedded.context, embedded.context is None or embedded.context >= 256,
         "must be at least 256 tokens"),
        ("embedded.threads", embedded.threads, embedded.threads is None or embedded.threads >= 1,
         "must be at least 1"),
    ]  # fmt: skip
    for name in typing.get_type_hints(Limits):
        value = getattr(settings.limits, name)
        checks.append((f"limits.{name}", value, value > 0, "must be a number of seconds above 0"))
    for name, provider in settings.providers.items():
        url = provider.base_url
        if url is not None and "://" not in url and name == "ollama":
            url = provider.base_url = f"http://{url}"
        fine = url is None or re.fullmatch(r"https?://[^\s/]+(/\S*)?", url) is not None
        checks.append((f"providers.{name}.base_url", url, fine, "must be an http:// or https:// address"))
        checks.append((f"providers.{name}", name, re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name) is not None,
                       "a provider's name is made of small letters, digits, - and _"))  # fmt: skip
    for key, value, fine, mend in checks:
        if not fine:
            raise SettingsError(key, value, mend)
    if not is_loopback(server.host) and not server.api_keys and not server.allow_unauthenticated:
        raise SettingsError(
            "server.host", server.host,
            "is reachable from other machines and no API key is set; set POINTSMAN_API_KEY, or bind to 127.0.0.1",
        )  # fmt: skip


def is_loopback(host: str) -> bool:
    """Whether a listener on `host` can be reached from this machine alone."""
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
