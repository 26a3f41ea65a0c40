"""Candidates, constraints, predictions and a policy make a Decision."""

from .artefact import dump_policy, kind_of, load_policy
from .explain import header_reason
from .explore import Explorer
from .learned.policy import LearnedPolicy
from .names import is_auto
from .policy import Policy, RulePolicy
from .refuse import refuse_model
from .rules import DecideRules
from .stage import Decide

__all__ = [
    "Decide",
    "DecideRules",
    "Explorer",
    "LearnedPolicy",
    "Policy",
    "RulePolicy",
    "dump_policy",
    "header_reason",
    "is_auto",
    "kind_of",
    "load_policy",
    "refuse_model",
]
