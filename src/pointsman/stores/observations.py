"""What is known of how good answers were, as every gateway of an installation learns it.

A row of `observations` holds the last word on one answer. Whoever writes one bumps the revision `observations` in the
same transaction, before the row, and keeps the new value with it: the counter's row is locked until the commit, so that
rows become visible in the order of their revisions, and readers who go on from the last one that they saw miss none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from pointsman.core.observation import REJECTED, VERDICT, Implicit, Made, Observation, several_wrote
from pointsman.core.outcome import Feedback
from pointsman.core.reward import success_of
from pointsman.core.signals import Complexity, Conversation, Needs, Privacy, Signals

from . import rows
from .database import Database, Row, Statement
from .watch import bump

REVISION = "observations"

_NOW = "(SELECT value FROM revisions WHERE name = 'observations')"
_OBSERVE = (
    "INSERT INTO observations (decision_id, key_id, model, at, success, weight, source, kind, revision)"  # noqa: S608 - our own words
    " SELECT d.id, d.key_id, COALESCE(NULLIF(d.answered_by, ''), d.model), d.created_at,"
    " CAST($2 AS DOUBLE PRECISION), CAST($3 AS DOUBLE PRECISION), CAST($4 AS TEXT), CAST($5 AS TEXT),"
    f" {_NOW} FROM decisions d WHERE d.id = $1 AND d.model <> '' ON CONFLICT (decision_id)"
    " DO UPDATE SET model = excluded.model, success = excluded.success, weight = excluded.weight,"
    " source = excluded.source, kind = excluded.kind, revision = excluded.revision"
)
"""Of a request that no model was asked for there is nothing to learn."""
_OBSERVE_UNLESS_TOLD = (
    f"{_OBSERVE} WHERE observations.source IN ('implicit', 'judge') AND excluded.weight >= observations.weight"
)
"""What a caller says is not replaced by what was guessed, nor the better guess by the worse."""
_NOTE = (
    "INSERT INTO implicit_signals (decision_id, kind, success, at)"
    " SELECT d.id, CAST($2 AS TEXT), CAST($3 AS DOUBLE PRECISION), CAST($4 AS DOUBLE PRECISION)"
    " FROM decisions d WHERE d.id = $1 ON CONFLICT (decision_id, kind)"
    " DO UPDATE SET success = excluded.success, at = excluded.at"
)
_AGAIN = f"UPDATE observations SET revision = {_NOW} WHERE decision_id = $1"  # noqa: S608 - our own words
_SELECT = (
    "SELECT o.decision_id, o.model, o.at, o.success, o.weight, o.source, d.signals, o.key_id, o.revision,"
    " d.model, d.attempts, r.success"
    " FROM observations o JOIN decisions d ON d.id = o.decision_id"
    " LEFT JOIN implicit_signals r ON r.decision_id = o.decision_id AND r.kind = 'rejected'"
)
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_signals = msgspec.json.Decoder(Signals)
_attempts = msgspec.json.Decoder(list[Made])
_UNREAD = Signals(
    complexity=Complexity(score=0.0, length=0.0, terms=0.0, structure=0.0),
    privacy=Privacy(),
    needs=Needs(),
    conversation=Conversation(),
)

JUDGE = "judge"
"""The kind of implicit signal that is a model's judgement."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A row: an observation, whose it is, and where it stands in the order of writing."""

    observation: Observation
    key_id: str | None
    revision: int
    joint: bool = False
    """Whether several models wrote the answer, so that it tells of none of them."""
    rejected: Observation | None = None
    """What a cascade thought of the answer of the decision's model, in whose place another one answered. Its weight is
    that of `observation`, before the verdict's own: where nobody judges answers that were told, the verdicts on those
    that were not would be all that counts."""


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How often a kind of signal was right, among one key's answers of which the caller spoke too."""

    kind: str
    key_id: str | None
    right: int
    cases: int


class Cursor(msgspec.Struct, frozen=True, order=True):
    """A place in the order of writing."""

    revision: int = 0
    decision_id: str = ""


def keep_feedback(feedback: Feedback) -> list[Statement]:
    """The transaction that keeps feedback, and what it tells of its answer."""
    success, source = success_of(feedback)
    return [
        Statement(rows.UPSERT_FEEDBACK, rows.feedback_row(feedback)),
        bump(REVISION),
        Statement(_OBSERVE, (feedback.decision_id, success, 1.0, source, "")),
    ]


