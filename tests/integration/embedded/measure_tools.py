"""How many of the prompts in `tests/data/tool_prompts.json` an embedded model answers with the right call or reply.

    python -m tests.integration.embedded.measure_tools qwen2.5-coder:0.5b

A call is right when its tool is, and every expected argument equals the given one (texts: contains it, in any case). A
reply is right when there is no call and the expected word is in it. The wording of the prompt was chosen on `cases`;
`held_out` was not looked at for it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .conftest import Heard, running, tools

CASES = Path(__file__).parents[2] / "data" / "tool_prompts.json"


def is_right(case: dict[str, Any], heard: Heard) -> bool:
    if "reply" in case:
        return not heard.calls and heard.finishes == {0: "stop"} and case["reply"].lower() in heard.text.lower()
    wanted, calls = case["call"], heard.calls.get(0, [])
    if len(calls) != 1 or heard.finishes != {0: "tool_calls"} or calls[0][0] != wanted["name"]:
        return False
    given = json.loads(calls[0][1])
    return all(_fits(value, given.get(name)) for name, value in wanted["arguments"].items())


def _fits(wanted: Any, given: Any) -> bool:
    if isinstance(wanted, str) and isinstance(given, str):
        return wanted.lower() in given.lower()
    return bool(wanted == given)


async def measure(model: str, part: str) -> int:
    """The number of cases of a part that the model got right."""
    cases = json.loads(CASES.read_text(encoding="utf-8"))[part]
    right = 0
    with tempfile.TemporaryDirectory() as folder:
        async with running(model, 2048, Path(folder)) as bench:
            await bench.engine.ready()
            for case in cases:
                started = time.monotonic()
                heard = await bench.ask(case["messages"], tools=tools(*case["tools"]), max_tokens=160)
                fine = is_right(case, heard)
                right += fine
                said = heard.calls.get(0) or heard.text
                print(f"{'right' if fine else 'WRONG'} {time.monotonic() - started:5.1f} s  {said}")  # noqa: T201
    print(f"{model}, {part}: {right} of {len(cases)}")  # noqa: T201
    return right


if __name__ == "__main__":
    for part in ("cases", "held_out"):
        asyncio.run(measure(sys.argv[1] if len(sys.argv) > 1 else "qwen2.5-coder:0.5b", part))
