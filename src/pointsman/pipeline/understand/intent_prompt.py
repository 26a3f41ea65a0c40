"""The intent as the next word of a list: what small models can do that cannot keep to a chat's form.

A model that completes plain text sees messages filed under words, and its probabilities of the word that follows the
last one are read (Brown et al. 2020, "Language Models are Few-Shot Learners"): one token is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pointsman.core.signals import Intent

from .ask import find_ask

FIRST, LAST = 400, 200
"""Characters of an ask's beginning and end that are shown: a small model on a processor reads some 300 a second."""
TOP = 5
"""Next words whose probabilities are asked for: what OpenAI's completions give at most."""
LEAST_SHARE = 0.5
"""Of the probability of all words that stand for an intent, what the likeliest must have."""
SHORTEST = 2
"""Letters of a token that may stand for the word that it begins."""

WORDS: Mapping[str, Intent] = {
    "programming": Intent.COMPLETION,
    "debugging": Intent.ERROR_ANALYSIS,
    "refactoring": Intent.REFACTORING,
    "explanation": Intent.EXPLANATION,
    "testing": Intent.TESTS,
    "review": Intent.REVIEW,
    "writing": Intent.CREATIVE,
    "math": Intent.MATH,
    "puzzle": Intent.REASONING,
    "summary": Intent.SUMMARIZATION,
    "chat": Intent.CONVERSATION,
    "other": Intent.GENERAL,
}
"""Told apart by their first token, whatever the tokenizer."""
_FILED = (
    ("What is a monad?", "explanation"),
    ("best pizza in town", "other"),
    ("Add unit tests for the parser", "testing"),
    ("Clean up this class and remove the duplication", "refactoring"),
    ("hi, how are you?", "chat"),
    ("It crashes with TypeError: x is None, what is wrong?", "debugging"),
    ("Any problems in this diff?", "review"),
    ("Solve x^2 = 5x", "math"),
    ("Write a poem about the sea", "writing"),
    ("Implement a login page in React", "programming"),
    ("Should we rent or buy? Weigh both sides", "puzzle"),
    ("Give me the main points of this article", "summary"),
    ("this loop never ends, please debug it", "debugging"),
    ("thank you so much!", "chat"),
    ("How does garbage collection work?", "explanation"),
    ("Write a Python function that parses a date", "programming"),
    ("What is 17 % of 340?", "math"),
    ("Shorten this text to two sentences", "summary"),
    ("Make this query faster", "refactoring"),
    ("asdf", "other"),
    ("If all cats are grey, is Tom grey? Think it through", "puzzle"),
    ("Look over my pull request and judge it", "review"),
    ("write pytest cases for add()", "testing"),
    ("Invent a name for a café", "writing"),
)
_HEAD = f"Kinds of messages: {', '.join(WORDS)}.\n\n" + "".join(
    f"Message: {message}\nFiled under: {word}\n\n" for message, word in _FILED
)


def shown(text: str) -> str:
    """What a model is shown of a user's turn: the ask, without words to the router, its beginning and its end."""
    ask = find_ask(text)
    told = f"{ask.prose}\n{ask.code}".strip()
    return told if len(told) <= FIRST + LAST else f"{told[:FIRST]} … {told[-LAST:]}"


def prompt(message: str) -> str:
    """The list with the message at its end. The beginning is always the same, so that a model need read it once."""
    return f"{_HEAD}Message: {' '.join(message.split())}\nFiled under:"


def read(next_words: Mapping[str, float]) -> Intent | None:
    """The intent that the next word stands for; None where none is likely enough.

    Args:
        next_words: token → natural logarithm of its probability.
    """
    chances: dict[Intent, float] = {}
    for token, logarithm in next_words.items():
        start = token.strip().casefold()
        meant = [intent for word, intent in WORDS.items() if len(start) >= SHORTEST and word.startswith(start)]
        if len(meant) == 1 and logarithm <= 0:
            chances[meant[0]] = chances.get(meant[0], 0.0) + math.exp(logarithm)
    best = max(chances, key=chances.__getitem__, default=None)
    return best if best is not None and chances[best] >= LEAST_SHARE * sum(chances.values()) else None