class ObservationStore:
    """Reads and writes both tables. Raises StoreError when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def end(self) -> Cursor:
        """The place after everything that is written by now."""
        found = await self._database.fetch("SELECT value FROM revisions WHERE name = $1", REVISION)
        # No id comes after this one: every other begins with `dec_`.
        return Cursor(int(found[0][0]) if found else 0, "~")

    async def after(self, cursor: Cursor, most: int) -> list[Stored]:
        """What was written after a place, in order, and at most so many."""
        return _read(
            await self._database.fetch(
                f"{_SELECT} WHERE o.revision >= $1 AND (o.revision > $1 OR o.decision_id > $2)"
                " ORDER BY o.revision, o.decision_id LIMIT $3",
                cursor.revision, cursor.decision_id, most,
            )
        )  # fmt: skip

    async def latest(
        self, *, since: float, before: Stored | None, most: int, of: tuple[str, str | None] | None = None
    ) -> list[Stored]:
        """Of decisions since then (seconds since the epoch, UTC), the newest first; those that count for nothing are
        left out.

        Args:
            before: the last one read.
            of: a model and a key: of its answers to that key alone.
        """
        wanted, values = ["o.at >= $1", "o.weight > 0"], list[object]((since, most))

        def value(given: object) -> str:
            values.append(given)
            return f"${len(values)}"

        if before is not None:
            at, identifier = value(before.observation.at), value(before.observation.decision_id)
            wanted.append(f"o.at <= {at} AND (o.at < {at} OR o.decision_id < {identifier})")
        if of is not None:
            model, key_id = of
            place = value(model)
            wanted.append(f"(o.model = {place} OR (d.model = {place} AND r.success IS NOT NULL))")
            wanted.append("o.key_id IS NULL" if key_id is None else f"o.key_id = {value(key_id)}")
        query = f"{_SELECT} WHERE {' AND '.join(wanted)} ORDER BY o.at DESC, o.decision_id DESC LIMIT $2"
        return _read(await self._database.fetch(query, *values))

    async def note(self, signals: Sequence[Implicit], weights: dict[str, float]) -> None:
        """Keep implicit signals, each a guess at its answer's success.

        Args:
            weights: of each kind; of others 0.
        """
        if not signals:
            return
        statements = [bump(REVISION)]
        for signal in signals:
            source = JUDGE if signal.kind == JUDGE else "implicit"
            weight = weights.get(signal.kind, 0.0)
            statements.append(Statement(_NOTE, (signal.decision_id, signal.kind, signal.success, signal.at)))
            if signal.kind == REJECTED:  # feedback may have come before it
                statements.append(Statement(_AGAIN, (signal.decision_id,)))
            if signal.kind in (VERDICT, REJECTED):
                continue
            values = (signal.decision_id, signal.success, weight, source, signal.kind)
            statements.append(Statement(_OBSERVE_UNLESS_TOLD, values))
        await self._database.transaction(statements)

    async def agreements(self, since: float) -> list[Agreement]:
        """Of each kind of signal that was seen since then, and each key, how often callers who spoke of the same answer
        were of the same mind; answers that they called half good are left out."""
        found = await self._database.fetch(
            "SELECT s.kind, o.key_id, SUM(CASE WHEN (s.success > 0.5) = (o.success > 0.5) THEN 1 ELSE 0 END), COUNT(*)"
            " FROM implicit_signals s JOIN observations o ON o.decision_id = s.decision_id"
            " WHERE o.source NOT IN ('implicit', 'judge') AND o.success <> 0.5 AND s.success <> 0.5 AND s.at >= $1"
            " AND s.kind <> 'rejected'"
            " GROUP BY s.kind, o.key_id",
            since,
        )
        return [
            Agreement(kind=kind, key_id=key_id, right=int(right), cases=int(cases))
            for kind, key_id, right, cases in found
        ]

    async def weigh(self, kind: str, weight: float) -> int:
        """Believe every guess of a kind so far; returns how many that changed."""
        which = "source IN ('implicit', 'judge') AND kind = $1 AND weight <> $2"
        if not await self._database.fetch(f"SELECT 1 FROM observations WHERE {which} LIMIT 1", kind, weight):  # noqa: S608 - our own words
            return 0
        update = f"UPDATE observations SET weight = $2, revision = {_NOW} WHERE {which}"  # noqa: S608 - our own words
        return (await self._database.transaction([bump(REVISION), Statement(update, (kind, weight))]))[1]


def _read(found: Sequence[Row]) -> list[Stored]:
    read = []
    for decision_id, model, at, success, weight, source, signals, key_id, revision, picked, attempts, verdict in found:
        try:
            understood = _signals.decode(signals)
            at, success, weight = msgspec.convert((at, success, weight), tuple[float, _Share, _Share])
            verdict = msgspec.convert(verdict, _Share | None)
            joint = attempts is not None and several_wrote(_attempts.decode(attempts))
        except msgspec.MsgspecError:  # of another version of this program, or damaged: it counts for nothing
            understood, at, success, weight = _UNREAD, 0.0, 0.0, 0.0
            verdict, joint = None, False
        observation = Observation(
            decision_id=decision_id,
            model=model,
            at=at,
            success=success,
            weight=weight,
            source=source,
            signals=understood,
        )
        rejected = None
        if verdict is not None:
            rejected = msgspec.structs.replace(
                observation, decision_id=f"{decision_id}~", model=picked, success=verdict, source="implicit"
            )
        read.append(
            Stored(observation=observation, key_id=key_id, revision=int(revision), joint=joint, rejected=rejected)
        )
    return read
