"""Every setting, and the only reader of the environment."""

from .checks import is_loopback
from .load import (
    ENVIRONMENT,
    NOT_USED_YET,
    Source,
    child_environment,
    config_path,
    environment_value,
    kind_of,
    load,
    providers_path,
    unknown_environment,
    unused_environment,
)
from .providers_file import NAME as PROVIDERS_NAME
from .providers_file import read as read_providers
from .schema import BudgetCap, ModelSettings, Price, ProviderSettings, Secret, Section, Server, Settings

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
