"""Every setting with its default, and the checks that a type cannot express."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Any, Literal

import msgspec

from pointsman.core.caller import EndpointClass
from pointsman.core.errors import SettingsError
from pointsman.core.request import Priority, PrivacyLevel
from pointsman.core.signals import Intent

MOST_COUNTED = 10**12
"""The largest limit that can be set; beyond some 10**15 the counters would no longer be exact."""


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
    """Keys that callers must send, beside those of `pointsman keys`. Their bearers see their own decisions alone."""
    admin_keys: list[Secret] = msgspec.field(default_factory=list)
    """Keys whose bearers are admins."""
    allow_unauthenticated: bool = False
    """Serve beyond loopback without a key, for a listener that something else protects."""
    allowed_hosts: list[str] = msgspec.field(default_factory=list)
    """Host names, beside loopback ones, that a request's Host header may carry."""
    allowed_origins: list[str] = msgspec.field(default_factory=list)
    """Web origins that may call the gateway from a browser."""
    max_body_bytes: int = 32 * 1024 * 1024
    max_body_memory: int = 512 * 1024 * 1024
    """Bytes that all bodies above 64 KiB may take together; a request beyond it gets a 503."""
    max_connections: int = 2048
    header_timeout: float = 10.0
    """Seconds that a client may take to send a request's head, and between two reads of its body."""
    keep_alive_timeout: float = 75.0
    shutdown_grace: float = 10.0
    """Seconds that running answers get when the gateway stops."""
    tls_certificate: Path | None = None
    """A PEM file with the certificate and its chain: the listener speaks TLS."""
    tls_key: Path | None = None
    """Its private key, readable by its owner alone; None: it stands in the certificate's file. Both are read again
    when they change, and at SIGHUP."""
    trusted_proxies: list[str] = msgspec.field(default_factory=list)
    """Addresses or networks of proxies whose X-Forwarded-For tells who asks."""


class DatabaseSettings(Section):
    """Where keys, users, budgets and the decision log are kept."""

    url: Secret | None = None
    """`postgresql://user:password@host/name` for replicas that share it; None: a SQLite file in the data folder."""
    timeout: float = 5.0
    """Seconds that a statement may take."""
    stale_grace: float = 300.0
    """Seconds that keys, credentials and the policy hold as last known while the database is away; then keys are
    refused."""
    spool_max_bytes: int = 1024**3
    """How much of the decision log may lie on disk until the database takes it again."""


class StateSettings(Section):
    """Where limits and budgets are counted."""

    url: Secret | None = None
    """`redis://host:6379/0` (Redis or Valkey) for replicas that share it; None: in the process."""
    password: Secret | None = None
    prefix: str = "pointsman"
    """What every key begins with, so that several installations may share a server."""
    timeout: float = 0.5
    """Seconds that a step may take before the store counts as away."""


class SecuritySettings(Section):
    """Secrets, sessions and signatures."""

    secret_key: Secret | None = None
    """What every other key is derived from; replicas share it. None: a file in the data folder, made at first."""
    previous_secret_key: Secret | None = None
    """The secret before the last rotation: stored credentials that it protects are still read."""
    signing: Literal["optional", "required"] = "optional"
    """`optional`: keys that have a signing secret must sign. `required`: everybody must but the local user."""
    signature_seconds: float = 300.0
    """How far a signature's timestamp may be from now; its nonce is remembered as long."""
    access_token_seconds: float = 900.0
    refresh_token_days: float = 30.0
    public_url: str | None = None
    """The address that browsers reach the gateway under, such as `https://ai.example.org`."""


class TierSettings(Section):
    """How much the keys of a tier may ask."""

    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    priority: Literal["high", "normal", "low"] = "normal"
    """Who goes first when a provider's own limit runs short."""


class BucketSettings(Section):
    """A token bucket for each key and class of endpoint."""

    burst: int
    per_minute: float


