"""Attempts at models: the only stage that calls them."""

from .cascade import Escalation
from .hedge import Hedging
from .order import Retries
from .stage import Execute, ExecutionRules

__all__ = ["Escalation", "Execute", "ExecutionRules", "Hedging", "Retries"]
