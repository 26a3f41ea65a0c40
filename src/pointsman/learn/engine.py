"""Spreads independent pieces of work: in this process, over processes of this machine, or over a Ray cluster.

The pieces are pure functions of what they are given, random seeds included, so that every engine comes to the same
numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, Literal, TypeVar

from pointsman.core.errors import InvalidRequest, PointsmanError

T = TypeVar("T")
R = TypeVar("R")

Engine = Literal["local", "ray"]
INSTALL = "Ray is not installed; pip install 'pointsman[ray]' mends that."
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0"}
"""What must stand in the environment before Ray starts: it tells its makers of its use otherwise."""


class WorkerLost(PointsmanError):
    """A worker ended before its work did, for want of memory perhaps."""

    code = "worker_lost"
    status = 500


def spread(
    work: Callable[[T], R], tasks: Sequence[T], *, engine: Engine = "local", jobs: int = 1
) -> Iterator[tuple[int, R]]:
    """Each result with the place of its task, in the order in which they get done.

    Args:
        work: a function of a module, which its results do not change; so that another process can import it.
        jobs: processes of this machine; with 1 everything runs in this one. Of Ray: the processors that a local cluster
            is started with. A cluster that RAY_ADDRESS names is used as it is.

    Raises:
        InvalidRequest: Ray is asked for and not installed, or its cluster cannot be reached.
        WorkerLost: a process ended in mid-work.
    """
    if engine == "ray":
        yield from _over_ray(work, tasks, jobs)
    elif jobs <= 1 or len(tasks) <= 1:
        for place, task in enumerate(tasks):
            yield place, work(task)
    else:
        yield from _over_processes(work, tasks, jobs)


def gathered(work: Callable[[T], R], tasks: Sequence[T], *, engine: Engine = "local", jobs: int = 1) -> list[R]:
    """The results in the order of their tasks; raises as `spread` does."""
    results = dict(spread(work, tasks, engine=engine, jobs=jobs))
    return [results[place] for place in range(len(tasks))]


def _over_processes(work: Callable[[T], R], tasks: Sequence[T], jobs: int) -> Iterator[tuple[int, R]]:
    pool = ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=get_context("spawn"))
    try:
        running = {pool.submit(work, task): place for place, task in enumerate(tasks)}
        for future in as_completed(running):
            yield running[future], future.result()
    except BrokenProcessPool:
        raise WorkerLost("A process ended before its work did, for want of memory perhaps; try --jobs 1.") from None
    finally:
        pool.shutdown(cancel_futures=True)  # whoever stops early does not wait for what has not begun


def _done(work: Callable[[T], R], task: T) -> R:
    return work(task)  # Ray takes functions alone, and `work` may be one with arguments bound


def _over_ray(work: Callable[[T], R], tasks: Sequence[T], jobs: int) -> Iterator[tuple[int, R]]:
    try:
        import ray
    except ModuleNotFoundError:
        raise InvalidRequest(INSTALL) from None
    began = not ray.is_initialized()
    if began:
        try:
            ray.init(num_cpus=max(jobs, 1), include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except ValueError:  # a cluster that is there says itself how many processors it has
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as error:
            raise InvalidRequest(f"The Ray cluster cannot be reached: {error}. RAY_ADDRESS names it.") from None
    try:
        remote: Any = ray.remote(num_cpus=1)(_done)
        waiting = {remote.remote(work, task): place for place, task in enumerate(tasks)}
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1)
            place = waiting.pop(ready[0])
            try:
                yield place, ray.get(ready[0])
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:
                raise WorkerLost(f"A Ray worker ended before its work did: {type(error).__name__}.") from None
    finally:
        if began:
            ray.shutdown()
