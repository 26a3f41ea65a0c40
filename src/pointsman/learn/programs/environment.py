"""The virtual environment that programs are optimised in: DSPy's, which cannot share the gateway's."""

from __future__ import annotations

from pathlib import Path

from pointsman.providers.own_environment import OwnEnvironment

TRAINER = OwnEnvironment(
    name="trainer", title="The trainer's", requirements=Path(__file__).with_name("requirements.txt")
)
