"""Fills the generated parts of the README: `python docs/transcript.py [--url URL] [--benchmark FILE]`.

The transcript comes from a running gateway (`make run`), the benchmark from the JSON of `pointsman bench gateway`.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
QUESTION = "Write a one-line Python function that reverses a string. Code only."
BODY = {"model": "auto", "temperature": 0, "messages": [{"role": "user", "content": QUESTION}]}


def transcript(url: str) -> str:
    """Real commands and what they printed."""
    ask = f"curl -si {url}/v1/chat/completions -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(BODY))}"
    answer = _run(ask)
    head, _, body = answer.partition("\n\n")
    told = [line for line in head.splitlines() if line.startswith("x-pointsman-")]
    content = json.loads(body)["choices"][0]["message"]["content"]
    why = f"{Path(sys.executable).parent}/pointsman --url {url} why"
    shown = [
        f"$ {ask.replace('-si', '-s -D-')} | grep -i x-pointsman",
        *told,
        "",
        "# the answer's content",
        content.strip(),
        "",
        "$ pointsman why",
        _run(why).strip(),
    ]
    return "````text\n" + "\n".join(line.rstrip() for line in "\n".join(shown).splitlines()) + "\n````"


CASES = (
    ("2 KB, pinned", "2 KB", "pointsman"),
    ("2 KB, auto", "2 KB", "pointsman, auto"),
    ("100 KB, pinned", "100 KB", "pointsman"),
    ("100 KB, auto", "100 KB", "pointsman, auto"),
    ("stream of 50 chunks", "2 KB, stream of 50 chunks", "pointsman"),
)


def benchmark(path: Path) -> str:
    """A table of the report."""
    report = json.loads(path.read_text())
    lines = [
        f"{report['machine']}, {report['cores']} cores, {report['rounds']} interleaved rounds; medians.",
        "",
        "| request | nginx, ms of processor time | Pointsman, ms | ratio | added latency p50, ms | added p99, ms |",
        "|---|---|---|---|---|---|",
    ]
    rows = {(row["case"], row["target"]): row for row in report["rows"]}
    for name, case, target in CASES:
        floor, own = rows[case, "nginx"], rows[case, target]
        lines.append(
            f"| {name} | {floor['processor_ms']:.3f} | {own['processor_ms']:.3f} | {own['processor_ratio']:.1f} |"
            f" {own['added_p50_ms']:.2f} | {own['added_p99_ms']:.2f} |"
        )
    [own] = [gateway for gateway in report["gateways"] if gateway["name"] == "pointsman"]
    lines += [
        "",
        f"It answers {own['answers_seconds']:.2f} s after its start and holds {own['memory_mib']:.0f} MiB after the"
        " load, without models.",
    ]
    return "\n".join(lines)


def fill(text: str, name: str, content: str) -> str:
    pattern = rf"(<!-- {name}:[^\n]*-->\n).*?(<!-- end of {name} -->)"
    return re.sub(pattern, lambda found: found[1] + content + "\n" + found[2], text, flags=re.DOTALL)


def _run(command: str) -> str:
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.replace("\r\n", "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--benchmark", type=Path)
    arguments = parser.parse_args()
    text = README.read_text(encoding="utf-8")
    if arguments.benchmark is not None:
        text = fill(text, "benchmark", benchmark(arguments.benchmark))
    else:
        text = fill(text, "transcript", transcript(arguments.url))
    README.write_text(text, encoding="utf-8")
