"""How well a step's outputs match those of an example: a score in [0, 1], and a sentence that an optimiser can read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

MetricName = Literal["label", "text", "lines"]

NONE = "none"
"""What a step with lines for an output says when there is nothing to list."""
_rewards = msgspec.json.Decoder(dict[str, float])
_WORD = re.compile(r"\w+")
_MARK = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s*")
_ALIKE = 0.6
"""Overlap of words from which two lines say the same. Judgement."""


class Scored(NamedTuple):
    score: float
    feedback: str


Texts = Mapping[str, str]
Metric = Callable[[Sequence[str], Texts, Texts], Scored]
"""Names of the outputs that count (the first above all), what the example says, what the step said."""


def label(outputs: Sequence[str], wanted: Texts, said: Texts) -> Scored:
    """1 when the first output is the example's, letter case aside; else 0."""
    name = outputs[0]
    right, got = wanted[name].strip(), said.get(name, "").strip()
    if right.casefold() == got.casefold():
        return Scored(1.0, f"The {name} {right!r} is right.")
    return Scored(0.0, f"The {name} should have been {right!r}, not {got!r}.")


def text(outputs: Sequence[str], wanted: Texts, said: Texts) -> Scored:
    """The F1 of the words that the first output shares with the example's (as SQuAD scores answers, Rajpurkar and
    others, 2016)."""
    name = outputs[0]
    score = overlap(wanted[name], said.get(name, ""))
    if score == 1.0:
        return Scored(1.0, f"The {name} has the words of the reference.")
    missing = sorted(_words(wanted[name]).keys() - _words(said.get(name, "")).keys())[:12]
    spare = sorted(_words(said.get(name, "")).keys() - _words(wanted[name]).keys())[:12]
    told = f"The {name} shares {score:.0%} of its words with the reference {wanted[name]!r}."
    told += f" It lacks: {', '.join(missing)}." if missing else ""
    return Scored(score, told + (f" It need not say: {', '.join(spare)}." if spare else ""))


def lines(outputs: Sequence[str], wanted: Texts, said: Texts) -> Scored:
    """The F1 of the lines of the first output: a line counts when one of the example's, each used once, shares at
    least `_ALIKE` of the words with it."""
    name = outputs[0]
    right, got = _lines(wanted[name]), _lines(said.get(name, ""))
    if not right and not got:
        return Scored(1.0, "There is nothing to list, and it listed nothing.")
    left, spare = list(right), []
    for line in got:
        best = max(left, key=lambda other: overlap(other, line), default=None)
        if best is not None and overlap(best, line) >= _ALIKE:
            left.remove(best)
        else:
            spare.append(line)
    score = 2 * (len(got) - len(spare)) / (len(got) + len(right))
    told = [f"{len(right) - len(left)} of {len(right)} lines of {name} are there."]
    if left:
        told.append(f"Missing: {'; '.join(left)}.")
    if spare:
        told.append(f"Not wanted: {'; '.join(spare)}.")
    return Scored(score, " ".join(told))


METRICS: Mapping[MetricName, Metric] = {"label": label, "text": text, "lines": lines}


def reward(example: Texts, model: str) -> Scored:
    """What the choice of a model was worth, and how that stands to the others."""
    rewards = _rewards.decode(example["rewards"])
    best = max(rewards, key=lambda name: rewards[name])
    got = rewards.get(model, 0.0)
    told = f"The intent led to {model}, which was worth {got:.3f}; {best} would have been worth {rewards[best]:.3f}."
    return Scored(got, told)


def overlap(one: str, other: str) -> float:
    """The F1 of the words that two texts share, in [0, 1]; 1 for two empty ones."""
    first, second = _words(one), _words(other)
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 1.0


def _words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(text.casefold()))


def _lines(text: str) -> list[str]:
    found = [_MARK.sub("", line).strip() for line in text.splitlines()]
    return [line for line in found if line and line.strip(".").casefold() != NONE]
