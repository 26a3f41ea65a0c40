"""What a request is about, before anything is decided: intent, complexity, privacy, needs, conversation."""

from .complexity import ComplexityRules
from .privacy import PrivacyRules
from .stage import Understand

__all__ = ["ComplexityRules", "PrivacyRules", "Understand"]