def _tiers() -> dict[str, TierSettings]:
    return {
        "free": TierSettings(per_minute=20, per_hour=200, per_day=1_000, priority="low"),
        "basic": TierSettings(per_minute=60, per_hour=1_000, per_day=10_000),
        "premium": TierSettings(per_minute=300, per_hour=10_000, per_day=100_000),
        "enterprise": TierSettings(priority="high"),
    }


class Limits(Section):
    """How much may be asked, and time-outs towards upstreams in seconds."""

    tiers: dict[str, TierSettings] = msgspec.field(default_factory=_tiers)
    """Added to free, basic, premium and enterprise; one that is named here stands as it is written here."""
    default_tier: str = "enterprise"
    """The tier of keys that name none, and of the local user of an open port."""
    buckets: dict[str, BucketSettings] = msgspec.field(default_factory=dict)
    """Class of endpoint (chat, embeddings, models, feedback, decisions, usage, admin) → its bucket, for each key."""
    when_state_is_away: Literal["open", "closed"] = "open"
    """Whether requests pass unlimited, or are refused with 503, while the counters cannot be reached."""
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
    redaction: bool = False
    """Send requests of level `standard` with secrets or identity numbers to remote models too, with placeholders in
    their place; the answer gets the originals back."""
    named_entities: bool = False
    """Look for names of people too (class `contact`), with a model; takes the extra `entities`."""


class BudgetCap(Section):
    """US dollars."""

    daily: float | None = None
    monthly: float | None = None


class BudgetSettings(Section):
    """What may be spent. A budget's cap is never exceeded: each call reserves its worst case first."""

    daily: float | None = None
    """US dollars a day (UTC), over everything."""
    monthly: float | None = None
    """US dollars a calendar month (UTC), over everything."""
    models: dict[str, BudgetCap] = msgspec.field(default_factory=dict)
    """Model id → its own caps. Keys have theirs in their scopes."""
    per_key: BudgetCap = msgspec.field(default_factory=BudgetCap)
    """Caps of every key that has none of its own."""
    hard: bool = True
    """Whether a cap refuses; otherwise it only warns and shifts the mix."""
    alert_at: float = 0.8
    """Share of a cap at which an alert is raised, once a period."""
    webhook: str | None = None
    """An address that alerts are posted to as JSON."""
    when_state_is_away: Literal["open", "closed"] = "closed"
    """Whether calls that cost money pass unreserved while the counters cannot be reached."""
    lease_margin: float = 60.0
    """Seconds beyond limits.request_timeout after which a reservation that nobody settled counts as lost in a crash."""
    medium_below: float = 0.6
    """Share of the monthly budget left below which the tier is medium: costs weigh more in the choice."""
    low_below: float = 0.3
    """Share below which the tier is low: costs weigh most, and local models go first."""


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
    tier_models: dict[str, dict[str, list[str]]] = msgspec.field(default_factory=dict)
    """Budget tier (high, medium, low) → intent (or `*`) → models to choose from, when one of them can do it."""
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


class Price(Section):
    """US dollars per million tokens."""

    input: float
    output: float
    cached_input: float | None = None


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
    prices: dict[str, Price] = msgspec.field(default_factory=dict)
    """Model name → its price, where the catalog has none or a wrong one."""
    requests_per_minute: int | None = None
    """What the provider allows this installation, over all keys."""
    tokens_per_minute: int | None = None


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
    database: DatabaseSettings = msgspec.field(default_factory=DatabaseSettings)
    state: StateSettings = msgspec.field(default_factory=StateSettings)
    security: SecuritySettings = msgspec.field(default_factory=SecuritySettings)
    limits: Limits = msgspec.field(default_factory=Limits)
    budgets: BudgetSettings = msgspec.field(default_factory=BudgetSettings)
    privacy: PrivacySettings = msgspec.field(default_factory=PrivacySettings)
    routing: Routing = msgspec.field(default_factory=Routing)
    embedded: Embedded = msgspec.field(default_factory=Embedded)
    providers: dict[str, ProviderSettings] = msgspec.field(default_factory=dict)
    log: Log = msgspec.field(default_factory=Log)

    @property
    def database_path(self) -> Path:
        return self.data_dir / "pointsman.sqlite3"


