"""Answers are executed where they can do nothing but compute: what tries to break out, and what must work."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import pytest

from pointsman.learn.confidence.sandbox import code_of, execute, expected, is_right
from pointsman.learn.confidence.tasks import Task, tasks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are shut in by Linux's seccomp")

REFUSED = {
    "fork": "import os\ndef f(): return os.fork()",
    "thread": "import _thread\ndef f(): return _thread.start_new_thread(print, ())",
    "exec": "import os\ndef f(): os.execv('/bin/sh', ['sh', '-c', 'true'])",
    "spawn": "import os\ndef f(): return os.posix_spawn('/bin/sh', ['sh', '-c', 'true'], {})",
    "read": "def f(): return open('/etc/hostname').read()",
    "write": "def f(): return open('note', 'w').write('x')",
    "list": "import os\ndef f(): return os.listdir('/')",
    "signal": "import os\ndef f(): return os.kill(os.getppid(), 9)",
    "limits": "import resource\ndef f(): return resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "memory": "def f(): return len(bytearray(10 ** 9))",
    "recursion": "def f(): return f()",
    "input": "def f(): return input()",
    "exit": "import sys\ndef f(): sys.exit(0)",
}
CONNECT = """
import ctypes
def f():
    libc = ctypes.CDLL(None, use_errno=True)
    return [(libc.syscall(number, 2, 1, 0), ctypes.get_errno()) for number in (41, 198)]
"""
BOMB = """
import os
def f():
    for _ in range(1000):
        try:
            os.fork()
        except OSError:
            pass
    return 'still one'
"""


async def run(code: str, call: str = "f()") -> tuple[str, str] | None:
    found = await execute([(code, [call])])
    return found[0][0] if found and found[0] else None


async def test_what_reaches_outside_is_refused(tmp_path):
    found = dict(zip(REFUSED, await asyncio.gather(*map(run, REFUSED.values())), strict=True))
    assert {name: given[0] if given else None for name, given in found.items()} == dict.fromkeys(REFUSED, "error")


async def test_no_socket_even_by_a_system_call_of_its_own():
    kind, value = await run(CONNECT)
    assert kind == "value"
    assert all(made == -1 for made, _ in eval(value))


async def test_a_fork_bomb_stays_one_process():
    assert await run(BOMB) == ("value", "'still one'")


async def test_what_never_ends_is_ended():
    started = time.monotonic()
    assert await run("def f():\n    while True:\n        pass") is None
    assert time.monotonic() - started < 60


async def test_code_that_ends_or_floods_its_process_gives_nothing():
    assert await run("import os\nos._exit(0)\ndef f(): return 1") is None
    assert await run("import os\ndef f():\n    while True:\n        os.write(3, b'x' * 65536)") is None
    assert await run("raise SystemExit\ndef f(): return 1") is None


async def test_a_long_result_is_cut():
    kind, value = await run("def f(): return 'x' * 10 ** 6")
    assert kind == "value"
    assert len(value) == 10_000


async def test_nothing_of_the_environment_is_there(monkeypatch):
    monkeypatch.setenv("POINTSMAN_SECRET_KEY", "sesame")
    kind, value = await run("import os\ndef f(): return dict(os.environ), os.getpid()")
    assert kind == "value"
    assert "sesame" not in value
    assert str(os.getpid()) not in value


async def test_every_task_has_a_solution_that_tells_answers_apart():
    asked = tasks()
    wanted = await expected(asked)
    assert len(asked) >= 300
    assert len({task.family for task in asked}) >= 60
    assert len({task.prompt for task in asked}) == len({task.name for task in asked}) == len(asked)
    for task in asked:
        assert "<" not in task.name
        # A list of calls in one expression tells answers apart by itself.
        assert len({value for _, value in wanted[task.name]}) > 1 or task.calls[0].startswith("["), task.name


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("```python\ndef f(x):\n    return x / 2\n```\nThat halves it.", True),
        ("def f(x):\n    return x * 0.5", True),
        ("Use this:\n```\npip install f\n```\n```python\ndef f(x):\n    return x / 2\n```", True),
        ("```python\ndef f(x):\n    print('half')\n    return x / 2 + 1e-12\n```", True),
        ("```python\ndef f(x):\n    return x // 2\n```", False),
        ("```python\ndef f(x):\n    return str(x / 2)\n```", False),
        ("```python\ndef g(x):\n    return x / 2\n```", False),
        ("```python\ndef f(x):\n    return x / 2\nf('a')\n```", False),
        ("I cannot help with that.", False),
        ("", False),
        ("```python\ndef f(x):\n    return [][0]\n```", False),
    ],
)
async def test_right_is_what_returns_the_same(text, right):
    task = Task(name="half", family="half", prompt="", solution="def f(x): return x / 2", calls=("f(3)", "f(8)"))
    wanted = await expected([task])
    assert await is_right(task, text, wanted["half"]) is right


def test_the_code_of_an_answer_is_its_first_function():
    assert code_of("```\nx\n```\n```py\ndef f(): pass\n```\n```py\nf()\n```") == "def f(): pass\n"
    assert code_of("plain") == "plain"
