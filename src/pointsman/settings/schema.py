"""Every setting with its default."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from pointsman.core.request import PrivacyLevel

from .execution_schema import Execution
from .provider_schema import ProviderSettings
from .routing_schema import LearningSettings, Routing
from .section import Secret, Section


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
    """Beyond them a client is told 503. Fewer where the system lets the gateway have fewer files open than two each."""
    header_timeout: float = 10.0
    """Seconds that a client may take to send a request's head, and between two reads of its body."""
    keep_alive_timeout: float = 75.0
    shutdown_delay: float = 0.0
    """Seconds between the signal to stop and the end of taking requests, in which `/ready` answers 503: for whoever
    spreads requests over several gateways to notice."""
    shutdown_grace: float = 10.0
    """Seconds that running answers get then; what remains is ended with an error."""
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
    caller_credentials: Literal["never", "override", "pass"] = "never"
    """Whether callers may bring providers' keys of their own. `override`: in `auth_override` or the header
    `x-pointsman-credential`. `pass`: also as the key that a client of OpenAI or Anthropic sends to an open port."""
    public_url: str | None = None
    """The address that browsers reach the gateway under, such as `https://ai.example.org`."""


class TierSettings(Section):
    """How much the keys of a tier may ask."""

    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    priority: Literal["high", "normal", "low"] = "normal"
    """Who goes first when a provider's own limit runs short, and how large a share of a busy local engine is."""


class BucketSettings(Section):
    """A token bucket for each key and class of endpoint."""

    burst: int
    per_minute: float


def built_in_tiers() -> dict[str, TierSettings]:
    return {
        "free": TierSettings(per_minute=20, per_hour=200, per_day=1_000, priority="low"),
        "basic": TierSettings(per_minute=60, per_hour=1_000, per_day=10_000),
        "premium": TierSettings(per_minute=300, per_hour=10_000, per_day=100_000),
        "enterprise": TierSettings(priority="high"),
    }


class Limits(Section):
    """How much may be asked, and time-outs towards upstreams in seconds."""

    tiers: dict[str, TierSettings] = msgspec.field(default_factory=built_in_tiers)
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
    store_embeddings: bool = True
    """Whether the decision log keeps the embedding of prompts in which nothing private was found, which learning reads
    and from which the words of a short prompt can be read back. Of others it never does. If not, routing looks at the
    shape of prompts alone."""
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
    queue_seconds: float | None = None
    """For how long one may wait; None: limits.first_byte_timeout. Who would wait longer is refused at once."""
    cache_ram_mib: int = 256
    hub: bool = False
    """Fetch weights from the official model hub when the package index does not have them."""


class LiteLLMSettings(Section):
    """LiteLLM's proxy as a process beside the gateway, for providers that are not reached directly."""

    enabled: bool = False
    """Install it, where it is not, and keep it running with the gateway."""
    config: Path | None = None
    """A LiteLLM configuration of your own; None: ours, which offers what the environment has variables for."""


class ResponsesSettings(Section):
    """What is kept of answers in the Responses API, so that they can be continued by their id. Never private ones."""

    store: bool = True
    """Whether anything is kept; a request's `store: false` holds in any case."""
    keep_days: float = 30.0
    """How long a conversation is kept after its last turn."""
    max_turn_bytes: int = 8 * 1024**2
    """A turn that is larger is not kept."""
    max_bytes: int = 1024**3
    """Beyond so much in all, the oldest turns of whoever has most are forgotten."""


class Log(Section):
    """The gateway's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(Section):
    """Everything."""

    env: str = "production"
    data_dir: Path = msgspec.field(default_factory=lambda: user_dir("data"))
    cache_dir: Path = msgspec.field(default_factory=lambda: user_dir("cache"))
    providers_file: Path | None = None
    """A file with providers alone, which is read again whenever it changes; None: `providers.yaml` beside this file, if
    there is one."""
    server: Server = msgspec.field(default_factory=Server)
    database: DatabaseSettings = msgspec.field(default_factory=DatabaseSettings)
    state: StateSettings = msgspec.field(default_factory=StateSettings)
    security: SecuritySettings = msgspec.field(default_factory=SecuritySettings)
    limits: Limits = msgspec.field(default_factory=Limits)
    budgets: BudgetSettings = msgspec.field(default_factory=BudgetSettings)
    privacy: PrivacySettings = msgspec.field(default_factory=PrivacySettings)
    routing: Routing = msgspec.field(default_factory=Routing)
    execution: Execution = msgspec.field(default_factory=Execution)
    learning: LearningSettings = msgspec.field(default_factory=LearningSettings)
    embedded: Embedded = msgspec.field(default_factory=Embedded)
    responses: ResponsesSettings = msgspec.field(default_factory=ResponsesSettings)
    litellm: LiteLLMSettings = msgspec.field(default_factory=LiteLLMSettings)
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
