"""DSPy's optimisers, each cut to the calls that there are."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dspy

from .job import Job, Optimizer
from .metrics import METRICS, reward
from .relay import Relay, language_model

DEMOS = 4
"""Answers of the model itself that become examples in the chat."""
LABELLED, MOST_LABELLED = 8, 16
"""Examples in the chat in all: so many, or one for each label where there are more."""
ENOUGH = 0.75
"""Score from which an answer may become an example in the chat."""
REFLECTION_TOKENS = 1500
"""Of an answer in which a model writes instructions."""
MANY = 1_000_000
"""Errors that an optimiser may bear: a call that is not to be had any more is one each time."""


class Unsuited(Exception):
    """This optimiser cannot run here; says why."""


class Trial:
    """A student, its examples and its metric."""

    def __init__(self, job: Job, relay: Relay) -> None:
        self.job = job
        self.relay = relay
        self.room = max(0, job.calls - 2 * len(job.held_out))
        """Calls beside those that judge before and after."""
        examples = [dspy.Example(**values).with_inputs(*job.given) for values in job.train]
        random.Random(job.seed).shuffle(examples)  # noqa: S311 - an order, not a secret
        self.train = examples
        self.metric = scoring(job)
        first = job.program.outputs[0].name
        labels = {values[first] for values in job.train if first in values} if job.metric == "label" else ()
        self.labelled = min(max(LABELLED, len(labels)), MOST_LABELLED) if job.routing is None else 0

    def passes(self, example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> float | bool:
        """The score; while examples are gathered, whether it is good enough to become one."""
        score, _ = self.metric(example, prediction)
        return score >= ENOUGH if trace is not None else score

    def explained(
        self,
        gold: dspy.Example,
        pred: dspy.Prediction,
        trace: object = None,
        pred_name: str | None = None,
        pred_trace: object = None,
    ) -> dspy.Prediction:
        """The score with a sentence that says what was wrong."""
        score, feedback = self.metric(gold, pred)
        return dspy.Prediction(score=score, feedback=feedback)


def scoring(job: Job) -> Callable[[Any, Any], tuple[float, str]]:
    """The job's metric over an example and a prediction."""
    if job.routing is not None:
        return lambda example, prediction: reward(example, str(prediction.model))
    metric = METRICS[job.metric]
    outputs = [field.name for field in job.program.outputs]

    def score(example: Any, prediction: Any) -> tuple[float, str]:
        wanted = {name: str(example[name]) for name in outputs}
        said = {name: str(getattr(prediction, name, "") or "") for name in outputs}
        return metric(outputs, wanted, said)

    return score


Compile = Callable[[Any], Any]
"""A student to what became of it."""


def bootstrap(trial: Trial) -> Compile:
    """BootstrapFewShot: examples in the chat, of answers that scored well and of labels. A call for each example that
    is tried."""
    optimizer = dspy.BootstrapFewShot(
        metric=trial.passes, max_bootstrapped_demos=DEMOS, max_labeled_demos=trial.labelled, max_errors=MANY
    )
    return lambda student: optimizer.compile(student, trainset=trial.train[: max(trial.room, 1)])


MIPRO_CANDIDATES = 3
MIPRO_PROPOSALS = 6
"""Calls that writing that many instructions takes, without those that look at the data."""


