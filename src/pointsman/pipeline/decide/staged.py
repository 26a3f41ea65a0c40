"""Two policies at once: a candidate takes a share of the decisions, the one that serves takes the others.

Who takes a decision is settled before either ranks: by a hash of the conversation, so that its turns stay with one
policy, or by chance where the conversation cannot be told. The hash is keyed with the candidate's version and counts as
a draw: over conversations it is one, and the prompt has no say in it. What is logged is therefore, for every arm, the
probability under both together,

    p(arm) = share × p_candidate(arm) + (1 − share) × p_serving(arm)

while a decision's `policy` names the one that took it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from pointsman.core.decision import Candidate
from pointsman.core.signals import Signals

from .explore import Allowance
from .network import label
from .policy import Policy
from .predict import Arm


class Turn(NamedTuple):
    """Who takes one decision."""

    policy: Policy
    other: Policy | None = None
    """Who could have taken it; None: nobody else."""
    share: float = 1.0
    """With which probability `policy` takes one."""


class Staged:
    """The policy that serves, with a candidate beside it. Asked as a policy, it is the one that serves."""

    def __init__(
        self, serving: Policy, candidate: Policy, *, share: float, draw: Callable[[], float] = random.random
    ) -> None:
        """
        Args:
            share: of the decisions that go to the candidate, in (0, 1).
            draw: uniform in [0, 1), for decisions whose conversation cannot be told.
        """
        self.serving = serving
        self.candidate = candidate
        self.share = share
        self._draw = draw

    @property
    def version(self) -> str:
        return self.serving.version

    def rank(
        self,
        arms: Sequence[Arm],
        signals: Signals,
        *,
        preferred: frozenset[str] = frozenset(),
        allowance: Allowance | None = None,
    ) -> list[Candidate]:
        return self.serving.rank(arms, signals, preferred=preferred, allowance=allowance)

    def turn(self, conversation: str) -> Turn:
        """Who takes a decision of this conversation; '' where it cannot be told."""
        at = _place(conversation, self.candidate.version) if conversation else self._draw()
        if at < self.share:
            return Turn(self.candidate, self.serving, self.share)
        return Turn(self.serving, self.candidate, 1 - self.share)


def turn_of(policy: Policy, conversation: str) -> Turn:
    """Who takes a decision of this conversation."""
    return policy.turn(conversation) if isinstance(policy, Staged) else Turn(policy)


def mixed(ranked: Sequence[Candidate], other: Sequence[Candidate], share: float) -> list[Candidate]:
    """The candidates as they were ranked, with their propensities under both policies.

    Args:
        other: the same arms as the other policy ranks them.
        share: with which probability the first policy takes a decision.
    """
    theirs = {label(candidate): candidate.propensity for candidate in other}
    return [
        msgspec.structs.replace(
            candidate, propensity=share * candidate.propensity + (1 - share) * theirs.get(label(candidate), 0.0)
        )
        for candidate in ranked
    ]


def _place(conversation: str, salt: str) -> float:
    """Where a conversation falls in [0, 1)."""
    digest = blake2b(conversation.encode(), key=salt.encode()[:64], digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
