"""The checks of settings that a type cannot express."""

from __future__ import annotations

import re
import typing
from typing import Any

from pointsman.core.caller import EndpointClass
from pointsman.core.catalog import CAPABILITIES
from pointsman.core.errors import SettingsError
from pointsman.core.request import Priority
from pointsman.core.signals import Intent

from .provider_schema import InstanceSettings, ProviderSettings
from .schema import BudgetCap, Limits, Settings, built_in_tiers

MOST_COUNTED = 10**12
"""The largest limit that can be set; beyond some 10**15 the counters would no longer be exact."""

MOST_INSTANCES = 64
MOST_SLOTS = 10_000
MOST_WAITING = 10_000
"""In a queue."""
MOST_QUEUE_SECONDS = 86_400
LONGEST_WINDOW = 10.0
"""Seconds."""
MOST_WEIGHT = 1e12
WEIGHTS = ("cost", "latency", "remote", "enough", "hard")
"""What the weights of a priority are called."""

SHORTEST_SECRET = 32
"""Characters; a secret is tried offline by whoever gets hold of the database."""


def check(settings: Settings) -> None:
    """Refuse values that cannot work together.

    Raises:
        SettingsError: naming the key, the value and the mend.
    """
    server, routing, embedded = settings.server, settings.routing, settings.embedded
    execution, escalation = settings.execution, settings.execution.escalation
    learning, judge = settings.learning, settings.learning.judge
    checks: list[tuple[str, Any, bool, str]] = [
        ("server.port", server.port, 0 <= server.port <= 65535, "must be between 0 and 65535 (0 picks a free port)"),
        ("server.max_body_bytes", server.max_body_bytes, server.max_body_bytes >= 1024, "must be at least 1024"),
        ("server.max_body_memory", server.max_body_memory, server.max_body_memory >= 1024, "must be at least 1024"),
        ("server.shutdown_delay", server.shutdown_delay, 0 <= server.shutdown_delay <= 3600,
         "must be between 0 and 3600 seconds"),
        ("server.shutdown_grace", server.shutdown_grace, 0 <= server.shutdown_grace <= 86_400,
         "must be between 0 and 86400 seconds"),
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
        ("responses.keep_days", settings.responses.keep_days, 0 < settings.responses.keep_days <= 3650,
         "must be more than 0 and at most 3650"),
        ("responses.max_turn_bytes", settings.responses.max_turn_bytes, settings.responses.max_turn_bytes >= 1024,
         "must be at least 1024"),
        ("responses.max_bytes", settings.responses.max_bytes, settings.responses.max_bytes >= 1_000_000,
         "must be at least 1000000"),
        ("routing.complexity_threshold", routing.complexity_threshold, 0 <= routing.complexity_threshold <= 1,
         "must be between 0 and 1"),
        ("routing.complexity_weights", routing.complexity_weights,
         len(routing.complexity_weights) == 3 and min(routing.complexity_weights) >= 0
         and abs(sum(routing.complexity_weights) - 1) < 1e-6, "must be three numbers of at least 0 that add up to 1"),
        ("routing.default_temperature", routing.default_temperature,
         routing.default_temperature is None or 0 <= routing.default_temperature <= 2, "must be between 0 and 2"),
        ("routing.default_max_tokens", routing.default_max_tokens,
         routing.default_max_tokens is None or routing.default_max_tokens >= 1, "must be at least 1"),
        ("routing.quality_floor", routing.quality_floor,
         routing.quality_floor is None or 0 <= routing.quality_floor <= 1, "must be between 0 and 1"),
        ("routing.exploration.share", routing.exploration.share, 0 <= routing.exploration.share <= 1,
         "must be a share between 0 and 1"),
        ("routing.exploration.daily", routing.exploration.daily, 0 <= routing.exploration.daily <= MOST_DOLLARS,
         f"must be US dollars between 0 and {MOST_DOLLARS:,}"),
        ("execution.retries", execution.retries, 0 <= execution.retries <= 10, "must be between 0 and 10"),
        ("execution.longest_wait", execution.longest_wait, 0 <= execution.longest_wait <= 3600,
         "must be seconds between 0 and 3600"),
        ("execution.escalation.share", escalation.share, 0 <= escalation.share <= 1, "must be a share between 0 and 1"),
        ("execution.escalation.threshold", escalation.threshold,
         escalation.threshold is None or 0 <= escalation.threshold <= 1, "must be a probability between 0 and 1"),
        ("execution.escalation.hold_tokens", escalation.hold_tokens, 1 <= escalation.hold_tokens <= 10_000,
         "must be between 1 and 10000"),
        ("execution.escalation.hold_seconds", escalation.hold_seconds, 0 < escalation.hold_seconds <= 600,
         "must be seconds above 0 and at most 600"),
        ("execution.hedging.share", execution.hedging.share, 0 <= execution.hedging.share <= 1,
         "must be a share between 0 and 1"),
        ("execution.hedging.most_micro_usd", execution.hedging.most_micro_usd, execution.hedging.most_micro_usd >= 0,
         "must be at least 0"),
        ("routing.max_attempts", routing.max_attempts, 1 <= routing.max_attempts <= 16, "must be between 1 and 16"),
        ("learning.window_days", learning.window_days, 0 < learning.window_days <= 3650,
         "must be more than 0 and at most 3650"),
        ("learning.key_share", learning.key_share, 0 < learning.key_share <= 1, "must be more than 0 and at most 1"),
        ("learning.reward.cost_factor", learning.reward.cost_factor, 0 <= learning.reward.cost_factor < 1e9,
         "must be at least 0"),
        ("learning.reward.latency_penalty", learning.reward.latency_penalty, 0 <= learning.reward.latency_penalty < 1e9,
         "must be at least 0"),
        ("learning.judge.share", judge.share, 0 <= judge.share <= 1, "must be between 0 and 1"),
        ("learning.judge.model", judge.model, not judge.share or judge.model is not None,
         "must name the model that judges, where learning.judge.share is above 0"),
        ("learning.judge.micro_usd_per_day", judge.micro_usd_per_day, 0 <= judge.micro_usd_per_day <= MOST_COUNTED,
         f"must be between 0 and {MOST_COUNTED}"),
        ("routing.intent_model", routing.intent_model, routing.intent_model not in ("", "auto"),
         "must name one model, or be null"),
        ("routing.intent_timeout", routing.intent_timeout, 0.01 <= routing.intent_timeout <= 60,
         "must be between 0.01 and 60"),
        ("routing.intent_micro_usd_per_day", routing.intent_micro_usd_per_day,
         0 <= routing.intent_micro_usd_per_day <= MOST_COUNTED, f"must be between 0 and {MOST_COUNTED}"),
        ("embedded.slots", embedded.slots, 1 <= embedded.slots <= 64, "must be between 1 and 64"),
        ("embedded.queue", embedded.queue, 0 <= embedded.queue <= MOST_WAITING,
         f"must be between 0 and {MOST_WAITING}"),
        ("embedded.queue_seconds", embedded.queue_seconds, embedded.queue_seconds is None
         or 0 <= embedded.queue_seconds <= MOST_QUEUE_SECONDS, f"must be seconds between 0 and {MOST_QUEUE_SECONDS}"),
        ("embedded.context", embedded.context, embedded.context is None or embedded.context >= 256,
         "must be at least 256 tokens"),
        ("embedded.threads", embedded.threads, embedded.threads is None or embedded.threads >= 1,
         "must be at least 1"),
    ]  # fmt: skip
    development = routing.development
    checks += [
        ("routing.development.allow", pattern, _is_pattern(pattern), "must be a regular expression that RE2 knows")
        for pattern in development.allow
    ]
    for name in ("cloud_requests_per_day", "cloud_tokens_per_day"):
        most = getattr(development, name)
        checks.append((f"routing.development.{name}", most, most is None or most >= 0, "must be at least 0"))
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
        for phase in provider.timeouts.__struct_fields__:
            value = getattr(provider.timeouts, phase)
            checks.append((f"providers.{name}.timeouts.{phase}", value, value is None or value > 0,
                           "must be a number of seconds above 0"))  # fmt: skip
        url = provider.base_url
        if url is not None and "://" not in url and name == "ollama":
            url = provider.base_url = f"http://{url}"
        fine = url is None or re.fullmatch(r"https?://[^\s/]+(/\S*)?", url) is not None
        checks.append((f"providers.{name}.base_url", shown_address(url), fine,
                       "must be an http:// or https:// address"))  # fmt: skip
        checks += _instance_checks(name, provider)
        checks += _queue_checks(name, provider)
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
    checks += _breaker_checks(settings)
    checks += _model_checks(settings)
    for key, value, fine, mend in checks:
        if not fine:
            raise SettingsError(key, value, mend)


