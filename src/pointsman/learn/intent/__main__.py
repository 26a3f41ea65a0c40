"""Train the classifier of intents that comes with the package.

    python -m pointsman.learn.intent --data DIR [--seed N] [--output FILE]

DIR holds the public files of `asks.SOURCES`; without it the project's own asks alone teach. Files whose licence does
not let a model ship are never trained on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

import pointsman.pipeline.understand.intent_model as serving

from .asks import SOURCES, own_asks, public_asks
from .training import train


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pointsman.learn.intent", description=__doc__)
    parser.add_argument("--data", type=Path, help="the folder of the public files")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path(serving.__file__).with_name("intent_model.json"))
    given = parser.parse_args()
    asks = own_asks("known", seed=given.seed)
    if given.data is not None:
        found = [source for source in SOURCES if source.ships]
        if missing := [source.file for source in found if not (given.data / source.file).is_file()]:
            parser.error(f"{given.data} lacks {', '.join(missing)}")
        asks += public_asks(given.data, seed=given.seed, sources=found)
    artefact = train(asks, seed=given.seed)
    given.output.write_bytes(msgspec.json.format(msgspec.json.encode(artefact), indent=1) + b"\n")
    print(f"{given.output}: {given.output.stat().st_size:,} bytes, from {dict(artefact.trained_on)}")  # noqa: T201 - a command's answer


if __name__ == "__main__":
    main()
