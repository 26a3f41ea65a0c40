"""Pools of servers of the same kind: Ollamas, or servers that speak OpenAI's chat such as vLLM."""

from .instance import Instance
from .look import OllamaLook, OpenAILook
from .pool import Pool

__all__ = ["Instance", "OllamaLook", "OpenAILook", "Pool"]
