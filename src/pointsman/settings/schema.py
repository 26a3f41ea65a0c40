"""Every setting with its default, and the checks that a type cannot express."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Any, Literal

import msgspec

from pointsman.core.errors import SettingsError
from pointsman.core.request import Priority, PrivacyLevel


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
    pulled: bool = True
    """Offer the models that `pointsman models pull` has fetched too; their first request starts them."""
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

    type: Literal["openai", "ollama"] | None = None
    """The API it speaks; None: as the built-in provider of that name does, else openai."""
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
    data_dir: Path = msgspec.field(default_factory=lambda: user_dir("data"))
    cache_dir: Path = msgspec.field(default_factory=lambda: user_dir("cache"))
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


def user_dir(kind: Literal["data", "cache", "config"]) -> Path:
    import platformdirs

    find = {
        "data": platformdirs.user_data_path,
        "cache": platformdirs.user_cache_path,
        "config": platformdirs.user_config_path,
    }[kind]
    return find("pointsman", appauthor=False)


def check(settings: Settings) -> None:
    """Refuse values that cannot work together.

    Raises:
        SettingsError: naming the key, the value and the mend.
    """
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
    for key in (secret.reveal() for secret in server.api_keys):
        fine = key.isascii() and key.isprintable() and key == key.strip() != ""
        checks.append(("server.api_keys", "…", fine, "a key is one or more printable ASCII characters, without spaces"
                       " around; `openssl rand -hex 24` makes a good one"))  # fmt: skip
    for name in typing.get_type_hints(Limits):
        value = getattr(settings.limits, name)
        checks.append((f"limits.{name}", value, value > 0, "must be a number of seconds above 0"))
    for name, provider in settings.providers.items():
        url = provider.base_url
        if url is not None and "://" not in url and name == "ollama":
            url = provider.base_url = f"http://{url}"
        fine = url is None or re.fullmatch(r"https?://[^\s/]+(/\S*)?", url) is not None
        checks.append((f"providers.{name}.base_url", shown_address(url), fine,
                       "must be an http:// or https:// address"))  # fmt: skip
        key = provider.api_key.reveal() if provider.api_key is not None else ""
        checks.append(
            (
                f"providers.{name}.api_key",
                "…",
                key.isascii() and key.isprintable(),
                "must be one line of printable ASCII; see whether it was copied whole, and nothing else",
            )
        )
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


def shown_address(url: str | None) -> str | None:
    """An address as it may be shown: no user, no password, no query."""
    return url and re.sub(r"//[^/]*@", "//…@", url).partition("?")[0]


def is_loopback(host: str) -> bool:
    """Whether a listener on `host` can be reached from this machine alone."""
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
