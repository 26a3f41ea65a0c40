"""`pointsman train --program`: optimise a step that a model writes, and keep the better of before and after."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .invocation import Invocation
from .learning import weights_of
from .output import console, note, print_json, styled, table

if TYPE_CHECKING:
    from pointsman.learn.programs.examples import Example
    from pointsman.learn.programs.job import Optimizer, Routing
    from pointsman.learn.programs.step import Step
    from pointsman.learn.programs.training import OnProgress, Trained
    from pointsman.settings import Settings

    from .client import GatewayClient

PROGRAMS = ("intent", "judge", "verify", "correct", "decompose", "synthesise", "summarise", "extract_memory", "router")
OPTIMIZERS = ("bootstrap", "mipro", "gepa", "grpo")
PHASES = {
    "baseline": "Judging what serves now",
    "optimise": "Optimising",
    "score": "Judging what came of it",
}


async def train_program(
    invocation: Invocation,
    name: str,
    *,
    optimizer: Optimizer,
    model: str | None,
    data: Path | None,
    calls: int,
    seed: int,
    max_tokens: int | None,
    as_json: bool,
) -> None:
    """Optimise one program and keep what came of it.

    Raises:
        PointsmanError: it cannot be done; says why, and nothing is changed.
    """
    from pointsman.learn.programs.environment import TRAINER
    from pointsman.learn.programs.examples import split, values_of
    from pointsman.learn.programs.job import Job
    from pointsman.learn.programs.kept import current, keep
    from pointsman.learn.programs.steps import STEPS
    from pointsman.learn.programs.training import held_out_share, train
    from pointsman.settings import child_environment

    from .asker import Asker
    from .installing import shown_packages
    from .launch import gateway

    settings = invocation.settings()
    step = STEPS["intent" if name == "router" else name]  # what a model writes of a router is the intent
    began = current(settings.data_dir, step.name, step.program)
    routing = None
    if name == "router":
        examples, routing = await _routing(settings, data)
    else:
        examples = await _examples(settings, step, data)
    sides = split(_public(settings, examples, {field.name for field in (*began.inputs, *began.outputs)}))
    held_out = sides.held_out[: held_out_share(calls)]
    environment = child_environment({})
    with shown_packages(f"DSPy {TRAINER.version('dspy')}") as on_packages:
        python = await TRAINER.ensure(
            settings.cache_dir,
            environment,
            on_packages=on_packages,
            waiting=lambda: note("Another process is installing it; waiting."),
        )
    async with gateway(invocation) as client:
        model = await named_model(client, model)
        job = Job(
            program=began,
            metric=step.metric,
            optimizer=optimizer,
            train=values_of(sides.train),
            held_out=values_of(held_out),
            calls=calls,
            max_tokens=max_tokens or step.max_tokens,
            seed=seed,
            model=model,
            routing=routing,
        )
        with _shown(name, model, calls) as on_progress:
            trained = await train(
                job,
                python=python,
                environment=environment,
                ask=Asker(client, model).ask,
                on_progress=on_progress,
                facts={"goal": name, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())},
            )
    path = keep(settings.data_dir, step.name, trained.program, trained.state)
    _tell(name, model, trained, path, as_json=as_json)


async def _examples(settings: Settings, step: Step, data: Path | None) -> list[Example]:
    """What there is to learn a step from.

    Raises:
        InvalidRequest: the file is not one of examples, or the log has none for this step.
    """
    from pointsman.learn.programs.examples import read_examples
    from pointsman.learn.programs.logged import logged_examples

    from .opened import opened_database

    if data is not None:
        return read_examples(data, step.program)
    async with opened_database(settings) as database:
        return await logged_examples(database, step)


async def _routing(settings: Settings, data: Path | None) -> tuple[list[Example], Routing]:
    """What there is to learn routing from, and the policy that serves.

    Raises:
        InvalidRequest: there is no table of outcomes.
    """
    from pointsman.core.errors import InvalidRequest
    from pointsman.core.ports import SystemClock
    from pointsman.learn.programs.job import Routing
    from pointsman.learn.programs.routing import routing_examples
    from pointsman.stores.policies import PolicyStore

    from .opened import opened_database

    if data is None:
        raise InvalidRequest(
            "The router is learned from a table of what several models made of the same prompts. Give one with --data"
            " FILE: JSON lines with prompt, split_key and outcomes, as `pointsman eval routing` reads them."
        )
    async with opened_database(settings) as database:
        serving = await PolicyStore(database, SystemClock()).promoted()
    examples, cards = routing_examples(data, weights_of(settings))
    return examples, Routing(
        cards=cards,
        kind=serving.kind if serving is not None else "",
        artefact=serving.artefact if serving is not None else "",
        version=serving.version if serving is not None else "",
        learns=settings.routing.policy != "rules",
        complexity_threshold=settings.routing.complexity_threshold,
    )


def _public(settings: Settings, examples: Sequence[Example], names: Collection[str]) -> list[Example]:
    """The examples without those that hold private content: they would stand in every later call.

    Args:
        names: of the texts that would.
    """
    from pointsman.pipeline.understand.detectors import Detectors

    detectors = Detectors(settings.privacy.sensitive_tokens)
    public = [
        example
        for example in examples
        if not any(detectors.find(text) for name, text in example.values.items() if name in names)
    ]
    if len(public) < len(examples):
        note(f"{len(examples) - len(public)} of {len(examples)} examples hold private content and are left out.")
    return public


async def named_model(client: GatewayClient, model: str | None) -> str:
    """The model to train against: it is asked by its own name, never by `auto`, for the scores of two models cannot be
    compared.

    Raises:
        ModelNotFound: there is no such model.
    """
    if model is None:
        told = await client.get("/api/v1/models/recommend?use_case=general&performance_tier=fast")
        chosen = str(told["data"][0]["model"])
        note(f"Training against {chosen}; --model names another.")
        return chosen
    if model == "auto":
        import click

        raise click.BadParameter("name one model: the scores of several cannot be compared", param_hint="--model")
    return model


@contextmanager
def _shown(name: str, model: str, calls: int) -> Iterator[OnProgress]:
    """A bar of the calls on a terminal, a line for each phase elsewhere."""
    if not sys.stderr.isatty():
        told: list[str] = []

        def line(phase: str, done: int) -> None:
            if phase not in told:
                told.append(phase)
                note(f"{PHASES[phase]}: {name} on {model}, {done} of {calls} calls made")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr, markup=False), transient=True) as bars:
        task = bars.add_task("Starting", total=calls)
        yield lambda phase, done: bars.update(task, completed=done, description=PHASES[phase])


def _tell(name: str, model: str, trained: Trained, path: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "program": name,
                "model": model,
                "kept": trained.kept,
                "score": trained.program.score,
                "baseline": trained.baseline,
                "optimised": trained.optimised,
                "held_out": trained.held_out,
                "better": trained.better,
                "worse": trained.worse,
                "calls": trained.calls,
                "failed_calls": trained.failed_calls,
                "told": trained.told,
                "path": str(path),
            }
        )
        return
    optimised = [] if trained.optimised is None else [f"{trained.optimised:.3f}"]
    rows = [
        ("baseline", f"{trained.baseline:.3f}"),
        ("optimised", "; ".join([*optimised, trained.told] if trained.told else optimised)),
        ("held-out examples", f"{trained.held_out}, of them {trained.better} better and {trained.worse} worse"),
        ("calls", f"{trained.calls}, of them {trained.failed_calls} failed"),
        ("kept", f"{trained.kept}, in {path}"),
    ]
    console().print(table(("", ""), [(styled(label, "dim"), value) for label, value in rows]))
    if trained.kept == "baseline":
        note("Nothing better was found, so what served goes on serving. More examples or calls may find it.")
