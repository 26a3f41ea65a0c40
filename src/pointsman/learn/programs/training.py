"""One training of a program: runs the worker, answers its calls, and keeps the better of before and after."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from pointsman.core.errors import PointsmanError
from pointsman.core.program import Program
from pointsman.providers.pip_command import end

from .job import Answer, Ask, Done, Entered, Event, Failed, Job, Phase

AskModel = Callable[[Ask], Awaitable[Answer]]
"""Asks the gateway; an error becomes an `Answer` that says it."""
OnProgress = Callable[[Phase, int], None]
"""Told the phase and how many calls have been made."""

MOST_HELD = 0.25
"""Share of the calls that one of the two rounds of judging may take."""
_PACKAGE = Path(__file__).parents[2]


class TrainingError(PointsmanError):
    """A program could not be optimised."""

    code = "training_failed"


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a training."""

    program: Program
    """The better of the two, with its score."""
    kept: str
    """`optimised` or `baseline`."""
    baseline: float
    """Mean score on the held-out examples, in [0, 1]."""
    optimised: float | None
    """The same; None where the optimiser made nothing new."""
    held_out: int
    better: int
    """Held-out examples that the optimised program does better."""
    worse: int
    calls: int
    failed_calls: int
    told: str = ""
    state: dict[str, object] = {}


async def train(
    job: Job,
    *,
    python: Path,
    environment: Mapping[str, str],
    ask: AskModel,
    on_progress: OnProgress = lambda phase, calls: None,
    facts: Mapping[str, str | int | float] | None = None,
) -> Trained:
    """Optimise in a process of `python`; cancelling ends it.

    Args:
        environment: of the process; no credentials.
        facts: what to note in the program of how it came to be.

    Raises:
        TrainingError: the worker failed; with its reason.
    """
    calls = failed = 0
    with tempfile.TemporaryDirectory(prefix="pointsman-trainer-") as folder:
        (Path(folder) / "pointsman").symlink_to(_PACKAGE)  # the package alone: what lies beside it stays out
        process = await asyncio.create_subprocess_exec(
            str(python), "-P", "-m", "pointsman.learn.programs.worker", str(os.getpid()),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**environment, "PYTHONPATH": folder, "DSPY_CACHEDIR": f"{folder}/cache"},
            start_new_session=True, limit=1 << 24,
        )  # fmt: skip
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        last: deque[str] = deque(maxlen=20)
        reading = asyncio.create_task(_keep_last(stderr, last))
        phase: Phase = "baseline"
        try:
            stdin.write(msgspec.json.encode(job) + b"\n")
            async for line in stdout:
                event = _events.decode(line)
                match event:
                    case Entered():
                        phase = event.phase
                        on_progress(phase, calls)
                    case Ask():
                        if calls >= job.calls:
                            answer = Answer(error="the calls are spent")
                        else:
                            calls += 1
                            on_progress(phase, calls)
                            answer = await ask(event)
                            failed += answer.text is None
                        stdin.write(msgspec.json.encode(answer) + b"\n")
                        await stdin.drain()
                    case Failed():
                        raise TrainingError(f"{event.reason[:1].upper()}{event.reason[1:]}.")
                    case Done():
                        return _chosen(job, event, calls=calls, failed=failed, facts=facts or {})
            await reading
            raise TrainingError(f"The trainer ended early: {_reason(last)}")
        except ConnectionError:
            await reading
            raise TrainingError(f"The trainer ended early: {_reason(last)}") from None
        finally:
            await end(process)
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading


def held_out_share(calls: int) -> int:
    """How many examples may be held out at most, so that half of the calls are left to learn with."""
    return max(2, int(calls * MOST_HELD))


_events = msgspec.json.Decoder(Event)


def _chosen(job: Job, done: Done, *, calls: int, failed: int, facts: Mapping[str, str | int | float]) -> Trained:
    """The optimised program where its mean is strictly higher: at equal scores what serves now goes on."""
    before = _mean(done.baseline)
    after = _mean(done.optimised) if done.program is not None else None
    better = after is not None and after > before
    program = done.program if better and done.program is not None else job.program
    score = after if better and after is not None else before
    noted = {**facts, "calls": calls, "held_out": len(job.held_out), "train": len(job.train), "seed": job.seed}
    noted |= {"optimizer": job.optimizer, "model": job.model, "kept": "optimised" if better else "baseline"}
    pairs = list(zip(done.baseline, done.optimised, strict=False))
    return Trained(
        program=msgspec.structs.replace(program, score=round(score, 4), trained=noted),
        kept="optimised" if better else "baseline",
        baseline=before,
        optimised=after,
        held_out=len(job.held_out),
        better=sum(new > old for old, new in pairs),
        worse=sum(new < old for old, new in pairs),
        calls=calls,
        failed_calls=failed,
        told=done.told,
        state=done.state if better else {},
    )


def _mean(scores: tuple[float, ...]) -> float:
    return sum(scores) / len(scores)


async def _keep_last(stream: asyncio.StreamReader, lines: deque[str]) -> None:
    while block := await stream.read(1 << 16):
        lines.extend(text for text in block.decode("utf-8", "replace").splitlines() if text.strip())


def _reason(lines: deque[str]) -> str:
    return f"{lines[-1].strip()}." if lines else "without a word."
