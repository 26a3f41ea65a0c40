"""Who may ask."""

from .access import Access, Sessions
from .keys import KeyDirectory

__all__ = ["Access", "KeyDirectory", "Sessions"]
