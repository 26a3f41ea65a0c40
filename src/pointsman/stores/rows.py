"""Decisions, outcomes and feedback as rows, and rows as the records that readers get."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from pointsman.core.decision import Candidate, Decision
from pointsman.core.figures import Figure
from pointsman.core.outcome import Attempt, Feedback, Outcome
from pointsman.core.signals import Signals
from pointsman.core.whole import whole

Row = tuple[Any, ...]

_encoder = msgspec.json.Encoder()

DECISION_COLUMNS = (
    "id", "created_at", "key_id", "requested_model", "model", "mode", "policy", "propensity",
    "estimated_cost_micro_usd", "stream", "intent", "intent_confidence", "complexity", "priority", "privacy_level",
    "privacy_classes", "local_only", "needs_tools", "needs_vision", "estimated_prompt_tokens", "turn", "prompt_hash",
    "plan", "candidates", "dropped", "reasons", "signals", "explored", "conversation", "effort",
)  # fmt: skip
OUTCOME_COLUMNS = (
    "status", "answered_by", "error", "http_status", "prompt_tokens", "completion_tokens", "cached_tokens",
    "cost_micro_usd", "first_byte_seconds", "seconds", "finish_reason", "answer_id", "attempts",
)  # fmt: skip
FEEDBACK_COLUMNS = (
    "decision_id", "score", "thumb", "outcome", "tests_passed", "tests_failed", "edit_accepted", "edit_kept_share",
    "comment", "created_at",
)  # fmt: skip

INSERT_PROMPT = "INSERT INTO prompts VALUES ($1, $2) ON CONFLICT (decision_id) DO NOTHING"
UPSERT_FEEDBACK = (
    f"INSERT INTO feedback ({', '.join(FEEDBACK_COLUMNS)})"  # noqa: S608 - our own names
    f" VALUES ({', '.join(f'${place}' for place in range(1, len(FEEDBACK_COLUMNS) + 1))}) ON CONFLICT (decision_id)"
    f" DO UPDATE SET {', '.join(f'{name} = ${place}' for place, name in enumerate(FEEDBACK_COLUMNS[1:], 2))}"
)
# A commit that was reported as failed may have gone through all the same, and is then written again.
INSERT_DECISION = (
    f"INSERT INTO decisions ({', '.join(DECISION_COLUMNS)})"  # noqa: S608 - our own names
    f" VALUES ({', '.join(f'${place}' for place in range(1, len(DECISION_COLUMNS) + 1))}) ON CONFLICT (id) DO NOTHING"
)
UPDATE_OUTCOME = (
    f"UPDATE decisions SET {', '.join(f'{name} = ${place}' for place, name in enumerate(OUTCOME_COLUMNS, 1))}"  # noqa: S608
    f" WHERE id = ${len(OUTCOME_COLUMNS) + 1}"
)
SELECT = (
    f"SELECT {', '.join(f'd.{name}' for name in DECISION_COLUMNS + OUTCOME_COLUMNS)},"  # noqa: S608
    f" {', '.join(f'f.{name}' for name in FEEDBACK_COLUMNS)}"
    " FROM decisions d LEFT JOIN feedback f ON f.decision_id = d.id"
)


# OR FAIL: of a statement that fails the rows before the failure stay, and are written again with the others. OR ABORT,
# which is what goes without saying, would keep a copy of every page that a statement of many rows touches in a
# temporary file, to take them back.


@cache
def insert_decisions(count: int) -> str:
    """A statement that inserts `count` decision rows into SQLite."""
    return (
        f"INSERT OR FAIL INTO decisions ({', '.join(DECISION_COLUMNS)}) VALUES {_values(count, len(DECISION_COLUMNS))}"  # noqa: S608 - our own names
        " ON CONFLICT (id) DO NOTHING"
    )


@cache
def insert_whole(count: int) -> str:
    """A statement that inserts `count` decision rows with their outcomes into SQLite. One that is there already gets
    its outcome."""
    columns = DECISION_COLUMNS + OUTCOME_COLUMNS
    return (
        f"INSERT OR FAIL INTO decisions ({', '.join(columns)}) VALUES {_values(count, len(columns))}"  # noqa: S608 - our own names
        f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in OUTCOME_COLUMNS)}"
    )


@cache
def update_outcomes(count: int) -> str:
    """A statement that writes `count` outcome rows in SQLite."""
    assignments = ", ".join(f"{name} = v.column{index}" for index, name in enumerate(OUTCOME_COLUMNS, 1))
    last = len(OUTCOME_COLUMNS) + 1
    return (
        f"UPDATE decisions SET {assignments} FROM (VALUES {_values(count, last)}) AS v"  # noqa: S608
        f" WHERE decisions.id = v.column{last}"
    )


def _values(count: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return ", ".join([row] * count)


def decision_row(decision: Decision) -> Row:
    """The values of `INSERT_DECISION`, or of one row of `insert_decisions`; those of `insert_whole` go on with the
    outcome's."""
    signals = decision.signals
    return (  # no bool or enumeration: for each SQLite's driver looks for an adapter, ten times as long as it binds
        decision.id,
        decision.created_at,
        decision.key_id,
        decision.requested_model,
        decision.model,
        decision.mode,
        decision.policy,
        decision.propensity,
        decision.estimated_cost_micro_usd,
        int(decision.stream),
        signals.intent.value,
        signals.intent_confidence,
        signals.complexity.score,
        signals.priority,
        signals.privacy.level,
        _json(signals.privacy.classes),
        int(signals.privacy.local_only),
        int(signals.needs.tools),
        int(signals.needs.vision),
        signals.needs.prompt_tokens,
        signals.conversation.turn,
        signals.prompt_hash,
        _json(decision.plan),
        _json(decision.candidates),
        _json(decision.dropped),
        _json(decision.reasons),
        _json(signals),
        int(decision.explored),
        decision.conversation,
        decision.effort,
    )


