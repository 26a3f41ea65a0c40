"""Attempts at models: the only stage that calls them."""

from .order import Retries
from .stage import Execute

__all__ = ["Execute", "Retries"]
