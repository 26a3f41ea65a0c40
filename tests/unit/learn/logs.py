"""Logs of a made-up gateway with known truths: two models, one cheap and worse, one dear and better."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pointsman.core.decision import Candidate, Decision, new_decision_id
from pointsman.core.outcome import Attempt, Feedback, Outcome
from pointsman.core.signals import Complexity, Conversation, Intent, Needs, Privacy, Signals
from pointsman.stores.learning_log import LoggedRow
from pointsman.stores.rows import decision_row, outcome_row

CHEAP, DEAR = "openai:gpt-4o-mini", "openai:gpt-4o"
START = 1_700_000_000.0


def signals(**changes: object) -> Signals:
    fields = {
        "intent": Intent.EXPLANATION,
        "complexity": Complexity(score=0.4, length=0.2, terms=0.3, structure=0.5),
        "privacy": Privacy(),
        "needs": Needs(prompt_tokens_low=900, prompt_tokens=1000, prompt_tokens_high=1100, expected_output=200),
        "conversation": Conversation(),
    }
    return Signals(**{**fields, **changes})


def decision(
    rng: np.random.Generator,
    *,
    at: float = START,
    dear: float = 0.3,
    models: tuple[str, str] = (CHEAP, DEAR),
    **changes: object,
) -> Decision:
    """One of two models, the dear one with a probability of `dear`."""
    chances = (1 - dear, dear)
    picked = int(rng.random() < dear)
    candidates = tuple(
        Candidate(
            model=model, quality=quality, cost_micro_usd=cost, latency_seconds=seconds, utility=quality,
            propensity=chance,
        )
        for model, quality, cost, seconds, chance in zip(
            models, (0.6, 0.8), (300, 5_000), (2.0, 4.0), chances, strict=True
        )
    )  # fmt: skip
    fields: dict[str, object] = {
        "id": new_decision_id(at),
        "created_at": at,
        "model": models[picked],
        "plan": (models[picked], models[1 - picked]),
        "mode": "auto",
        "requested_model": "auto",
        "candidates": candidates,
        "dropped": (),
        "propensity": chances[picked],
        "policy": "learned@1",
        "reasons": (),
        "signals": signals(),
        "estimated_cost_micro_usd": candidates[picked].cost_micro_usd,
    }
    return Decision(**{**fields, **changes})


def outcome(model: str, rng: np.random.Generator, *, tokens: int | None = 200, **changes: object) -> Outcome:
    """An answer; the dear model writes twice as much, and costs 17 times as much a token."""
    dear = model == DEAR
    cost = (5_500, 330)[not dear] + int(rng.integers(0, 20))
    fields: dict[str, object] = {
        "status": "ok",
        "model": model,
        "prompt_tokens": 1000,
        "completion_tokens": None if tokens is None else tokens * (1 + dear),
        "cached_tokens": 0,
        "cost_micro_usd": cost,
        "seconds": 4.0 + float(rng.random()) if dear else 2.0 + float(rng.random()),
        "attempts": [Attempt(model=model, started_at=START, cost_micro_usd=cost)],
    }
    return Outcome(**{**fields, **changes})


def log(
    count: int, seed: int = 0, *, judged: float = 1.0, **changes: object
) -> Iterator[tuple[Decision, Outcome, Feedback | None]]:
    """Decisions a second apart, two to a conversation, that succeed in 60 % on the cheap model and 90 % on the dear."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        taken = decision(rng, at=START + number, conversation=f"c{number // 2}", **changes)
        good = rng.random() < (0.9 if taken.model == DEAR else 0.6)
        said = rng.random() < judged
        feedback = Feedback(decision_id=taken.id, thumb="up" if good else "down", created_at=taken.created_at)
        yield taken, outcome(taken.model, rng), feedback if said else None


def row(taken: Decision, ended: Outcome | None, feedback: Feedback | None, weight: float = 1.0) -> LoggedRow:
    """As the store would read them."""
    from pointsman.stores.rows import DECISION_COLUMNS, OUTCOME_COLUMNS

    columns = dict(zip(DECISION_COLUMNS, decision_row(taken), strict=True)) | dict.fromkeys(OUTCOME_COLUMNS)
    if ended is not None:
        columns |= dict(zip(OUTCOME_COLUMNS, outcome_row(taken.id, ended), strict=False))
    told = {"success": None, "weight": None, "source": None}
    if feedback is not None:
        told = {"success": float(feedback.thumb == "up"), "weight": weight, "source": "feedback"}
    return LoggedRow(**{name: (columns | told)[name] for name in LoggedRow._fields})
