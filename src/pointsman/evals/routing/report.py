"""The figures of a run as tables for people, the same on a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Result = Mapping[str, Any]


class Made(NamedTuple):
    """A table of text."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: int = 1
    """Columns at the left that hold words."""
    spare: tuple[str, ...] = ()
    """Columns that a narrow terminal may leave out."""


def tables(whole: Result) -> Iterator[Made]:
    """Every table of a run; those without rows too."""
    judged = {name: result for name, result in whole["datasets"].items() if "error" not in result}
    yield _pairs(judged)
    yield _against(judged)
    yield _families(judged, whole["options"]["families"])
    yield _by_cost(judged)
    yield _pools(judged)
    yield _qualities(judged)
    yield _transfers(whole["transfer"])
    yield _online(judged)


def markdown(whole: Result) -> str:
    """A page with the tables that have rows, and with how they came about."""
    options = whole["options"]
    how = f"families {', '.join(options['families'])}; seed {options['seed']}; {options['bootstrap']:,} draws"
    how += f"; {options['folds']} folds" if not options["held_out"] else "; learned from a training folder"
    how += "" if options["labels"] is None else f"; at most {options['labels']:,} prompts to learn from"
    parts = [f"# Figures of the routing evaluation\n\nWritten by `pointsman eval routing --markdown` ({how}).\n"]
    for made in tables(whole):
        if made.rows:
            marks = ["---"] * made.words + ["--:"] * (len(made.columns) - made.words)
            rows = [made.columns, marks, *made.rows]
            lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
            parts.append(f"## {made.title}\n\n" + "\n".join(lines) + "\n")
    said = [f"- {name}: {note}" for name, result in whole["datasets"].items() for note in result.get("notes", ())]
    said += [
        f"- {name}: {result['error']}"
        for name, result in {**whole["datasets"], **whole["transfer"]}.items()
        if "error" in result
    ]
    if said:
        parts.append("## Notes\n\n" + "\n".join(said) + "\n")
    return "\n".join(parts)


def _pairs(judged: Mapping[str, Result]) -> Made:
    columns = ("Table", "Weak → strong", "Protocol", "Prompts", "APGR", "CPT(50 %)", "CPT(80 %)", "ECE", "Brier")
    rows = [
        (
            name, f"{pair['weak']} → {pair['strong']}", pair["protocol"].replace("_", " "), f"{pair['rows']:,}",
            _with(pair, "apgr", 3), _plain(pair["cpt50"], 1), _plain(pair["cpt80"], 1),
            _plain(pair["calibration"]["ece"], 3), _plain(pair["calibration"]["brier"], 3),
        )
        for name, result in judged.items()
        for pair in result["pairs"]
    ]  # fmt: skip
    return Made("Two models", columns, rows, 3, ("Brier", "ECE", "Weak → strong"))


def _against(judged: Mapping[str, Result]) -> Made:
    names = list(dict.fromkeys(name for result in judged.values() for name in result["baselines"]))
    rows = [
        (name, _plain(result["apgr"], 3), *(_marked(result["baselines"].get(other)) for other in names))
        for name, result in judged.items()
        if result["apgr"] is not None
    ]
    title = "APGR beside the baselines' (▲ ours is significantly better, ▼ significantly worse)"
    return Made(title, ("Table", "Ours", *names), rows)


def _families(judged: Mapping[str, Result], families: Sequence[str]) -> Made:
    rows = [
        (name, _with(result, "apgr", 3), *(_marked(result["families"].get(other)) for other in families[1:]))
        for name, result in judged.items()
        if result["apgr"] is not None and len(families) > 1
    ]
    title = f"APGR of families (▲ {families[0]} is significantly better, ▼ significantly worse)"
    return Made(title, ("Table", *families), rows)


def _by_cost(judged: Mapping[str, Result]) -> Made:
    """Pairs whose weak model always runs first and is paid for."""
    found = [
        (name, pair, paid)
        for name, result in judged.items()
        for pair in result["pairs"]
        if (paid := pair.get("by_cost")) is not None
    ]
    names = list(dict.fromkeys(name for _, _, paid in found for name in paid["baselines"]))
    rows = [
        (
            name, f"{pair['weak']} → {pair['strong']}", _with(paid, "apgr", 3),
            *(_marked(paid["baselines"].get(other)) for other in names),
        )
        for name, pair, paid in found
    ]  # fmt: skip
    return Made(
        "After an attempt: APGR over what is spent, the attempt's cost included",
        ("Table", "Weak → strong", "Ours", *names),
        rows,
        2,
    )


