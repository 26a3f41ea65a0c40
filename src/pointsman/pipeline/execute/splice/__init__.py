"""What is left to be done when a model breaks off in the middle of its answer."""

from .splice import Splice

__all__ = ["Splice"]
