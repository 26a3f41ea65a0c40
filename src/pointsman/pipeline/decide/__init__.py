"""Candidates, constraints, predictions and a policy make a Decision."""

from .explain import header_reason
from .policy import Policy, RulePolicy
from .stage import Decide, DecideRules

__all__ = ["Decide", "DecideRules", "Policy", "RulePolicy", "header_reason"]