SHORTEST_SECRET = 32
"""Characters; a secret is tried offline by whoever gets hold of the database."""


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
        ("server.max_body_memory", server.max_body_memory, server.max_body_memory >= 1024, "must be at least 1024"),
        ("server.tls_key", str(server.tls_key), server.tls_key is None or server.tls_certificate is not None,
         "needs server.tls_certificate beside it"),
        ("security.signature_seconds", settings.security.signature_seconds,
         1 <= settings.security.signature_seconds <= 3600, "must be between 1 and 3600"),
        ("security.access_token_seconds", settings.security.access_token_seconds,
         1 <= settings.security.access_token_seconds <= 86_400, "must be between 1 and 86400"),
        ("security.refresh_token_days", settings.security.refresh_token_days,
         0 < settings.security.refresh_token_days <= 400, "must be more than 0 and at most 400"),
        ("security.public_url", shown_address(settings.security.public_url), settings.security.public_url is None
         or re.fullmatch(r"https?://[^\s/?#@]+/?", settings.security.public_url) is not None,
         "is scheme and host alone, such as https://ai.example.org"),
        ("state.timeout", settings.state.timeout, settings.state.timeout > 0, "must be a number of seconds above 0"),
        ("state.prefix", settings.state.prefix, re.fullmatch(r"[^{}\s]{1,64}", settings.state.prefix) is not None,
         "must be 1 to 64 characters without spaces and braces"),
        ("database.timeout", settings.database.timeout, settings.database.timeout > 0, "must be more than 0 seconds"),
        ("database.stale_grace", settings.database.stale_grace, settings.database.stale_grace >= 0,
         "must be at least 0 seconds"),
        ("database.spool_max_bytes", settings.database.spool_max_bytes, settings.database.spool_max_bytes >= 1_000_000,
         "must be at least 1000000"),
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
    security = settings.security
    mend = f"must have at least {SHORTEST_SECRET} characters; `openssl rand -hex 32` makes a good one"
    for name, secret in (
        ("secret_key", security.secret_key),
        ("previous_secret_key", security.previous_secret_key),
    ):
        checks.append((f"security.{name}", "…", secret is None or len(secret.reveal()) >= SHORTEST_SECRET, mend))
    mend = "an origin is written as https://app.example, with its port if it has one; `*` is not taken"
    checks += [
        ("server.allowed_origins", origin, re.fullmatch(r"https?://[^\s/*?#@]+/?", origin) is not None, mend)
        for origin in server.allowed_origins
    ]
    checks += [
        ("server.trusted_proxies", proxy, is_network(proxy), "must be an address or a network such as 10.0.0.0/8")
        for proxy in server.trusted_proxies
    ]
    keys = {"server.api_keys": server.api_keys, "server.admin_keys": server.admin_keys}
    for name, key in [(name, secret.reveal()) for name, secrets in keys.items() for secret in secrets]:
        fine = key.isascii() and key.isprintable() and key == key.strip() != ""
        checks.append((name, "…", fine, "a key is one or more printable ASCII characters, without spaces"
                       " around; `openssl rand -hex 24` makes a good one"))  # fmt: skip
    for name in (name for name in typing.get_type_hints(Limits) if name.endswith("_timeout")):
        value = getattr(settings.limits, name)
        checks.append((f"limits.{name}", value, value > 0, "must be a number of seconds above 0"))
    checks += _limit_checks(settings)
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
    checks += _budget_checks(settings)
    for key, value, fine, mend in checks:
        if not fine:
            raise SettingsError(key, value, mend)


