"""The doubly robust estimate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .bandit import Bandit, Floats
from .reward_model import CrossFitted
from .terms import Terms


def dr(log: Bandit, target: Floats, model: CrossFitted, *, clip: float | None = None) -> Terms:
    """`1/n Σ_i [ Σ_a π(a|x_i) q(x_i, a) + w_i (r_i − q(x_i, a_i)) ]` (Robins, Rotnitzky and Zhao 1994; Dudík, Langford
    and Li 2011): the model's word, corrected by what was seen. With propensities that are known it has no bias however
    wrong the model, and less variance the better it is. The first part is over all decisions, judged or not.

    Args:
        model: fitted on this log, so that what it says of a decision comes from others.
    """
    predicted = model.predicted_
    weights = log.observation * log.weights(target, clip=clip)
    covered = np.where(log.logging > 0, target, 0.0)
    word = np.einsum("nk,nk->n", covered, predicted)
    missed = log.known_rewards - log.taken(predicted)
    terms = Terms.ratio(word, np.ones(len(log))).plus(Terms.ratio(weights * missed, log.observation))
    pull = covered / len(log)
    pull[np.arange(len(log)), log.actions] -= weights / max(log.observation.sum(), 1e-12)
    terms = replace(terms, echo=model.echo(log, pull))
    if log.bounds is None:
        return terms
    heavy, usual, said = log.heavy(target, clip=clip), float(log.observation.mean()), float(word.mean())
    return terms.imagining(*(([said, usual * heavy * (reward - said)], [1.0, usual]) for reward in log.bounds))
