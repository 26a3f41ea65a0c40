"""A gateway that counts its own steps: `python -m pointsman.evals.gateway.counted FILE …` runs `pointsman …`.

SIGUSR1 begins to count; the next one ends it and writes, as JSON, how many steps of Python's each source file took on
the event loop's thread, and how many functions were called. A step is one instruction of the interpreter, so that the
counts say the same on a busy machine and on an idle one. What is done in C counts as the one step that calls it.
"""

from __future__ import annotations

import json
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_steps: Counter[CodeType] = Counter()
_calls: Counter[CodeType] = Counter()


def _trace(frame: FrameType, event: str, argument: Any) -> Any:
    frame.f_trace_opcodes, frame.f_trace_lines = True, False
    _calls[frame.f_code] += 1
    return _count


def _count(frame: FrameType, event: str, argument: Any) -> Any:
    if event == "opcode":
        _steps[frame.f_code] += 1
    return _count


def _by_file(counted: Counter[CodeType]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for code, count in counted.items():
        found[code.co_filename] += count
    return dict(found)


def main(output: Path, arguments: list[str]) -> None:
    def toggle(number: int, frame: FrameType | None) -> None:
        if sys.gettrace() is None:
            sys.settrace(_trace)
            return
        sys.settrace(None)
        whole = output.with_suffix(".part")
        whole.write_text(json.dumps({"steps": _by_file(_steps), "calls": _by_file(_calls)}), encoding="utf-8")
        whole.replace(output)
        _steps.clear()
        _calls.clear()

    signal.signal(signal.SIGUSR1, toggle)
    sys.argv[:] = ["pointsman", *arguments]
    runpy.run_module("pointsman", run_name="__main__")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
