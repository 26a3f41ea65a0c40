"""The virtual environment that LiteLLM runs in."""

from __future__ import annotations

from pathlib import Path

from pointsman.providers.own_environment import OnPackages, OwnEnvironment

__all__ = ["REQUIREMENTS", "OnPackages", "ensure", "folder_of", "installed", "version"]

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_ENVIRONMENT = OwnEnvironment(name="litellm", title="LiteLLM's", requirements=REQUIREMENTS)

ensure = _ENVIRONMENT.ensure
folder_of = _ENVIRONMENT.folder
installed = _ENVIRONMENT.installed


def version() -> str:
    """Of LiteLLM, as it is pinned."""
    return _ENVIRONMENT.version("litellm")
