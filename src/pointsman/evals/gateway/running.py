"""A gateway under measurement: its processes, what they use, and how to ask it."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from .common import BenchError
from .load import is_whole, post

START_SECONDS = 180.0
"""For a start; the slowest known takes some 10 s, with two workers on a busy machine over a minute."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
HELLO = b'{"model":"%s","messages":[{"role":"user","content":"Hello."}],"max_tokens":5}'


class Lane(NamedTuple):
    """One way to ask a gateway."""

    name: str
    model: str
    """As its caller names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a gateway is asked."""

    lanes: tuple[Lane, ...]
    path: str = "/v1/chat/completions"
    key: str = "bench"
    headers: tuple[str, ...] = ()
    """Whole lines, beside the usual ones."""


@dataclass(slots=True, kw_only=True)
class Target:
    """A running gateway."""

    name: str
    ports: tuple[int, ...]
    manner: Manner
    processes: tuple[psutil.Process, ...]
    listens_seconds: float
    """From the start of its (first) process until its port takes connections."""
    answers_seconds: float
    """Until the first answer of the upstream came through it."""

    def tree(self) -> list[psutil.Process]:
        return [part for process in self.processes for part in (process, *process.children(recursive=True))]

    def processor_seconds(self) -> float:
        """User and system time of the process trees so far."""
        return sum(_processor_seconds(process) for process in self.tree())

    def memory_bytes(self) -> int:
        """Unique set size of the process trees: what would be freed if they ended."""
        return sum(process.memory_full_info().uss for process in self.tree())


def _processor_seconds(process: psutil.Process) -> float:
    """Time on a processor, of ended threads too. Linux counts it in nanoseconds; elsewhere clock ticks have to do."""
    try:
        return time.clock_gettime((~process.pid << 3) | 2)  # as clock_getcpuclockid(3) names a process's clock
    except (OSError, AttributeError, OverflowError):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            return float(times.user + times.system)
        return 0.0


@contextlib.contextmanager
def running(
    name: str,
    command: Sequence[str],
    ports: Sequence[int],
    manner: Manner,
    *,
    env: Mapping[str, str],
    more: Sequence[Sequence[str]] = (),
) -> Iterator[Target]:
    """Start `command`, and each of `more` when it listens; wait until an answer of the upstream comes through.

    Args:
        ports: one for each command; 0 where the program chooses by itself.

    Raises:
        BenchError: it does not start or answer; with the end of its log.
    """
    with tempfile.NamedTemporaryFile(prefix="pointsman-bench-", suffix=".log") as log, contextlib.ExitStack() as stack:
        path = Path(log.name)
        started = time.perf_counter()
        processes = [stack.enter_context(_process(command, env, path))]
        first = _wait(name, processes[0], path, started, ports[0])
        listens = time.perf_counter() - started
        _first_answer(name, processes[0], path, started, first, manner)
        answers = time.perf_counter() - started
        for port, other in zip(ports[1:], more, strict=True):
            begun = time.perf_counter()
            processes.append(stack.enter_context(_process(other, env, path)))
            _first_answer(name, processes[-1], path, begun, port, manner)
        yield Target(
            name=name,
            ports=(first, *ports[1:]),
            manner=manner,
            processes=tuple(psutil.Process(process.pid) for process in processes),
            listens_seconds=listens,
            answers_seconds=answers,
        )


@contextlib.contextmanager
def _process(command: Sequence[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("ab") as output,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=dict(env)) as process,
    ):
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    children: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in children:  # workers that outlive their parent
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def _wait(name: str, process: subprocess.Popen[bytes], log: Path, started: float, port: int) -> int:
    """The port, when it takes connections."""
    while True:
        at = port or _chosen(process.pid)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", at), 0.2):
            return at
        _check(name, process, log, started, "did not listen")
        time.sleep(0.005)


def _chosen(pid: int) -> int:
    """The port on which a process listens; 0 while it does on none."""
    try:
        found = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return 0
    return next((one.laddr.port for one in found if one.status == psutil.CONN_LISTEN), 0)


def _first_answer(
    name: str, process: subprocess.Popen[bytes], log: Path, started: float, port: int, manner: Manner
) -> None:
    request = post(manner.path, HELLO % manner.lanes[0].model.encode(), key=manner.key, headers=manner.headers)
    while True:
        said = ask(port, request)
        if said.startswith(b"HTTP/1.1 200"):
            return
        _check(name, process, log, started, f"gave no answer of the upstream but {_shown(said)}")
        time.sleep(0.005)


def _check(name: str, process: subprocess.Popen[bytes], log: Path, started: float, what: str) -> None:
    """Raises: BenchError: it has ended, or it takes too long."""
    ended = process.poll() is not None
    if ended or time.perf_counter() - started > START_SECONDS:
        words = _COLOURS.sub("", log.read_text(encoding="utf-8", errors="replace"))[-1500:].strip()
        told = f"{name} {'ended at its start' if ended else what}. Its last words: {words or 'none'}"
        raise BenchError(" ".join(told.split()))


def _shown(said: bytes) -> str:
    head, _, body = said.partition(b"\r\n\r\n")
    line = head.partition(b"\r\n")[0].decode("ascii", "replace")
    return f"“{line}” {body[:200].decode('utf-8', 'replace')}".strip()


def ask(port: int, request: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    """The answer to one request on a connection of its own; what came of it if it broke off."""
    said = bytearray()
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as plain:
        connection = plain if tls is None else tls.wrap_socket(plain, server_hostname="127.0.0.1")
        connection.sendall(request)
        while not is_whole(said):
            data = connection.recv(65536)
            if not data:
                break
            said += data
    return bytes(said)
