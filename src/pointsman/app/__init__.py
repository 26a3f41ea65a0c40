"""Builds every concrete object once, from the settings. The only package that names implementations."""

from .gateway import Gateway, run
from .providers import build_providers

__all__ = ["Gateway", "build_providers", "run"]
