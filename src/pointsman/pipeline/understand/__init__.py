"""What a request is about, before anything is decided: intent, complexity, privacy, needs, conversation."""

from .allow import AllowPatterns
from .beside import NOT_TEXT
from .complexity import ComplexityRules
from .features import FeatureReader
from .people import People
from .privacy import PrivacyRules
from .stage import Understand

__all__ = ["NOT_TEXT", "AllowPatterns", "ComplexityRules", "FeatureReader", "People", "PrivacyRules", "Understand"]
