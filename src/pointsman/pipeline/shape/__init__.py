"""The request, shaped for the models that will see it."""

from .defaults import Defaults

__all__ = ["Defaults"]
