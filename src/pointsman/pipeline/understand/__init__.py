"""What a request is about, before anything is decided: intent, complexity, privacy, needs, conversation."""

from .complexity import ComplexityRules
from .people import People
from .privacy import PrivacyRules
from .stage import NOT_TEXT, Understand

__all__ = ["NOT_TEXT", "ComplexityRules", "People", "PrivacyRules", "Understand"]