def mipro(trial: Trial) -> Compile:
    """MIPROv2: instructions that the model proposes and sets of examples, searched together."""
    room = trial.room - MIPRO_PROPOSALS - MIPRO_CANDIDATES * DEMOS
    validation = min(len(trial.train) // 2, max(2, room // 5))
    trials = room // validation - 1 if validation >= 2 else 0
    if trials < 1:
        raise Unsuited(
            f"{trial.room} calls beside those that judge, and {len(trial.train)} examples to learn from, are too few"
            " for mipro: it takes about 30 calls and 4 examples. Give it more --calls or more data, or take --optimizer"
            " bootstrap"
        )
    model = language_model(trial.relay, trial.job.model, REFLECTION_TOKENS, temperature=1.0)
    optimizer = dspy.MIPROv2(
        metric=trial.passes,
        prompt_model=model,
        auto=None,
        num_candidates=MIPRO_CANDIDATES,
        max_bootstrapped_demos=DEMOS // 2,
        max_labeled_demos=trial.labelled // 2,
        num_threads=1,
        max_errors=MANY,
        seed=trial.job.seed,
    )
    return lambda student: optimizer.compile(
        student,
        trainset=trial.train[validation:],
        valset=trial.train[:validation],
        num_trials=min(trials, 40),
        minibatch=False,
        data_aware_proposer=trial.room >= 100,
        program_aware_proposer=False,
    )


GEPA_MINIBATCH = 3


def gepa(trial: Trial) -> Compile:
    """GEPA: instructions that are rewritten from what went wrong, kept where they do better."""
    validation = min(len(trial.train) // 2, max(2, trial.room // 5))
    round_of = 2 * GEPA_MINIBATCH + 1 + validation  # before and after a new instruction, it, and all of them again
    if validation < 2 or trial.room < validation + round_of:
        raise Unsuited(
            f"{trial.room} calls beside those that judge, and {len(trial.train)} examples to learn from, are too few"
            " for gepa: it takes at least 20 calls and 4 examples. Give it more --calls or more data, or take"
            " --optimizer bootstrap"
        )
    relay = trial.relay

    def too_few_left(state: object) -> bool:
        return relay.limit - relay.calls < round_of

    optimizer = dspy.GEPA(
        metric=trial.explained,
        max_metric_calls=trial.room,
        reflection_lm=language_model(relay, trial.job.model, REFLECTION_TOKENS, temperature=1.0),
        reflection_minibatch_size=GEPA_MINIBATCH,
        num_threads=1,
        use_merge=False,
        seed=trial.job.seed,
        gepa_kwargs={"stop_callbacks": [too_few_left]},
    )
    return lambda student: optimizer.compile(
        student, trainset=trial.train[validation:], valset=trial.train[:validation]
    )


def grpo(trial: Trial) -> Compile:
    """GRPO of Arbor: trains weights on graphics processors, and writes no program. It is given what follows the
    provider in the model's name, which is the hub's name of a model that vLLM serves."""
    if importlib.util.find_spec("arbor") is None:
        raise Unsuited(
            "Arbor, with which grpo trains a model's weights, is not in the trainer's environment: it needs Linux with"
            " NVIDIA GPUs, and the package arbor-ai beside DSPy. docs/how-to/programs.md says more; without them, take"
            " --optimizer gepa"
        )
    import arbor

    validation = max(2, len(trial.train) // 4)

    def compile(student: Any) -> Any:
        server = arbor.init()
        model = dspy.LM(
            f"openai/arbor:{trial.job.model.partition(':')[2]}",
            provider=arbor.ArborProvider(),
            api_base=server["base_url"],
            api_key="arbor",
            temperature=1.0,
            max_tokens=trial.job.max_tokens,
        )
        student = student.deepcopy()
        student.set_lm(model)
        optimizer = arbor.ArborGRPO(metric=trial.passes, exclude_demos=True, seed=trial.job.seed)
        return optimizer.compile(student, trainset=trial.train[validation:], valset=trial.train[:validation])

    return compile


OPTIMIZERS: Mapping[Optimizer, Callable[[Trial], Compile]] = {
    "bootstrap": bootstrap,
    "mipro": mipro,
    "gepa": gepa,
    "grpo": grpo,
}
"""Each raises `Unsuited` before any call is made where it cannot run."""


def scores(student: Any, job: Job, examples: Sequence[Mapping[str, str]]) -> tuple[float, ...]:
    """The score of each example; 0 where the call failed or its answer could not be read."""
    metric = scoring(job)
    found = []
    for values in examples:
        try:
            prediction = student(**{name: values[name] for name in job.given})
        except Exception:  # DSPy's own tree, and what its parts raise
            found.append(0.0)
        else:
            found.append(metric(values, prediction)[0])
    return tuple(found)
