"""The policy that ships: what was trained before anybody used it, from public outcomes.

`default.json` beside this file; without it there is nothing but the rules' guess and what is observed.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from pointsman.core.features import VERSION

from .artefact import LearnedArtefact, read_artefact

NAME = "default.json"


@cache
def shipped() -> LearnedArtefact:
    """
    Raises:
        InvalidRequest: the file cannot be used.
    """
    file = files(__package__) / NAME
    return read_artefact(file.read_bytes()) if file.is_file() else LearnedArtefact(features=VERSION)
