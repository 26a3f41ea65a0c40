"""Executes answers in a process that can do nothing but compute, and compares what they return."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import math
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pointsman.core.errors import InvalidRequest, PointsmanError
from pointsman.pipeline.execute.confidence.blocks import blocks_of

from . import confined
from .tasks import Task

SECONDS = 20.0
"""For one answer by the wall clock: it has 2 of processor time, and the machine may be busy."""
MOST_OUTPUT = 1_000_000
MOST_CODE = 100_000
TOLERANCE = 1e-9

Given = tuple[str, str]
"""`value` and its repr, or `error` and its type."""


class SandboxFailed(PointsmanError):
    """The sandbox did not work."""

    code = "sandbox_failed"
    status = 500


def check_available() -> None:
    """
    Raises:
        InvalidRequest: this machine cannot shut a process in.
    """
    if sys.platform != "linux" or platform.machine() not in confined.ARCHITECTURES:
        raise InvalidRequest("Answers are executed only where the kernel can shut them in: on Linux, x86-64 or ARM64.")


async def execute(programs: Sequence[tuple[str, Sequence[str]]]) -> list[list[Given] | None]:
    """Run code, then calls, each program with names of its own in the same process; None where the code failed.

    Empty when the process was ended: it took too long, too much memory, or ended itself.

    Raises:
        InvalidRequest: this machine cannot shut a process in.
        SandboxFailed: the process could not be started.
    """
    check_available()
    with tempfile.TemporaryDirectory(prefix="pointsman-answer-") as folder:
        try:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", "-B", str(Path(confined.__file__)),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                env={}, cwd=folder, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise SandboxFailed(f"A process for an answer cannot be started: {error}.") from None
        try:
            async with asyncio.timeout(SECONDS):
                output = await _converse(child, msgspec.json.encode(programs))
        except TimeoutError:
            output = b""
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
    try:
        return msgspec.json.decode(output, type=list[list[Given] | None])
    except msgspec.MsgspecError:
        return []


async def _converse(child: asyncio.subprocess.Process, programs: bytes) -> bytes:
    assert child.stdin is not None
    assert child.stdout is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        child.stdin.write(programs)
        await child.stdin.drain()
    child.stdin.close()
    output = bytearray()
    while block := await child.stdout.read(65536):
        output += block
        if len(output) > MOST_OUTPUT:
            return b""
    return bytes(output)


async def expected(asked: Sequence[Task]) -> dict[str, list[Given]]:
    """What the calls of each task give with its own solution.

    Raises:
        SandboxFailed: a solution fails.
    """
    found = await execute([(task.solution, task.calls) for task in asked])
    if len(found) != len(asked):
        raise SandboxFailed("The sandbox gave no results; a kernel without seccomp would explain it.")
    made = {}
    for task, given in zip(asked, found, strict=True):
        if given is None or any(kind != "value" for kind, _ in given):
            raise SandboxFailed(f"The solution of the task {task.name} fails.")
        made[task.name] = given
    return made


async def is_right(task: Task, text: str, wanted: Sequence[Given]) -> bool:
    """Whether the code of an answer returns what is wanted for every call."""
    code = code_of(text)
    if not code.strip() or len(code) > MOST_CODE:
        return False
    found = await execute([(code, task.calls)])
    given = found[0] if found else None
    return given is not None and len(given) == len(wanted) and all(map(_same, given, wanted))


def code_of(text: str) -> str:
    """The first block that defines a function, else the first one, else the whole text."""
    blocks = [block.code for block in blocks_of(text)]
    return next((code for code in blocks if "def " in code), blocks[0] if blocks else text)


def _same(given: Given, wanted: Given) -> bool:
    if given[0] != "value" or given == wanted:
        return given[0] == "value"
    try:
        return _close(ast.literal_eval(given[1]), ast.literal_eval(wanted[1]))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def _close(given: Any, wanted: Any) -> bool:
    if isinstance(given, bool) or isinstance(wanted, bool):
        return given is wanted
    if isinstance(given, int | float) and isinstance(wanted, int | float):
        return math.isclose(given, wanted, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if type(given) is not type(wanted):
        return False
    if isinstance(given, list | tuple):
        return len(given) == len(wanted) and all(map(_close, given, wanted))
    if isinstance(given, dict):
        return given.keys() == wanted.keys() and all(_close(given[key], wanted[key]) for key in wanted)
    return bool(given == wanted)
