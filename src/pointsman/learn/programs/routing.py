"""Full-information tables as examples of routing: what each model was worth for each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import InvalidRequest
from pointsman.core.reward import RewardWeights
from pointsman.learn.reading import PromptReader
from pointsman.learn.table import Table, read_table
from pointsman.learn.trainers.tables import signals_of
from pointsman.providers.cards import card_for, fact_for

from .examples import Example

EXPECTED_OUTPUT = 256
"""Tokens of an answer where signals do not say: what a table's mean cost is spread over."""


def routing_examples(path: Path, weights: RewardWeights) -> tuple[list[Example], tuple[ModelCard, ...]]:
    """The prompts that every model of a table answered, and the models' cards.

    A prompt's reward under a model is its score less `weights.cost_factor` times its cost in dollars.

    Raises:
        InvalidRequest: the file is no such table, or no prompt was answered by every model.
        OSError: it cannot be read.
    """
    table = read_table(path)
    table = table.rows(table.complete)
    if not len(table) or len(table.models) < 2:
        raise InvalidRequest(f"{path.name} has no prompt that two or more models answered.")
    cards = tuple(_card(table, column) for column in range(len(table.models)))
    read = PromptReader()
    rewards = table.scores - weights.cost_factor * np.nan_to_num(table.costs)
    examples = []
    for row, prompt in enumerate(table.prompts):
        worth = {card.id: float(value) for card, value in zip(cards, rewards[row], strict=True)}
        values = {
            "message": prompt,
            "signals": msgspec.json.encode(signals_of(prompt, read(prompt))).decode(),
            "rewards": msgspec.json.encode(worth).decode(),
        }
        examples.append(Example(values=values, group=table.groups[row]))
    return examples, cards


def _card(table: Table, column: int) -> ModelCard:
    """A model's card by its name; of an unknown model the table's means stand for quality and cost."""
    provider, colon, name = table.models[column].rpartition(":")
    card = card_for(provider if colon else "table", name, local=False)
    card = msgspec.structs.replace(card, routable=True)
    if fact_for(name) is not None:
        return card
    costs: Sequence[float] = [float(cost) for cost in table.costs[:, column] if not np.isnan(cost)]
    micro = 1e6 * sum(costs) / len(costs) if costs else 0.0
    return msgspec.structs.replace(
        card,
        quality=float(table.scores[:, column].mean()),
        price_input=0,
        price_output=round(micro * 1e6 / EXPECTED_OUTPUT),
    )
