"""A decision's record, told to a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console, Group, RenderableType
from rich.text import Text

from pointsman.core.decision import Candidate, Decision
from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.outcome import Attempt, Feedback, Outcome
from pointsman.core.signals import Signals

from .output import styled, table, usd

_TELLERS = {"rules": "rule", "classifier": "the classifier", "model": "the model of routing.intent_model"}


class _End(msgspec.Struct, kw_only=True):
    outcome: Outcome | None = None
    feedback: Feedback | None = None


class Record(msgspec.Struct, kw_only=True):
    """A decision and what became of it."""

    decision: Decision
    outcome: Outcome | None
    feedback: Feedback | None


def parse_record(record: Mapping[str, Any]) -> Record:
    """What `GET /api/v1/decisions/{id}` answers, typed.

    Raises:
        UpstreamProtocolError: it is not the record of a decision.
    """
    try:
        decision, end = msgspec.convert(record, Decision, strict=False), msgspec.convert(record, _End, strict=False)
    except msgspec.ValidationError as error:
        raise UpstreamProtocolError(f"The gateway's record of the decision cannot be read: {error}.") from None
    return Record(decision=decision, outcome=end.outcome, feedback=end.feedback)


def show_record(console: Console, record: Record) -> None:
    for part in _parts(record):
        console.print(part)


def _parts(record: Record) -> Iterator[RenderableType]:
    decision, outcome = record.decision, record.outcome
    yield _head(decision, outcome)
    if decision.candidates:
        yield Text()
        yield _candidates(decision, outcome)
    if decision.dropped:
        rows = [(styled(d.model, "dim"), d.constraint, d.detail) for d in decision.dropped]
        yield Group(Text(), table(("Ruled out", "Constraint", "Why"), rows))
    if decision.candidates or decision.signals.prompt_hash:  # a request that cannot be read was not understood either
        yield Group(Text(), _pairs("Understood", list(_signals(decision.signals))))
    if outcome is not None:
        yield Group(Text(), _pairs("Outcome", list(_outcome(outcome))))
        if len(outcome.attempts) > 1 or any(attempt.resent for attempt in outcome.attempts):
            yield Group(Text(), _attempts(outcome.attempts))
    if record.feedback is not None:
        yield Group(Text(), _pairs("Feedback", list(_feedback(record.feedback))))
    chance = " · picked by chance, to learn" if decision.explored else ""
    yield styled(f"{decision.id} · policy {decision.policy} · propensity {decision.propensity:.3g}{chance}", "dim")


def _head(decision: Decision, outcome: Outcome | None) -> Text:
    how = {"auto": "was chosen", "forced": "was asked for", "hint": "was preferred, as asked"}[decision.mode]
    if decision.model:
        head = Text.assemble((str(styled(decision.model)), "bold"), f" {how}.")
    else:
        head = Text("No model was chosen.", style="bold")
    if outcome is not None and outcome.model not in (None, decision.model):
        head.append(f" {_why_another(decision, outcome)}, and {styled(outcome.model)} answered.", style="yellow")
    for reason in decision.reasons:
        head.append(f"\n  · {styled(reason.removeprefix(f'{decision.model}: '))}")
    return head


def _why_another(decision: Decision, outcome: Outcome) -> str:
    last = next((one.status for one in reversed(outcome.attempts) if one.model == decision.model), None)
    if last == "escalated":
        return "Its answer did not convince"
    if last == "cancelled":
        return "It was slow to begin"
    return "It was not asked" if last == "refused" else "It failed"


def _candidates(decision: Decision, outcome: Outcome | None) -> RenderableType:
    chosen = outcome.model if outcome is not None and outcome.model else decision.model
    rows: list[Sequence[object]] = []
    for candidate in sorted(decision.candidates, key=lambda c: c.utility, reverse=True):
        mark = styled(candidate.model, "bold green" if candidate.model == chosen else "")
        rows.append(
            (
                "→" if candidate.model == chosen else "",
                mark,
                _success(candidate),
                usd(candidate.cost_micro_usd),
                f"{candidate.latency_seconds:.1f} s",
                f"{candidate.utility:.3f}",
                f"{candidate.propensity:.3g}",
            )
        )
    columns = ("", "Candidate", "Success", "Cost", "Time", "Utility", "Propensity")
    return table(
        columns, rows, right=columns[2:], spare=("Propensity", "Utility")
    )  # the last line tells the choice's own


def _success(candidate: Candidate) -> str:
    sure = f" ± {candidate.uncertainty:.0%}" if candidate.uncertainty >= 0.005 else ""
    return f"{candidate.quality:.0%}{sure}"


def _pairs(title: str, pairs: Sequence[tuple[str, str]]) -> RenderableType:
    return table((title, ""), [(styled(name, "dim"), value) for name, value in pairs])


def _signals(signals: Signals) -> Iterator[tuple[str, str]]:
    complexity, privacy, needs = signals.complexity, signals.privacy, signals.needs
    sure = "" if signals.intent_source == "model" else f" ({signals.intent_confidence:.0%} sure)"
    yield "intent", f"{signals.intent}{sure}, by {_TELLERS[signals.intent_source]}"
    yield (
        "complexity",
        f"{complexity.score:.2f} (length {complexity.length:.2f}, terms {complexity.terms:.2f},"
        f" structure {complexity.structure:.2f})",
    )
    found = ", ".join(privacy.classes) or "nothing private found"
    fate = "; must stay on this machine" if privacy.local_only else ""
    if privacy.redacted:
        fate = f"; {privacy.placeholders} redacted for remote models"
    yield "privacy", f"{found}; level {privacy.level}{fate}"
    wanted = [name for name in ("tools", "vision", "json_object", "json_schema", "logprobs") if getattr(needs, name)]
    yield "needs", ", ".join(wanted) or "text alone"
    yield "tokens", f"about {needs.prompt_tokens} in, {needs.expected_output} out expected"
    yield "priority", signals.priority
    if signals.conversation.turn > 1 or signals.conversation.tool_results:
        yield "conversation", f"turn {signals.conversation.turn}, {signals.conversation.tool_results} tool results"


def _outcome(outcome: Outcome) -> Iterator[tuple[str, str]]:
    yield "ended", outcome.status + (f": {outcome.error}" if outcome.error else "")
    if outcome.prompt_tokens is not None or outcome.completion_tokens is not None:
        cached = f" ({outcome.cached_tokens} cached)" if outcome.cached_tokens else ""
        about = "about " if outcome.attempts and outcome.attempts[-1].estimated else ""
        yield "tokens", f"{about}{outcome.prompt_tokens or 0} in{cached}, {outcome.completion_tokens or 0} out"
    yield "cost", usd(outcome.cost_micro_usd) + (_guessed(outcome.attempts) if outcome.cost_micro_usd else "")
    first = f", first byte after {outcome.first_byte_seconds:.2f} s" if outcome.first_byte_seconds is not None else ""
    yield "time", f"{outcome.seconds:.2f} s{first}"
    queued = sum(attempt.queue_seconds or 0.0 for attempt in outcome.attempts)
    if queued >= 0.005:
        yield "in queue", f"{queued:.2f} s"
    if outcome.finish_reason:
        yield "finish", outcome.finish_reason


def _guessed(attempts: Sequence[Attempt]) -> str:
    """What stands behind a cost that is not all told."""
    models = ", ".join(dict.fromkeys(one.model for one in attempts if one.estimated and not one.caller_key))
    return f", of which what {models} took is an estimate" if models else ""


def _status(attempt: Attempt) -> str:
    return f"{attempt.status}, sent twice" if attempt.resent else attempt.status


def _attempts(attempts: Sequence[Attempt]) -> RenderableType:
    rows = [
        (one.model, _status(one), f"{one.seconds:.2f} s", f"{one.queue_seconds or 0.0:.2f} s", one.error or "")
        for one in attempts
    ]
    return table(
        ("Attempt", "Status", "Took", "In queue", "Error"), rows, right=("Took", "In queue"), spare=("In queue",)
    )


def _feedback(feedback: Feedback) -> Iterator[tuple[str, str]]:
    if feedback.thumb:
        yield "thumb", feedback.thumb
    if feedback.score is not None:
        yield "score", f"{feedback.score:g}"
    if feedback.outcome:
        yield "outcome", feedback.outcome
    if feedback.tests:
        yield "tests", f"{feedback.tests.passed} passed, {feedback.tests.failed} failed"
    if feedback.edit:
        kept = feedback.edit.kept_share
        share = f", {kept:.0%} kept" if kept is not None else ""
        yield "edit", f"{'accepted' if feedback.edit.accepted else 'rejected'}{share}"
    if feedback.comment:
        yield "comment", feedback.comment
