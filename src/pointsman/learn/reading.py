"""Reads prompts that lie in tables as the gateway reads those that it is asked."""

from __future__ import annotations

from pointsman.pipeline.understand.ask import find_ask
from pointsman.pipeline.understand.complexity import ComplexityRules, ComplexityScore
from pointsman.pipeline.understand.features import FeatureReader
from pointsman.providers.static_embedding.model import embed_one


class PromptReader:
    """A prompt to its feature vector in the layout of `core.features`."""

    def __init__(self) -> None:
        self._complexity = ComplexityScore(ComplexityRules())
        self._features = FeatureReader(embed_one)

    def __reduce__(self) -> tuple[type[PromptReader], tuple[()]]:
        return PromptReader, ()  # what it has compiled does not travel to other processes

    def __call__(self, prompt: str) -> bytes:
        ask = find_ask(prompt)
        return self._features(ask, self._complexity(ask))
