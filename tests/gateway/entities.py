"""The packages of the extra `entities`, installed aside: they are 75 MB, and nothing but its tests needs them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "entities.txt"


def packages() -> dict[str, str]:
    """The environment in which spaCy can be imported: nothing to add where it is installed already."""
    if importlib.util.find_spec("spacy") is not None:
        return {}
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pointsman-tests"
    folder = cache / f"entities-{digest}"
    if not folder.is_dir():
        fresh = cache / f"entities-{digest}.{os.getpid()}"
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
             "--require-hashes", "--only-binary", ":all:", "--target", fresh, "-r", REQUIREMENTS],
            check=True,
        )  # fmt: skip
        try:
            fresh.replace(folder)
        except OSError:  # another run was first
            shutil.rmtree(fresh)
    return {"PYTHONPATH": str(folder)}