def _budget_checks(settings: Settings) -> list[tuple[str, Any, bool, str]]:
    budgets = settings.budgets
    caps = {"budgets": BudgetCap(daily=budgets.daily, monthly=budgets.monthly), "budgets.per_key": budgets.per_key}
    caps |= {f"budgets.models.{model}": cap for model, cap in budgets.models.items()}
    dollars = f"must be US dollars between 0 and {MOST_DOLLARS:,}"
    checks: list[tuple[str, Any, bool, str]] = [
        (f"{key}.{cycle}", value, value is None or 0 <= value <= MOST_DOLLARS, dollars)
        for key, cap in caps.items()
        for cycle, value in (("daily", cap.daily), ("monthly", cap.monthly))
    ]
    checks += [
        (f"budgets.models.{model}", model, ":" in model, "names a model as provider:model") for model in budgets.models
    ]
    webhook = budgets.webhook
    checks += [
        ("budgets.alert_at", budgets.alert_at, 0 < budgets.alert_at <= 1, "must be a share above 0, and at most 1"),
        ("budgets.medium_below", budgets.medium_below, 0 <= budgets.medium_below <= 1, "must be between 0 and 1"),
        ("budgets.low_below", budgets.low_below, 0 <= budgets.low_below <= budgets.medium_below,
         "must be between 0 and budgets.medium_below"),
        ("budgets.lease_margin", budgets.lease_margin, budgets.lease_margin > 0, "must be seconds above 0"),
        ("budgets.webhook", "…", webhook is None or re.fullmatch(r"https?://[^\s/@]+(/\S*)?", webhook) is not None,
         "must be an http:// or https:// address"),
    ]  # fmt: skip
    for name, provider in settings.providers.items():
        for model, price in provider.prices.items():
            sums = (price.input, price.output, price.cached_input or 0.0)
            checks.append((f"providers.{name}.prices.{model}", sums, all(0 <= one <= MOST_DOLLARS for one in sums),
                           dollars + " per million tokens"))  # fmt: skip
    for tier, intents in settings.routing.tier_models.items():
        checks.append((f"routing.tier_models.{tier}", tier, tier in ("high", "medium", "low"),
                       "is no tier; there are high, medium, low"))  # fmt: skip
        for intent in intents:
            checks.append((f"routing.tier_models.{tier}.{intent}", intent, intent == "*" or intent in list(Intent),
                           f"is no intent; there are *, {', '.join(Intent)}"))  # fmt: skip
    return checks


MOST_DOLLARS = 1_000_000_000


def _limit_checks(settings: Settings) -> list[tuple[str, Any, bool, str]]:
    limits = settings.limits
    limits.tiers = {**_tiers(), **limits.tiers}
    checks: list[tuple[str, Any, bool, str]] = []
    whole = "must be at least 1, or left out for as many as one likes"
    for name, tier in limits.tiers.items():
        checks.append((f"limits.tiers.{name}", name, re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", name) is not None,
                       "a tier's name is made of at most 40 small letters, digits, - and _"))  # fmt: skip
        for window in ("per_minute", "per_hour", "per_day"):
            value = getattr(tier, window)
            checks.append((f"limits.tiers.{name}.{window}", value, value is None or 1 <= value <= MOST_COUNTED, whole))
    checks.append(("limits.default_tier", limits.default_tier, limits.default_tier in limits.tiers,
                   f"is no tier; limits.tiers has {', '.join(sorted(limits.tiers))}"))  # fmt: skip
    for name, bucket in limits.buckets.items():
        key = f"limits.buckets.{name}"
        classes = [kind for kind in typing.get_args(EndpointClass) if kind != "public"]
        checks += [
            (key, name, name in classes, f"is no class of endpoints; there are {', '.join(classes)}"),
            (f"{key}.burst", bucket.burst, 1 <= bucket.burst <= MOST_COUNTED, "must be at least 1"),
            (f"{key}.per_minute", bucket.per_minute, 0 < bucket.per_minute <= MOST_COUNTED, "must be more than 0"),
        ]
    for name, provider in settings.providers.items():
        for field in ("requests_per_minute", "tokens_per_minute"):
            value = getattr(provider, field)
            checks.append((f"providers.{name}.{field}", value, value is None or 1 <= value <= MOST_COUNTED, whole))
    return checks


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


def is_network(text: str) -> bool:
    """Whether it is an address or a network."""
    import ipaddress

    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