def _pools(judged: Mapping[str, Result]) -> Made:
    columns = (
        "Pool", "Protocol", "Models", "Area over the hull", "Over the hull in hindsight",
        "Chosen in training, in hindsight", "AIQ", "AIQ of the hull", "Gain", "Saving", "Regret",
    )  # fmt: skip
    rows = [
        (
            name, pool["protocol"].replace("_", " "), str(pool["models"]), _with(pool, "hull_gain", 4, sign=True),
            _with(pool, "hull_gain_in_hindsight", 4, sign=True),
            _plain(_chosen_in_training(pool["before"])["hull_gain_in_hindsight"], 4, sign=True),
            _plain(pool["aiq"], 3), _plain(pool["aiq_of_hull"], 3), _with(pool, "gain", 3, sign=True),
            _plain(pool["saving"], 2), _plain(pool["regret"], 3),
        )
        for name, result in judged.items()
        if (pool := result["pool"]) and "hull" in pool
    ]  # fmt: skip
    title = "Pools with costs: the hull of single models that training chose, and that drawn in hindsight"
    return Made(title, columns, rows, 2, ("AIQ of the hull", "AIQ", "Models", "Chosen in training, in hindsight"))


def _chosen_in_training(before: Result) -> Result:
    found: Result = before["baselines"].get("random", before)  # itself, where `random` is what is judged
    return found


def _qualities(judged: Mapping[str, Result]) -> Made:
    columns = (
        "Pool", "Models", "Best single", "Oracle", "Gain over the best", "Of the one chosen in training",
        "Regret to the oracle",
    )  # fmt: skip
    rows = [
        (
            name, str(pool["models"]), _plain(pool["best_single"]["score"], 3), _plain(pool["oracle_score"], 3),
            _with(pool, "gain", 3, sign=True), _with(_chosen_in_training(pool), "gain", 3, sign=True),
            _with(pool, "regret", 3),
        )
        for name, result in judged.items()
        if (pool := result["pool"]) and "hull" not in pool
    ]  # fmt: skip
    return Made("Pools without costs", columns, rows)


def _transfers(moved: Mapping[str, Result]) -> Made:
    others = list(dict.fromkeys(name for result in moved.values() for name in result.get("others", ())))
    rows = [
        (
            name, " → ".join(result["pair"]), _with(result, "apgr", 3),
            *(_with(result["others"][other], "apgr", 3) for other in others),
        )
        for name, result in moved.items()
        if "error" not in result
    ]  # fmt: skip
    return Made("Learned elsewhere: APGR", ("Tables", "Weak → strong", "Ours", *others), rows, 2)


def _online(judged: Mapping[str, Result]) -> Made:
    names = ("router", "served", "linucb", "epsilon_greedy", "random")
    rows = [
        (
            name, f"{pair['weak']} → {pair['strong']}", _plain(pair["best_single"]["regret"], 1),
            *(f"{one['regret']:.1f} ± {one['standard_error']:.1f}" for one in map(pair["learners"].get, names)),
        )
        for name, result in judged.items()
        for pair in result.get("online", ())
    ]  # fmt: skip
    title = "Online: regret to the oracle after the last prompt (mean of the seeds ± its standard error)"
    columns = ("Table", "Weak → strong", "Best single in hindsight", *(name.replace("_", " ") for name in names))
    return Made(title, columns, rows, 2)


def _plain(value: float | None, digits: int, *, sign: bool = False) -> str:
    return "–" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def _with(figures: Result, name: str, digits: int, *, sign: bool = False) -> str:
    span = figures["interval"].get(name)
    shown = _plain(figures.get(name), digits, sign=sign)
    if span is None or figures.get(name) is None:
        return shown
    return f"{shown} ({_plain(span[0], digits, sign=sign)} to {_plain(span[1], digits, sign=sign)})"


def _marked(figures: Result | None, name: str = "apgr", digits: int = 3, *, sign: bool = False) -> str:
    if figures is None:
        return "–"
    ahead = figures["ours_less_this"][name]
    mark = "" if not ahead["significant"] else " ▲" if ahead["value"] > 0 else " ▼"
    return f"{_plain(figures[name], digits, sign=sign)}{mark}"
