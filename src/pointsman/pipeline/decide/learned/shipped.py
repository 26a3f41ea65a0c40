"""The policy that ships: what was trained before anybody used it, from public outcomes.

`learn/default_policy.py` makes the file again from its seed.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from pointsman.core.errors import InvalidRequest

from .artefact import LearnedArtefact, read_artefact

FILE = "data/default_policy.json"
"""Beside the other files of the stage."""


@cache
def shipped() -> LearnedArtefact:
    """
    Raises:
        InvalidRequest: the file is missing, or cannot be used.
    """
    try:
        content = (files("pointsman.pipeline.decide") / FILE).read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{FILE}: {error.strerror}.") from None
    return read_artefact(content)
