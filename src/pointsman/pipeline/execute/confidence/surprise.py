"""What the tokens' log-probabilities say: the sum, the mean, the worst stretch, the spread of the alternatives.

The least mean over a window follows the finding that an answer is as good as its weakest part: Fu et al. (2025), "Deep
Think with Confidence", arXiv 2508.15260. Of code, comments and docstrings are left out: models repeat the task there
word for word, and are sure of it whatever the code is worth.
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
    token: str = ""
    top_logprobs: Sequence[Alternative] | None = None


class Stretch(msgspec.Struct, frozen=True, gc=False):
    """Some of the tokens."""

    total: float
    """Sum of their log-probabilities."""
    worst: float
    """The least mean over `SHORT` of them in a row."""


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
        self._logprobs: list[float] = []
        self._ends: list[int] = []
        """Where each token ends, in characters of what the tokens say."""
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
        self._logprobs.append(logprob)
        self._ends.append((self._ends[-1] if self._ends else 0) + len(token.token))
        self._sum += logprob
        self._doubtful += logprob < DOUBT
        for window in self._windows:
            window.add(logprob)
        if token.top_logprobs and len(token.top_logprobs) > 1:
            self._spread += 1
            self._entropy += entropy([one.logprob for one in token.top_logprobs])

    def within(self, spans: Sequence[tuple[int, int]]) -> Stretch | None:
        """Of the tokens whose middle lies within spans of the text, which rise and do not overlap; None: too few do."""
        window, total, count, at, begin = _Window(SHORT), 0.0, 0, 0, 0
        for logprob, end in zip(self._logprobs, self._ends, strict=True):
            middle, begin = (begin + end) / 2, end
            while at < len(spans) and spans[at][1] <= middle:
                at += 1
            if at == len(spans):
                break
            if middle >= spans[at][0]:
                window.add(logprob)
                total, count = total + logprob, count + 1
        return Stretch(total, window.worst) if count >= SHORT // 2 else None

    @property
    def total(self) -> float | None:
        """The log-probability of the whole, in nats."""
        return self._sum if self.tokens else None

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
