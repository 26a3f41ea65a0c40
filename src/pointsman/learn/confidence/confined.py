"""The child in which answers are executed: shuts itself in, then runs what standard input holds.

Run by path with `-I -S`, from `sandbox.py`; it imports nothing of the package. Input: JSON, a list of [code, calls].
Output: JSON, for each program a list with ["value", repr] or ["error", type] for each call; `null` where the code
itself failed.

What holds it in: limits of processor time, memory, files and processes; no privileges to gain; and a seccomp filter
that allows some twenty system calls and refuses every other one. With it nothing can be opened, so nothing can be read,
written or connected to; no process or thread can be started and none signalled. The modules that small programs use
are loaded before.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import struct
import sys

CPU_SECONDS = 2
MEMORY = 320 * 1024 * 1024
MOST_REPR = 10_000
PRELOADED = (
    "abc", "array", "ast", "bisect", "calendar", "cmath", "collections", "collections.abc", "contextlib", "copy",
    "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "heapq", "inspect", "itertools", "keyword",
    "math", "numbers", "operator", "random", "re", "statistics", "string", "textwrap", "time", "types", "typing",
    "unicodedata", "_strptime",
)  # fmt: skip

# System calls by name: x86-64, ARM64. Without names in the filter: what is not here is refused.
ALLOWED = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62), "mmap": (9, 222),
    "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "mremap": (25, 216), "madvise": (28, 233),
    "nanosleep": (35, 101), "getpid": (39, 172), "exit": (60, 93), "sigaltstack": (131, 132), "gettid": (186, 178),
    "futex": (202, 98), "restart_syscall": (219, 128), "clock_gettime": (228, 113), "clock_nanosleep": (230, 115),
    "exit_group": (231, 94), "getrandom": (318, 278),
}  # fmt: skip
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_KILL, _ALLOW, _REFUSE = 0x80000000, 0x7FFF0000, 0x00050000 | 1  # EPERM
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def limit() -> None:
    """Limits of the process. Of processes it may start none, where it is not root; the filter holds for root too."""
    for what, most in (
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_DATA, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def confine() -> None:
    """Let this process make no system call beside `ALLOWED`. Raises OSError where the kernel cannot do that."""
    place, architecture = ARCHITECTURES[platform.machine()]
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    for numbers in ALLOWED.values():
        steps += [(_EQUAL, 0, 1, numbers[place]), (_RETURN, 0, 0, _ALLOW)]
    steps.append((_RETURN, 0, 0, _REFUSE))
    raw = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.cast(raw, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel takes no seccomp filter")


def run(code: str, calls: list[str]) -> list[list[str]] | None:
    """What each call gives once the code has run."""
    space: dict[str, object] = {"__name__": "answer"}
    try:
        exec(compile(code, "answer", "exec"), space)  # noqa: S102 - what this process is for
    except BaseException:
        return None
    return [_call(call, space) for call in calls]


def _call(call: str, space: dict[str, object]) -> list[str]:
    try:
        return ["value", repr(eval(call, space))[:MOST_REPR]]  # noqa: S307 - what this process is for
    except BaseException as error:
        return ["error", type(error).__name__]


def main() -> None:
    programs = json.loads(sys.stdin.buffer.read())
    out = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    for name in PRELOADED:
        __import__(name)
    sys.setrecursionlimit(2000)
    limit()
    confine()
    found = [run(code, calls) for code, calls in programs]
    os.write(out, json.dumps(found).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
