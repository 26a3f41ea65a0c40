"""`pointsman policies` and `train` as people type them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .commands import run_command


def rows(count: int, *, same: bool = False) -> str:
    """A table of two models, each of which does what the other does not."""
    lines = []
    for number in range(count):
        code = number % 2
        prompt = (
            f"def f{number}(x):\n    return x + {number}" if code else f"Tell me of the river number {number}, please."
        )
        score = {"a": 1.0 if same else float(code), "b": 1.0 if same else float(not code)}
        lines.append(
            json.dumps(
                {
                    "dataset": "t", "prompt_id": str(number), "split_key": str(number), "prompt": prompt,
                    "category": "", "outcomes": {model: {"score": value} for model, value in score.items()},
                }
            )
        )  # fmt: skip
    return "\n".join(lines)


async def test_what_was_trained_is_a_version_with_its_report_and_serves_nobody(tmp_path: Path, env):
    table = tmp_path / "table.jsonl"
    table.write_text(rows(80))
    ran = await run_command("train", "distill", "--data", str(table), "--name", "mine", "--json", env=env)
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert (told["version"], told["kind"]) == ("mine@1", "learned")
    assert (told["report"]["rows"], told["report"]["held_out"], told["report"]["seed"]) == (80, 20, 0)
    assert told["report"]["reward"] > told["report"]["best_single"]
    listed = json.loads((await run_command("policies", "--json", env=env)).out)
    assert listed["serving"] is None
    assert listed["policies"][0]["note"].startswith("distill on 80 rows of table, seed 0; held out: ")
    shown = json.loads((await run_command("policies", "show", "mine@1", "--report", env=env)).out)
    assert shown["training"] == told["report"]
    refused = await run_command("policies", "promote", "mine@1", env=env)
    assert refused.code == 1
    assert "mine@1 is not promoted. The log holds no decision" in refused.err
    assert "--share 0.1" in refused.err
    staged = await run_command("policies", "promote", "mine@1", "--share", "0.1", env=env)
    assert staged.code == 0, staged.err
    rolled = await run_command("policy", "rollback", env=env)  # the name that it had before
    assert rolled.code == 0, rolled.err


@pytest.mark.parametrize(
    ("arguments", "content", "says"),
    [
        (("train",), None, "Name a trainer (linucb, thompson, grpo, distill)"),
        (("train", "grpo", "--program", "intent"), None, "Name a trainer"),
        (("train", "thompson"), None, "at least 40 are needed"),
        (("train", "distill"), None, "--data"),
        (("train", "distill", "--data"), rows(10), "10 prompts that every model answered; at least 40"),
        (("train", "grpo", "--data"), rows(50, same=True), "Every score of table is 1"),
        (("train", "linucb", "--data"), rows(50), "of tables learn distill and grpo"),
        (("train", "grpo", "--name", "rules"), None, "not rules"),
        (("policies", "diff", "rules", "none@1"), None, "no policy 'none@1'"),
        (("policies", "promote", "none@1", "--share", "0.5"), None, "no policy 'none@1'"),
        (("policies", "promote", "none@1", "--share", "1"), None, "0<x<1"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_the_mend(tmp_path: Path, arguments, content, says, env):
    table = tmp_path / "table.jsonl"
    if content is not None:
        table.write_text(content)
        arguments = (*arguments, str(table))
    ran = await run_command(*arguments, env=env)
    assert ran.code in (1, 2)
    assert says in ran.err
    assert "Traceback" not in ran.err


async def test_the_settings_say_what_cost_takes_from_a_reward(tmp_path: Path, env):
    table, config = tmp_path / "table.jsonl", tmp_path / "pointsman.yaml"
    table.write_text(rows(80).replace('"score": ', '"cost_usd": 0.1, "score": '))
    earned = {}
    for factor in (0, 30):
        config.write_text(f"learning: {{reward: {{cost_factor: {factor}}}}}\n")
        ran = await run_command(
            "--config",
            str(config),
            "train",
            "distill",
            "--data",
            str(table),
            "--name",
            f"at-{factor}",
            "--json",
            env=env,
        )
        assert ran.code == 0, ran.err
        earned[factor] = json.loads(ran.out)["report"]["best_single"]
    assert earned[30] == pytest.approx(earned[0] - 30 * 0.1)


async def test_what_is_built_in_is_no_different_from_itself(env):
    told = json.loads((await run_command("policies", "diff", "built-in", "built-in", "--json", env=env)).out)
    assert told["numbers"] == {}
    shown = await run_command("policies", "show", "built-in", env=env)
    added = await run_command("policies", "add", "mine", "-", "--json", env=env, stdin=shown.out.encode())
    assert json.loads(added.out) == {"version": "mine@1", "promoted": False}
    told = json.loads((await run_command("policies", "diff", "built-in", "mine@1", "--json", env=env)).out)
    assert told["numbers"] == {}
