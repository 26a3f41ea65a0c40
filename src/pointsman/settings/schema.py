"""Every setting with its default."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from pointsman.core.request import Priority, PrivacyLevel

from .provider_schema import ProviderSettings
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


class ExplorationSettings(Section):
    """How far models are tried to learn of them. Never with requests that name a model, ask for quality, are at privacy
    level max, or say `routing_preferences.explore: false`."""

    share: float = 0.02
    """Of the requests, at most; 0: never."""
    daily: float = 0.05
    """US dollars a day, in each process, that tries may be expected to cost beyond the models thought best."""


class DevelopmentSettings(Section):
    """Development mode: requests stay with local models, but for those that ask for more."""

    enabled: bool = False
    allow: list[str] = msgspec.field(default_factory=list)
    """Regular expressions (RE2, any case): a request whose last ask matches one may go to the cloud."""
    cloud_requests_per_day: int | None = None
    """Attempts at remote models that all callers may make together in a day (UTC); None: as many as match."""
    cloud_tokens_per_day: int | None = None
    """Tokens in and out that these may take."""


class Routing(Section):
    """How a model is chosen."""

    policy: Literal["learned", "rules"] = "learned"
    """The built-in policy that serves where none is promoted: one that learns from outcomes, or rules alone."""
    priority: Priority = "balanced"
    weights: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    """Per priority: what costs (cost), seconds (latency), leaving the machine (remote) and hard requests (hard) weigh,
    and how much success is enough (enough), where that differs from what is built in."""
    quality_floor: float | None = None
    """The cheapest model whose success is at most so far below the best model's, with 95 % confidence, answers; 0.02 is
    two points. A promise on the average of the traffic. None: the weights decide."""
    exploration: ExplorationSettings = msgspec.field(default_factory=ExplorationSettings)
    development: DevelopmentSettings = msgspec.field(default_factory=DevelopmentSettings)
    intent_model: str | None = None
    """A model's id: it is asked what a message wants where a model is to be chosen and rules and classifier are unsure.
    None: nobody is. Private requests are shown to it only where it is local."""
    intent_timeout: float = 1.5
    """Seconds that it may take; then the word of rules and classifier holds."""
    intent_micro_usd_per_day: int = 0
    """What asking it may cost a day (UTC), in millionths of a US dollar; 0: it is asked only if it costs nothing."""
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
    equivalents: dict[str, list[str]] = msgspec.field(default_factory=dict)
    """Per model id or name: models that stand in for it in an outage, best first, in place of those that its card
    knows; an empty list: none."""
    named_stand_ins: bool = False
    """Whether an equivalent answers when a model that the request names cannot. Otherwise only routing.fallbacks
    does."""
    max_attempts: int = 4
    choose_effort: bool = False
    """Whether reasoning models are also tried at a lower and a higher effort than their own, where a request does not
    name one: an arm is then a model with an effort."""
    tier_models: dict[str, dict[str, list[str]]] = msgspec.field(default_factory=dict)
    """Budget tier (high, medium, low) → intent (or `*`) → models to choose from, when one of them can do it."""
    embedding_model: str = "embedded:static-minilm-v1"
    """Embeds the texts of callers that name no model, or `auto`. Vectors of two models cannot be compared: after a
    change what is stored must be embedded anew."""
    default_temperature: float | None = None
    default_max_tokens: int | None = None


class BreakerSettings(Section):
    """When a model that fails is left alone. A provider is, when nobody can reach it or several of its models fail."""

    enabled: bool = True
    window: float = 60.0
    """Seconds of which the calls count."""
    min_errors: int = 5
    """Fewer failures in the window say nothing."""
    error_rate: float = 0.5
    """Share of the calls in the window that failed: connecting, with a status of 500 or more or one that refuses our
    key, by a time-out, in the middle of the answer."""
    slow_rate: float = 0.9
    """Share of the calls that failed, were slow, or met a 429 that names no time to wait."""
    slow_factor: float = 5.0
    """How many times the model's usual time to the first byte (95th percentile) is slow."""
    slow_seconds: float = 10.0
    """What begins sooner is never slow by that."""
    slow_beyond: float | None = None
    """Seconds to the first byte that are slow for every model; None: that depends on the model."""
    connect_errors: int = 3
    """Calls in a row that could not reach a provider: all of its models are left alone."""
    open_seconds: float = 5.0
    """How long it is left alone the first time; doubled with each probe that fails."""
    max_open_seconds: float = 300.0
    probes: int = 2
    """Calls that may then try it at the same time, and how many must go well before all may."""
    probe_seconds: float = 30.0
    """After which a probe that has not ended keeps no other from trying."""


