"""What the log says of past requests for sums, on every back end."""

from __future__ import annotations

import msgspec

from pointsman.core.outcome import Feedback
from pointsman.core.ports import DecisionLog
from pointsman.pipeline.record.figures import savings

from .entries import decision, outcome


async def test_a_figure_says_what_was_logged(log: DecisionLog):
    chosen, ended = decision(), outcome()
    log.decided(chosen, prompt=None)
    log.ended(chosen.id, ended)
    said = Feedback(decision_id=chosen.id, score=0.25, thumb="down", outcome="success", created_at=1.5)
    await log.feedback(said)
    [figure] = await log.figures(since=chosen.created_at, most=10)
    for name in ("status", "prompt_tokens", "completion_tokens", "cached_tokens", "cost_micro_usd", "seconds",
                 "first_byte_seconds"):  # fmt: skip
        assert getattr(figure, name) == getattr(ended, name)
    assert (figure.model, figure.answered_by) == (chosen.model, ended.model)
    assert (figure.mode, figure.intent, figure.stream) == ("hint", "refactoring", True)
    assert (figure.feedback, figure.judged) == (said, True)
    assert figure.candidates is None


async def test_the_latest_come_first_and_the_old_are_left_out(log: DecisionLog):
    made = [decision() for _ in range(5)]
    for one in made:
        log.decided(one, prompt=None)
    found = await log.figures(since=made[1].created_at, most=3)
    assert [figure.created_at for figure in found] == [one.created_at for one in reversed(made[2:])]
    assert all(figure.status is None and figure.judged is None for figure in found)
    assert len(await log.figures(since=made[1].created_at, most=100)) == 4
    assert await log.figures(since=made[-1].created_at + 1, most=100) == []


async def test_candidates_come_when_they_are_asked_for(log: DecisionLog):
    chosen = decision()
    priced = [
        msgspec.structs.replace(one, cost_micro_usd=cost) for one, cost in zip(chosen.candidates, (2, 9), strict=True)
    ]
    log.decided(msgspec.structs.replace(chosen, candidates=tuple(priced)), prompt=None)
    log.ended(chosen.id, outcome(model="lan:small"))
    found = savings(await log.figures(since=0, most=10, candidates=True))
    assert found is not None
    assert (found.micro_usd, found.baseline_micro_usd, found.decisions) == (7, 9, 1)
