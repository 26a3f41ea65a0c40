"""LinUCB (Li, Chu, Langford and Schapire 2010, arXiv 1003.0146), disjoint: a linear posterior an arm, and the arm that
would be best if its success were a standard deviation better is the one that is tried."""

from __future__ import annotations

from pointsman.pipeline.decide.learned.artefact import LearnedArtefact

from .arms import BayesianArms, Believed


class LinUCB(BayesianArms):
    def __init__(self, *, base: LearnedArtefact, believed: Believed) -> None:
        super().__init__("ucb", base=base, believed=believed)
