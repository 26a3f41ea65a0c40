"""Labelled asks: this project's own templates, and public sets whose labels say what was wanted."""

from __future__ import annotations

import gzip
import random
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec

from pointsman.core.errors import InvalidRequest
from pointsman.core.signals import Intent

Part = Literal["known", "heldout"]

_SLOT = re.compile(r"\{([a-z]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A prompt whose intent somebody knows."""

    text: str
    intent: Intent
    source: str
    group: str
    """Asks of one group stay on one side of any split: those of one template, or of one programmer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A public file, and what its labels or its very kind say of the intent."""

    name: str
    file: str
    intents: Mapping[str, Intent]
    """Its label or category → intent; `*` stands for every row. Rows of other labels are left out."""
    most: int
    """Rows that are taken of each intent, by chance: no source should drown the others."""
    ships: bool = True
    """Whether its licence lets a model trained on it ship; else it only judges."""


SOURCES: tuple[Source, ...] = (
    Source(
        name="infibench",
        file="intent/infibench_types.jsonl.gz",
        intents={
            "code completion": Intent.COMPLETION,
            "code debugging": Intent.ERROR_ANALYSIS,
            "non-code debugging": Intent.ERROR_ANALYSIS,
            "knowledge question-answering": Intent.EXPLANATION,
        },
        most=200,
    ),
    Source(name="gsm8k", file="routing/routellm_gsm8k.jsonl.gz", intents={"*": Intent.MATH}, most=150),
    Source(
        name="mmlu",
        file="routing/routellm_mmlu.jsonl.gz",
        intents={
            **dict.fromkeys(
                ("elementary_mathematics", "high_school_mathematics", "college_mathematics", "abstract_algebra",
                 "high_school_statistics"),
                Intent.MATH,
            ),
            **dict.fromkeys(
                ("formal_logic", "logical_fallacies", "moral_scenarios", "moral_disputes"), Intent.REASONING
            ),
        },
        most=150,
    ),
    Source(name="livecodebench", file="routing/lcb_codegen_o1.jsonl.gz", intents={"*": Intent.COMPLETION}, most=150),
    Source(
        name="stackeval",
        file="intent/stackeval.jsonl.gz",
        intents={
            "debugging": Intent.ERROR_ANALYSIS,
            "implementation": Intent.COMPLETION,
            "conceptual": Intent.EXPLANATION,
            "optimization": Intent.REFACTORING,
        },
        most=1_000,
        ships=False,
    ),
)  # fmt: skip
"""The mapping of each is this project's reading of labels that were made for another purpose."""


class _Row(msgspec.Struct, frozen=True):
    prompt: str
    split_key: str
    category: str = ""
    intent: str | None = None


def own_asks(part: Part, *, seed: int, variants: int = 3) -> list[Ask]:
    """The project's own templates with their slots filled; of one without slots there is one ask."""
    table: dict[str, Any] = tomllib.loads(
        resources.files(__package__).joinpath("asks.toml").read_text(encoding="utf-8")
    )[part]
    rng = random.Random(seed)  # noqa: S311 - which words fill a template is no secret
    asks = []
    for intent, templates in table["asks"].items():
        for number, template in enumerate(templates):
            texts = {_filled(template, table["slots"], rng) for _ in range(variants)}
            asks += [
                Ask(text=text, intent=Intent(intent), source=f"own_{part}", group=f"{part}:{intent}:{number}")
                for text in sorted(texts)
            ]
    return asks


def _filled(template: str, slots: Mapping[str, list[str]], rng: random.Random) -> str:
    return _SLOT.sub(lambda slot: rng.choice(slots[slot[1]]) if slot[1] in slots else slot[0], template)


def public_asks(data: Path, *, seed: int, sources: Iterable[Source] = SOURCES) -> list[Ask]:
    """The asks of the public files that lie in `data`; files that do not are passed over.

    Raises:
        InvalidRequest: a line is no prompt with its label; names the file.
    """
    asks = []
    for source in sources:
        path = data / source.file
        if path.is_file():
            asks += _of(source, path, seed)
    return asks


def _of(source: Source, path: Path, seed: int) -> list[Ask]:
    decoder = msgspec.json.Decoder(_Row)
    found: dict[Intent, list[Ask]] = {}
    try:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                row = decoder.decode(line)
                intent = source.intents.get(row.intent or row.category) or source.intents.get("*")
                if intent is not None:
                    ask = Ask(text=row.prompt, intent=intent, source=source.name, group=row.split_key)
                    found.setdefault(intent, []).append(ask)
    except (msgspec.MsgspecError, OSError, EOFError) as error:
        raise InvalidRequest(f"{path.name} holds no labelled prompts: {error}.") from None
    rng = random.Random(seed)  # noqa: S311 - which rows are taken is no secret
    return [ask for asks in found.values() for ask in rng.sample(asks, min(source.most, len(asks)))]