def _instance_checks(name: str, provider: ProviderSettings) -> list[tuple[str, Any, bool, str]]:
    if name == "ollama":
        for index, one in enumerate(provider.instances):
            url = one if isinstance(one, str) else one.url
            whole = url if "://" in url else f"http://{url}"
            provider.instances[index] = whole if isinstance(one, str) else InstanceSettings(url=whole, slots=one.slots)
    key = f"providers.{name}.instances"
    urls = [one if isinstance(one, str) else one.url for one in provider.instances]
    checks: list[tuple[str, Any, bool, str]] = [
        (key, len(urls), len(urls) <= MOST_INSTANCES, f"are too many; at most {MOST_INSTANCES} are looked after")
    ]
    for index, one in enumerate(provider.instances):
        url, slots = urls[index], None if isinstance(one, str) else one.slots
        checks += [
            (f"{key}[{index}].url", shown_address(url), re.fullmatch(r"https?://[^\s/]+(/\S*)?", url) is not None,
             "must be an http:// or https:// address"),
            (f"{key}[{index}].url", shown_address(url), urls.index(url) == index, "stands twice"),
            (f"{key}[{index}].slots", slots, slots is None or 1 <= slots <= MOST_SLOTS,
             f"must be between 1 and {MOST_SLOTS}"),
        ]  # fmt: skip
    return checks


