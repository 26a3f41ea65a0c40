"""Work is spread over processes and over Ray, and comes to the same numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pointsman.core.errors import InvalidRequest
from pointsman.core.features import VERSION
from pointsman.environ import set_for_libraries
from pointsman.evals.routing.run import evaluate, questions
from pointsman.evals.routing.spec import Spec
from pointsman.learn.engine import ENVIRONMENT, WorkerLost, gathered, spread
from pointsman.learn.ope.coverage import Draws, drawn, posed, prompt_contexts, whole
from pointsman.learn.reading import PromptReader
from pointsman.learn.table import read_table
from pointsman.learn.training import train_on_table
from pointsman.pipeline.decide import RulePolicy
from pointsman.pipeline.decide.learned.artefact import LearnedArtefact


def mean_of(seed: int) -> tuple[float, int]:
    """A random number that depends on the seed alone, and which process drew it."""
    time.sleep(0.2)
    return float(np.random.default_rng(seed).normal(size=1_000).mean()), os.getpid()


def refuses(number: int) -> int:
    if number == 2:
        raise InvalidRequest("two is refused")
    return number


def dies(number: int) -> int:
    if number == 1:
        os._exit(9)
    return number


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray of two workers on this machine."""
    set_for_libraries(ENVIRONMENT)
    import ray

    here = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}}  # workers import this file too
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", runtime_env=here)
    yield
    ray.shutdown()


@pytest.fixture(params=["process", "processes", "ray"])
def how(request: pytest.FixtureRequest) -> dict[str, object]:
    if request.param == "ray":
        request.getfixturevalue("cluster")
    return {
        "process": {"jobs": 1},
        "processes": {"jobs": 2},
        "ray": {"engine": "ray", "jobs": 2},
    }[request.param]


def test_every_engine_comes_to_the_same_numbers(how):
    assert [mean for mean, _ in gathered(mean_of, range(6), **how)] == [mean_of(seed)[0] for seed in range(6)]


def test_the_work_is_spread(how):
    drawn_by = {process for _, process in gathered(mean_of, range(6), **how)}
    if how == {"jobs": 1}:
        assert drawn_by == {os.getpid()}
    else:
        assert os.getpid() not in drawn_by
        assert len(drawn_by) == 2


def test_an_error_of_ours_comes_back_as_it_is(how):
    with pytest.raises(InvalidRequest, match="two is refused"):
        gathered(refuses, range(4), **how)


@pytest.mark.parametrize("how", ["processes", "ray"], indirect=True)
def test_a_worker_that_ends_is_told(how):
    with pytest.raises(WorkerLost):
        gathered(dies, range(3), **how)


def test_nothing_to_do():
    assert list(spread(refuses, [], jobs=2)) == []


SAMPLE = Path(__file__).parents[2] / "data" / "routing"


def test_evaluation_comes_to_the_same_numbers_over_ray(cluster):
    specs, _ = questions(
        SAMPLE, train=None, only=(), base=Spec(name="", data=SAMPLE, bootstrap=20, families=("logistic",))
    )
    here, there = (
        evaluate(specs, jobs=jobs, engine=engine, told=lambda name, result: None)
        for engine, jobs in (("local", 1), ("ray", 2))
    )
    assert json.dumps(here, sort_keys=True) == json.dumps(there, sort_keys=True)
    assert not any("error" in result for result in here.values())


def test_replay_and_training_come_to_the_same_numbers_over_ray(cluster):
    table = read_table(next(SAMPLE.glob("*gsm8k*")))
    rng = np.random.default_rng(1)
    contexts = prompt_contexts([PromptReader()(prompt) for prompt in table.prompts])
    known = next(iter(posed(whole(table, rng), contexts, rng)))
    tasks = [Draws(known=known, seeds=(seed, seed + 1)) for seed in (0, 2)]
    assert gathered(drawn, tasks) == gathered(drawn, tasks, engine="ray", jobs=2)
    common = {"base": LearnedArtefact(features=VERSION), "rules": RulePolicy(), "read": PromptReader(), "seed": 0}
    here = train_on_table("distill", table, **common)
    assert train_on_table("distill", table, **common, engine="ray", jobs=2) == here


def test_a_program_that_used_processes_ends_without_a_word():
    script = (
        "from pointsman.learn.engine import gathered\n"
        "if __name__ == '__main__':\n"
        "    print(gathered(abs, [-1, 2, -3], jobs=2))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 2, 3]\n", "")
