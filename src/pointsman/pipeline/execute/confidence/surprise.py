"""What the tokens' log-probabilities say: the mean, the worst stretch, the spread of the alternatives.

The least mean over a window follows the finding that an answer is as good as its weakest part: Fu et al. (2025), "Deep
Think with Confidence", arXiv 2508.15260.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import msgspec

SHORT, LONG = 8, 32
"""Tokens of the windows."""
LEAST = -20.0
"""A log-probability below it is taken for it: some providers say -9999 for what was not among the likeliest."""
DOUBT = math.log(0.5)


class Alternative(msgspec.Struct):
    logprob: float


class TokenLogprob(msgspec.Struct):
    """One token, as OpenAI's `logprobs.content` has it."""

    logprob: float
    top_logprobs: Sequence[Alternative] | None = None


class _Window:
    def __init__(self, width: int) -> None:
        self.worst = 0.0
        """The least mean of a whole window so far; while there is none, the mean of what is there."""
        self._width = width
        self._sum = 0.0
        self._held: deque[float] = deque()

    def add(self, logprob: float) -> None:
        self._held.append(logprob)
        self._sum += logprob
        if len(self._held) > self._width:
            self._sum -= self._held.popleft()
            self.worst = min(self.worst, self._sum / self._width)
        else:
            self.worst = self._sum / len(self._held)


class Surprise:
    """Running figures of the tokens of one answer."""

    def __init__(self) -> None:
        self.tokens = 0
        self._sum = 0.0
        self._doubtful = 0
        self._windows = _Window(SHORT), _Window(LONG)
        self._entropy = 0.0
        self._spread = 0
        """Tokens whose alternatives were told."""

    def add(self, token: TokenLogprob) -> None:
        if math.isnan(token.logprob):
            return
        logprob = min(max(token.logprob, LEAST), 0.0)
        self.tokens += 1
        self._sum += logprob
        self._doubtful += logprob < DOUBT
        for window in self._windows:
            window.add(logprob)
        if token.top_logprobs and len(token.top_logprobs) > 1:
            self._spread += 1
            self._entropy += entropy([one.logprob for one in token.top_logprobs])

    @property
    def mean(self) -> float | None:
        """Nats a token."""
        return self._sum / self.tokens if self.tokens else None

    @property
    def worst_short(self) -> float | None:
        """The least mean over `SHORT` tokens in a row."""
        return self._windows[0].worst if self.tokens else None

    @property
    def worst_long(self) -> float | None:
        return self._windows[1].worst if self.tokens else None

    @property
    def doubtful(self) -> float | None:
        """Share of tokens that had less than even odds."""
        return self._doubtful / self.tokens if self.tokens else None

    @property
    def entropy(self) -> float | None:
        """Mean over the tokens in nats; None where too few alternatives were told."""
        return self._entropy / self._spread if self._spread else None


def entropy(logprobs: Sequence[float]) -> float:
    """Of the alternatives that were told, and of the rest as if it were one more: a lower bound, in nats."""
    chances = [math.exp(min(logprob, 0.0)) for logprob in logprobs if logprob > LEAST]
    chances.append(max(1.0 - sum(chances), 0.0))
    return -sum(chance * math.log(chance) for chance in chances if chance > 0)
