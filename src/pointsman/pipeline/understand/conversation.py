"""What the shape of a conversation says: turns, tool results, and where an agent's work stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pointsman.core.signals import Conversation, Stage

from .actions import Action
from .facts import MessageFacts
from .tool_results import FAILING

WINDOW = 12
"""Tool calls that are looked back at."""
FADING = 0.7
"""What each later result leaves of a failure's severity."""
STUCK_FAILURES, STUCK_SPINNING, LEAST_REPEATS = 3, 0.4, 2
"""Failures in a row (of tools, or of tests after edits), or the share (and number) of repeated calls, from which on an
agent is stuck."""


class Done(NamedTuple):
    """A tool call with its result."""

    action: Action
    call: int
    result: int | None
    """None where no result has come."""
    severity: float
    tests: bool | None
    turn: int
    """Which user turn it serves."""


def observe(
    messages: Sequence[MessageFacts], *, turns: int, usual: bool, short_reply: bool, tools: bool = False
) -> Conversation:
    """Count tool results and their failures; failures in a row are counted from the last result backwards.

    Args:
        turns: how many of the messages are user turns.
        usual: whether every message is (`MessageFacts.usual`), so that nobody has called a tool.
        tools: whether the request offers tools.
    """
    if usual:
        return Conversation(
            turn=max(1, turns),
            messages=len(messages),
            stage="explore" if tools else "chat",
            short_reply=short_reply,
        )
    results = errors = repeated = 0
    for message in messages:
        if message.tool_result:
            results += 1
            errors += message.failed
            repeated = repeated + 1 if message.failed else 0
    work = _work(messages)
    now = [done for done in work if done.turn == turns]  # what the user said since may have helped
    spinning, repeats = _spinning(now)
    stage = _stage(now, known=tools or bool(work))
    stuck = stage != "done" and (
        min(repeated, sum(done.result is not None for done in now)) >= STUCK_FAILURES
        or (spinning >= STUCK_SPINNING and repeats >= LEAST_REPEATS)
        or _vain_edits(now) >= STUCK_FAILURES
    )
    return Conversation(
        turn=max(1, turns),
        messages=len(messages),
        tool_results=results,
        tool_errors=errors,
        repeated_failures=repeated,
        stage="stuck" if stuck else stage,
        severity=round(max((done.severity * FADING**age for age, done in enumerate(reversed(work))), default=0.0), 3),
        spinning=round(spinning, 3),
        tests_passed=next((done.tests for done in reversed(work) if done.tests is not None), None),
        short_reply=short_reply,
        awaiting_tool_result=messages[-1].tool_result,
    )


def _work(messages: Sequence[MessageFacts]) -> list[Done]:
    """The last tool calls with their results, oldest first. Results follow their calls, in the order of these."""
    work: list[Done] = []
    open_calls: list[int] = []
    turn = 0
    for message in messages:
        turn += message.user_turn
        if message.steps:
            # edits that are written as text get no answer of their own
            open_calls = list(range(len(work), len(work) + len(message.steps))) if message.tool_calls else []
            work += [Done(step.action, step.print, None, 0.0, None, turn) for step in message.steps]
        elif message.tool_result and open_calls:
            place = open_calls.pop(0)
            work[place] = work[place]._replace(
                result=message.print, severity=message.severity, tests=_tests(work[place].action, message)
            )
        elif message.tool_result and (message.severity or message.tests is not None):
            told = Done("run", 0, message.print, message.severity, message.tests, turn)
            if work and work[-1]._replace(result=told.result) == told:  # aider says it twice
                work.pop()
            work.append(told)
    return work[-WINDOW:]


def _tests(action: Action, result: MessageFacts) -> bool | None:
    """What a result says of tests. A file that is read may hold the words too; a check that breaks did not pass."""
    if action in ("explore", "edit"):
        return None
    return False if action == "test" and result.tests is None and result.severity >= FAILING else result.tests


def _spinning(work: Sequence[Done]) -> tuple[float, int]:
    """Share and number of calls that repeat an earlier one with the same result. Tests that pass are no sign of it."""
    seen: set[tuple[int, int]] = set()
    repeats = 0
    for done in work:
        if done.result is not None and done.call and done.tests is not True:
            pair = (done.call, done.result)
            repeats += pair in seen
            seen.add(pair)
    return (repeats / len(work) if work else 0.0), repeats


def _vain_edits(work: Sequence[Done]) -> int:
    """How often in a row tests have failed after edits, as of the last call; 0 when that was no failed test."""
    if not work or work[-1].tests is not False:
        return 0
    failed, edited = 0, False
    for done in work:
        edited = edited or done.action == "edit"
        if done.tests is not None:
            failed = failed + 1 if edited and not done.tests else 0
    return failed


def _stage(now: Sequence[Done], *, known: bool) -> Stage:
    """Where the work of the last user turn stands.

    Args:
        known: whether there are tools, or were.
    """
    if not now:
        return "explore" if known else "chat"
    edited = False
    stage: Stage = "explore"
    for done in now:
        if done.action == "edit":
            edited, stage = True, "edit"
        elif done.action == "test" or (edited and done.tests is not None):
            stage = "done" if done.tests and edited and done.severity < FAILING else "test"
        elif done.action == "explore" and stage != "edit":
            stage = "test" if stage == "test" else "explore"
    return stage
