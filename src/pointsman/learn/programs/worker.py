"""The process that optimises a program, in an environment that has DSPy: `python -m … PARENT_PID`.

Standard input and output belong to the lines of `job`; what libraries print goes to standard error.
"""

from __future__ import annotations

import os
import sys
from typing import Any, BinaryIO

import dspy
import msgspec

from pointsman.providers.llamacpp.lifeline import die_with

from .job import Done, Entered, Failed, Job
from .optimise import OPTIMIZERS, Trial, Unsuited, scores
from .relay import Relay, language_model
from .signature import ServedAdapter, predictor_of, program_of


def work(job: Job, relay: Relay) -> Done:
    """Score what serves now, optimise it, and score what came of that.

    Raises:
        Unsuited: the optimiser cannot run, or no call of the model succeeds.
    """
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    dspy.configure(
        lm=language_model(relay, job.model, job.max_tokens),
        adapter=ServedAdapter(job.program),
        num_threads=1,
        max_errors=1_000_000,
        disable_history=True,  # prompts of calls are kept nowhere
    )
    student: Any = predictor_of(job.program)
    if job.routing is not None:
        from .router import router_of  # with the policy's own code, which other jobs do without

        student = router_of(job.program, job.routing)
    compile = OPTIMIZERS[job.optimizer](Trial(job, relay))
    relay.tell(Entered(phase="baseline"))
    relay.limit = len(job.held_out)
    baseline = scores(student, job, job.held_out)
    if relay.calls and len(relay.errors) == relay.calls:
        raise Unsuited(f"no call of {job.model} succeeds: {relay.errors[-1]}")
    relay.tell(Entered(phase="optimise"))
    relay.limit = job.calls - len(job.held_out)
    try:
        made = compile(student)
    except Exception as error:  # a model whose texts its reader cannot use ends some optimisers
        return Done(baseline=baseline, told=f"{job.optimizer} broke off: {type(error).__name__}: {error}")
    program = program_of(made if job.routing is None else made.intent, job.program)
    told = f"Arbor serves the trained weights as {made.get_lm().model}" if job.optimizer == "grpo" else ""
    if not told and (program.instructions, program.demos) == (job.program.instructions, job.program.demos):
        return Done(baseline=baseline, told=f"{job.optimizer} found nothing better to try")
    relay.tell(Entered(phase="score"))
    relay.limit = job.calls
    return Done(
        baseline=baseline,
        optimised=scores(made, job, job.held_out),
        program=program,
        state=_plain(made.dump_state()),
        told=told,
    )


def _plain(state: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(state, enc_hook=str))


def _standard_output() -> BinaryIO:
    """Where lines go; from now on `print` writes to standard error."""
    mine = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return mine


def main() -> None:
    sink = _standard_output()
    die_with(int(sys.argv[1]))
    relay = Relay(sys.stdin.buffer, sink)
    line = sys.stdin.buffer.readline()
    if not line:
        return
    job = msgspec.json.decode(line, type=Job)
    try:
        relay.tell(work(job, relay))
    except Unsuited as error:
        relay.tell(Failed(reason=str(error)))


if __name__ == "__main__":
    main()
