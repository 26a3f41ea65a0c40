"""Builds every concrete object once, from the settings. The only package that names implementations."""

from .gateway import Gateway
from .providers import build_providers
from .serving import run

__all__ = ["Gateway", "build_providers", "run"]