def _queue_checks(name: str, provider: ProviderSettings) -> list[tuple[str, Any, bool, str]]:
    key, slots, seconds, window = f"providers.{name}", provider.slots, provider.queue_seconds, provider.batch_window
    return [
        (f"{key}.slots", slots, slots is None or 1 <= slots <= MOST_SLOTS, f"must be between 1 and {MOST_SLOTS}"),
        (f"{key}.queue", provider.queue, 0 <= provider.queue <= MOST_WAITING, f"must be between 0 and {MOST_WAITING}"),
        (f"{key}.queue_seconds", seconds, seconds is None or 0 <= seconds <= MOST_QUEUE_SECONDS,
         f"must be seconds between 0 and {MOST_QUEUE_SECONDS}"),
        (f"{key}.batch_window", window, 0 <= window <= LONGEST_WINDOW,
         f"must be seconds between 0 and {LONGEST_WINDOW:g}"),
    ]  # fmt: skip


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
    priorities = typing.get_args(Priority)
    for priority, weights in settings.routing.weights.items():
        checks.append((f"routing.weights.{priority}", priority, priority in priorities,
                       f"is no priority; there are {', '.join(priorities)}"))  # fmt: skip
        for name, weight in weights.items():
            checks.append((f"routing.weights.{priority}.{name}", name, name in WEIGHTS,
                           f"is no weight; there are {', '.join(WEIGHTS)}"))  # fmt: skip
            checks.append((f"routing.weights.{priority}.{name}", weight, 0 <= weight <= MOST_WEIGHT,
                           f"must be between 0 and {MOST_WEIGHT:g}"))  # fmt: skip
    for tier, intents in settings.routing.tier_models.items():
        checks.append((f"routing.tier_models.{tier}", tier, tier in ("high", "medium", "low"),
                       "is no tier; there are high, medium, low"))  # fmt: skip
        for intent in intents:
            checks.append((f"routing.tier_models.{tier}.{intent}", intent, intent == "*" or intent in list(Intent),
                           f"is no intent; there are *, {', '.join(Intent)}"))  # fmt: skip
    return checks


