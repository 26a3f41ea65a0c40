"""Attempts at models: the only stage that calls them."""

from .plan import Execute

__all__ = ["Execute"]
