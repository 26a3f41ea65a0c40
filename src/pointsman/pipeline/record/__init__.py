"""What is remembered of a request."""

from .meter import Record

__all__ = ["Record"]