def _breaker_checks(settings: Settings) -> list[tuple[str, Any, bool, str]]:
    breaker = settings.execution.breaker
    seconds, whole = "must be seconds between 0.1 and 86400", "must be between 1 and 10000"
    share = "must be a share above 0, and at most 1"
    checks: list[tuple[str, Any, bool, str]] = []
    for names, least, most, mend in (
        (("window", "open_seconds", "probe_seconds", "slow_seconds", "slow_beyond"), 0.1, 86_400, seconds),
        (("min_errors", "connect_errors", "probes"), 1, 10_000, whole),
        (("error_rate", "slow_rate"), 1e-6, 1, share),
        (("slow_factor",), 1, 1_000_000, "must be at least 1"),
        (("max_open_seconds",), breaker.open_seconds, 86_400,
         "must be at least execution.breaker.open_seconds, and at most 86400"),
    ):  # fmt: skip
        for name in names:
            value = getattr(breaker, name)
            checks.append((f"execution.breaker.{name}", value, value is None or least <= value <= most, mend))
    return checks


_DURATION = re.compile(r"-?(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ns|us|ms|s|m|h))+|-?[0-9]{1,9}")
"""A time as Go writes it."""


def _model_checks(settings: Settings) -> list[tuple[str, Any, bool, str]]:
    checks: list[tuple[str, Any, bool, str]] = [
        ("providers.embedded", "…", "embedded" not in settings.providers,
         "is the gateway's own; the embedded models are set up under `embedded`")
    ]  # fmt: skip
    for name, provider in settings.providers.items():
        checks.append((f"providers.{name}.keep_alive", provider.keep_alive,
                       not isinstance(provider.keep_alive, str) or _DURATION.fullmatch(provider.keep_alive) is not None,
                       "must be seconds, or a time such as 30m, 1h30m or -1s"))  # fmt: skip
        for index, model in enumerate(provider.models):
            key, named = f"providers.{name}.models[{index}]", model if isinstance(model, str) else model.name
            checks.append((f"{key}.name", named[:200], 0 < len(named) <= 200 and named.isprintable(),
                           "must be 1 to 200 printable characters"))  # fmt: skip
            checks.append((f"{key}.name", named[:200], provider.model_names.index(named) == index, "stands twice"))
            if isinstance(model, str):
                continue
            unknown = sorted(set(model.capabilities or ()) - CAPABILITIES)
            sums = (model.price.input, model.price.output, model.price.cached_input or 0.0) if model.price else ()
            checks += [
                (f"{key}.capabilities", unknown, not unknown, f"there are {', '.join(sorted(CAPABILITIES))}"),
                (f"{key}.context_window", model.context_window,
                 model.context_window is None or 1 <= model.context_window <= MOST_COUNTED, "must be at least 1 token"),
                (f"{key}.max_output", model.max_output, model.max_output is None
                 or 1 <= model.max_output <= MOST_COUNTED, "must be at least 1 token"),
                (f"{key}.price", sums, all(0 <= one <= MOST_DOLLARS for one in sums),
                 f"must be US dollars between 0 and {MOST_DOLLARS:,} per million tokens"),
                (f"{key}.quality", model.quality, model.quality is None or 0 <= model.quality <= 1,
                 "must be between 0 and 1"),
            ]  # fmt: skip
        for model_name, deployment in provider.deployment_of.items():
            fine = 0 < len(deployment) <= 200 and deployment.isprintable()
            checks.append((f"providers.{name}.deployments.{model_name}", deployment[:200], fine,
                           "must be 1 to 200 printable characters"))  # fmt: skip
    return checks


MOST_DOLLARS = 1_000_000_000


def _limit_checks(settings: Settings) -> list[tuple[str, Any, bool, str]]:
    limits = settings.limits
    limits.tiers = {**built_in_tiers(), **limits.tiers}
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


def _is_pattern(pattern: str) -> bool:
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error:
        return False
    return True
