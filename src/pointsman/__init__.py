"""Pointsman: one OpenAI-compatible endpoint in front of local and cloud models."""

__version__ = "0.1.0"
