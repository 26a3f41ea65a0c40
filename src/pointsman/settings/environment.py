"""The environment: which of its names are settings, and what of it child processes get."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

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
    ("FORCE_DEV_MODE", "routing.development.enabled"),
    ("DEV_MODE_TOKEN_LIMIT", "routing.development.cloud_tokens_per_day"),
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
    "ENABLE_CACHING", "CACHE_TTL", "ENABLE_PARALLEL_PROCESSING", "MAX_PARALLEL_REQUESTS",
    "ENABLE_BATCHING", "MAX_BATCH_SIZE", "TOKEN_BUDGET", "ENABLE_TOKEN_OPTIMIZATION",
    "ENABLE_METRICS", "METRICS_PORT", "ENABLE_TRACING", "SENTRY_DSN",
)  # fmt: skip
"""Names that such systems have and this version does not act on. `doctor` says so where one is set."""


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