def outcome_row(decision_id: str, outcome: Outcome) -> Row:
    """The values of `UPDATE_OUTCOME`, or of one row of `update_outcomes`."""
    return (*_ended(outcome), decision_id)


def whole_row(decision: Decision, outcome: Outcome) -> Row:
    """The values of one row of `insert_whole`."""
    return decision_row(decision) + _ended(outcome)


def _ended(outcome: Outcome) -> Row:
    return (
        outcome.status,
        outcome.model,
        outcome.error,
        outcome.http_status,
        outcome.prompt_tokens,
        outcome.completion_tokens,
        outcome.cached_tokens,
        outcome.cost_micro_usd,
        outcome.first_byte_seconds,
        outcome.seconds,
        outcome.finish_reason,
        outcome.answer_id,
        _json(outcome.attempts),
    )


def feedback_row(feedback: Feedback) -> Row:
    """The values of `UPSERT_FEEDBACK`."""
    tests, edit = feedback.tests, feedback.edit
    return (
        feedback.decision_id,
        feedback.score,
        feedback.thumb,
        feedback.outcome,
        tests and tests.passed,
        tests and tests.failed,
        None if edit is None else int(edit.accepted),
        edit and edit.kept_share,
        feedback.comment,
        feedback.created_at,
    )


def _feedback(row: Row) -> dict[str, Any] | None:
    """What a row of `FEEDBACK_COLUMNS` says, as plain JSON values; None for one of nothing."""
    values = dict(zip(FEEDBACK_COLUMNS, row, strict=True))
    if values["decision_id"] is None:
        return None
    passed, failed = values.pop("tests_passed"), values.pop("tests_failed")
    accepted, kept = values.pop("edit_accepted"), values.pop("edit_kept_share")
    values["tests"] = None if passed is None else {"passed": passed, "failed": failed}
    values["edit"] = None if accepted is None else {"accepted": bool(accepted), "kept_share": kept}
    return values


def record(row: Row) -> dict[str, Any]:
    """What a row of `SELECT` says: `decision`, `outcome` and `feedback`, as plain JSON values."""
    columns = dict(zip(DECISION_COLUMNS + OUTCOME_COLUMNS, row, strict=False))
    feedback = _feedback(row[len(columns) :])
    decision = {
        name: columns[name]
        for name in ("id", "created_at", "model", "mode", "requested_model", "propensity", "policy",
                     "estimated_cost_micro_usd", "key_id", "conversation", "effort")
    }  # fmt: skip
    for name in ("stream", "explored"):
        decision[name] = bool(columns[name])
    for name in ("plan", "dropped", "reasons"):
        decision[name] = msgspec.json.decode(columns[name])
    decision["candidates"] = [whole(Candidate, one) for one in msgspec.json.decode(columns["candidates"])]
    decision["signals"] = whole(Signals, msgspec.json.decode(columns["signals"]))
    outcome = None
    if columns["status"] is not None:
        outcome = {name: columns[name] for name in OUTCOME_COLUMNS if name not in ("answered_by", "attempts")}
        outcome["model"] = columns["answered_by"]
        outcome["attempts"] = [whole(Attempt, one) for one in msgspec.json.decode(columns["attempts"])]
    return {
        "decision": decision,
        "outcome": outcome,
        "feedback": feedback,
    }


FIGURE_COLUMNS = (
    "created_at", "model", "mode", "intent", "stream", "status", "answered_by", "prompt_tokens", "completion_tokens",
    "cached_tokens", "cost_micro_usd", "first_byte_seconds", "seconds", "conversation",
)  # fmt: skip


@cache
def select_figures(*, candidates: bool) -> str:
    """The latest requests as `figure` reads them. The candidates are most of a row, and left out unless asked for."""
    columns = [f"d.{name}" for name in FIGURE_COLUMNS]
    columns.append("d.candidates" if candidates else "NULL")
    columns += [f"f.{name}" for name in FEEDBACK_COLUMNS]
    return (
        f"SELECT {', '.join(columns)} FROM decisions d LEFT JOIN feedback f ON f.decision_id = d.id"  # noqa: S608
        " WHERE d.created_at >= $1 ORDER BY d.created_at DESC LIMIT $2"
    )


def figure(row: Row) -> Figure:
    names = (*FIGURE_COLUMNS, "candidates")
    values = dict(zip(names, row, strict=False))
    said = _feedback(row[len(names) :])
    feedback = msgspec.convert(said, Feedback) if said is not None else None
    return Figure(**{**values, "stream": bool(values["stream"]), "feedback": feedback})


def _json(value: Signals | Sequence[object]) -> str:
    """Fields at their defaults are left out of most structs, or else they would be half of a row; `whole` brings them
    back to those who read rows without the struct."""
    return _encoder.encode(value).decode() if value else "[]"
