"""A real training: DSPy's BootstrapFewShot on the embedded 135M model, with a gateway of the command's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest
import yaml

from pointsman.core.program import Program
from pointsman.learn.programs.environment import TRAINER
from pointsman.learn.programs.steps import STEPS

from .running import free_port
from .trainer import installed

pytestmark = [pytest.mark.engine, pytest.mark.timeout(420)]

CALLS = 10
LABELS = {"math", "tests", "creative", "conversation"}


def test_a_real_model_learns_the_intent(tmp_path: Path):
    cache = tmp_path / "cache"
    cache.mkdir()
    weights = platformdirs.user_cache_path("pointsman", appauthor=False) / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    (cache / "weights").symlink_to(weights)
    (cache / TRAINER.name).symlink_to(installed() / TRAINER.name)
    config = tmp_path / "pointsman.yaml"
    tree = {
        "data_dir": str(tmp_path / "data"),
        "cache_dir": str(cache),
        "server": {"port": free_port()},
        "embedded": {"models": ["smollm2:135m"], "context": 2048, "pulled": False},
        "providers": {"ollama": {"enabled": False}},
    }
    config.write_text(yaml.safe_dump(tree))
    rows = map(json.loads, (Path(__file__).parents[1] / "data" / "intents.jsonl").read_text().splitlines())
    data = tmp_path / "examples.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in rows if row["intent"] in LABELS))
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", "--config", str(config), "train", "--program", "intent", "--optimizer",
         "bootstrap", "--model", "embedded:smollm2:135m", "--data", str(data), "--calls", str(CALLS), "--json"],
        capture_output=True, text=True, timeout=400,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8",
             **{name: value for name, value in os.environ.items() if name.startswith("PIP_")}},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["model"], told["failed_calls"]) == ("embedded:smollm2:135m", 0)
    assert 8 <= told["calls"] <= CALLS
    assert told["score"] == pytest.approx(max(told["baseline"], told["optimised"] or 0.0), abs=1e-4)
    assert told["kept"] == ("optimised" if (told["optimised"] or 0.0) > told["baseline"] else "baseline")
    program = Program.read(Path(told["path"]).read_bytes())
    program.check_fits(STEPS["intent"].program)
    assert program.score == told["score"]
    assert bool(program.demos) == (told["kept"] == "optimised")
