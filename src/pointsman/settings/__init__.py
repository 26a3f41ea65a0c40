"""Every setting, and the only reader of the environment."""

from .checks import is_loopback
from .load import (
    ENVIRONMENT,
    NOT_USED_YET,
    child_environment,
    config_path,
    environment_value,
    kind_of,
    load,
    unknown_environment,
    unused_environment,
)
from .schema import BudgetCap, Price, ProviderSettings, Secret, Section, Server, Settings

__all__ = [
    "ENVIRONMENT",
    "NOT_USED_YET",
    "BudgetCap",
    "Price",
    "ProviderSettings",
    "Secret",
    "Section",
    "Server",
    "Settings",
    "child_environment",
    "config_path",
    "environment_value",
    "is_loopback",
    "kind_of",
    "load",
    "unknown_environment",
    "unused_environment",
]