class EscalationSettings(Section):
    """Whether a cheap model's answer is judged before it is told, and a stronger model takes over where it is not
    convincing. Off, because a stream then begins later."""

    enabled: bool = False
    priorities: list[Priority] = msgspec.field(default_factory=list)
    """Requests of these priorities are judged although it is not enabled. `routing_preferences.escalate` says it for
    one request."""
    share: float = 0.3
    """Of the answers, at most, that are escalated, as far as those tell that confidence was learned from."""
    threshold: float | None = None
    """The probability of a good answer below which a stronger model is asked, in place of `share`."""
    hold_tokens: int = 48
    """Tokens of a stream that are held back at most while it is judged."""
    hold_seconds: float = 4.0
    """Seconds for which they are held back at most."""
    model: Path | None = None
    """A file that `pointsman eval confidence --fit` wrote, by which answers are judged; null: by what was learned from
    small models. It is read at the start."""


class HedgingSettings(Section):
    """Whether a second model is asked when the first takes longer to begin than in 19 of 20 cases; who begins first
    answers, and the other is cancelled. What was cancelled may be billed."""

    enabled: bool = False
    most_micro_usd: int = 2000
    """What the second is expected to cost, at most, in millionths of a US dollar."""
    share: float = 0.05
    """Of the requests, at most."""


class Execution(Section):
    """How a plan is carried out: what is tried again, and what another model goes on with."""

    retries: int = 1
    """How often the same model is asked again, after a pause, where that can help."""
    longest_wait: float = 10.0
    """Seconds that an upstream may ask us to wait while a caller waits; longer, and its error is told."""
    splice: bool = True
    """Whether another model goes on with a stream that broke off, where it left off. Tool calls are then told when they
    are whole."""
    escalation: EscalationSettings = msgspec.field(default_factory=EscalationSettings)
    hedging: HedgingSettings = msgspec.field(default_factory=HedgingSettings)
    breaker: BreakerSettings = msgspec.field(default_factory=BreakerSettings)


class RewardSettings(Section):
    """What an answer was worth: success − cost_factor × dollars − latency_penalty × seconds."""

    cost_factor: float = 30.0
    """Per US dollar: at 30, a good answer is worth about three cents."""
    latency_penalty: float = 0.004
    """Per second: at 0.004, a good answer is worth about four minutes."""


class JudgeSettings(Section):
    """A model that judges a sample of the answers. Private requests are never shown to it."""

    share: float = 0.0
    """Of the answers whose requests hold nothing private; 0: none."""
    model: str | None = None
    """Who judges: a model's id."""
    micro_usd_per_day: int = 100_000
    """What judging may cost a day (UTC), in millionths of a US dollar."""


class LearningSettings(Section):
    """What is learned from outcomes while the gateway runs."""

    window_days: float = 90.0
    """Outcomes of older requests no longer count; of younger ones the latest 20,000 do."""
    key_share: float = 0.5
    """Of what is learned of a model, how much one API key may say once several do; 1: no bound."""
    implicit: bool = True
    """Whether what callers do next (a complaint, a retry, a tool's result) is noted as a sign of how good an answer
    was. It counts only as far as it agrees with feedback."""
    reward: RewardSettings = msgspec.field(default_factory=RewardSettings)
    judge: JudgeSettings = msgspec.field(default_factory=JudgeSettings)


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
