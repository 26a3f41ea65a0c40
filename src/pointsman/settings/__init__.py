"""Every setting, and the only reader of the environment."""

from .checks import is_loopback
from .conversion import kind_of
from .environment import (
    ENVIRONMENT,
    NOT_USED_YET,
    child_environment,
    environment_value,
    unknown_environment,
    unused_environment,
)
from .load import Source, config_path, load, providers_path
from .provider_schema import ModelSettings, Price, ProviderSettings
from .providers_file import NAME as PROVIDERS_NAME
from .providers_file import read as read_providers
from .schema import BudgetCap, Server, Settings
from .section import Secret, Section

__all__ = [
    "ENVIRONMENT",
    "NOT_USED_YET",
    "PROVIDERS_NAME",
    "BudgetCap",
    "ModelSettings",
    "Price",
    "ProviderSettings",
    "Secret",
    "Section",
    "Server",
    "Settings",
    "Source",
    "child_environment",
    "config_path",
    "environment_value",
    "is_loopback",
    "kind_of",
    "load",
    "providers_path",
    "read_providers",
    "unknown_environment",
    "unused_environment",
]
