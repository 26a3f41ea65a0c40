"""Linear Thompson sampling (Thompson 1933; Agrawal and Goyal 2013, arXiv 1209.3352): a linear posterior an arm, and
each arm is tried as often as it is likely to be the best."""

from __future__ import annotations

from pointsman.pipeline.decide.learned.artefact import LearnedArtefact

from .arms import BayesianArms, Believed


class Thompson(BayesianArms):
    def __init__(self, *, base: LearnedArtefact, believed: Believed) -> None:
        super().__init__("thompson", base=base, believed=believed)
