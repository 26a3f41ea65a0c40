"""Who may ask."""

from .access import Access

__all__ = ["Access"]
