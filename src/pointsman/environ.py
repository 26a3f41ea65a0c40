"""Sets what a library takes from the environment alone. Settings are read elsewhere (`pointsman.settings`)."""

from __future__ import annotations

import os
from collections.abc import Mapping


def set_for_libraries(variables: Mapping[str, str]) -> None:
    """Set variables before the library that reads them is imported; what is set already stays."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)  # noqa: TID251 - written, not read
