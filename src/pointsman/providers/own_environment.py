"""Virtual environments for what cannot share ours: made once, from requirements pinned by hash, kept in the cache."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pointsman.core.errors import UpstreamConnectError
from pointsman.providers.llamacpp.lock import locked
from pointsman.providers.pip_command import command, pip

_PACKAGE = re.compile(rb"(?m)^[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[^\]]*\])?==")

_NOT_THERE = "No matching distribution"
"""pip's words for both: no index, and none of it there."""

OnPackages = Callable[[int, int], None]
"""Told how many packages are here, of how many. Called again and again; returns at once."""


@dataclass(frozen=True, kw_only=True)
class OwnEnvironment:
    """One environment."""

    name: str
    """Of its folder in the cache, and of its error code `NAME_setup_failed`."""
    title: str
    """Whose it is, for people."""
    requirements: Path
    """Every package with its hashes, what packages need included."""

    def version(self, package: str) -> str:
        """Of a package, as it is pinned."""
        text = self.requirements.read_text(encoding="utf-8")
        found = re.search(rf"(?m)^{re.escape(package)}==(\S+)", text)
        assert found is not None
        return found.group(1)

    def folder(self, cache_dir: Path) -> Path:
        """Where it is or will be: other requirements, or another Python, make another one."""
        digest = hashlib.sha256(self.requirements.read_bytes())
        digest.update(f"{sys.implementation.cache_tag} {sys.base_prefix}".encode())
        return cache_dir / self.name / digest.hexdigest()[:16]

    def installed(self, cache_dir: Path) -> Path | None:
        """Its interpreter, if it is there; it is never there in part."""
        python = self.folder(cache_dir) / "bin" / "python"
        return python if python.exists() else None

    async def ensure(
        self,
        cache_dir: Path,
        environment: Mapping[str, str],
        *,
        on_packages: OnPackages = lambda done, total: None,
        waiting: Callable[[], None] = lambda: None,
    ) -> Path:
        """Its interpreter; it is made first when it is not there.

        One process makes it, others wait for it. It is made beside its place and renamed when it is whole, so that a
        set-up that was killed leaves nothing that could be taken for one; what had been downloaded is in pip's cache.

        Args:
            environment: pip's; it reads the user's index, proxy and certificates from it.
            waiting: called once when another process is at it.

        Raises:
            UpstreamConnectError: it cannot be made, with the reason and the mend.
        """
        python = self.installed(cache_dir)
        if python is not None:
            return python
        folder = self.folder(cache_dir)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            async with locked(folder.with_name("lock"), waiting):
                if self.installed(cache_dir) is None:
                    await self._make(folder, environment, on_packages)
        except UpstreamConnectError as error:
            reason = error.message.rstrip(".")
            if _NOT_THERE in reason:
                reason += (
                    ". The package index cannot be reached, or lacks it. It is needed this once; pip's own settings"
                    " (PIP_INDEX_URL, PIP_FIND_LINKS, PIP_PROXY) say where it is"
                )
            raise self._failed(reason) from None
        except OSError as error:
            raise self._failed(
                f"it cannot be kept in {folder.parent}: {error.strerror or error}. Make it writable and see that there"
                " is 1 GB of room, or set POINTSMAN_CACHE_DIR to another folder"
            ) from None
        return folder / "bin" / "python"

    async def _make(self, folder: Path, environment: Mapping[str, str], on_packages: OnPackages) -> None:
        part = folder.with_name(f"{folder.name}.part")
        await asyncio.to_thread(shutil.rmtree, part, True)
        base = getattr(sys, "_base_executable", sys.executable)
        await command([base, "-I", "-m", "venv", "--without-pip", str(part)], environment)
        packages = part / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        temporary = part / "tmp"  # pip puts everything there first, and moves it when all of it is there
        temporary.mkdir()
        total = len(_PACKAGE.findall(self.requirements.read_bytes()))
        here = 0

        def follow(line: bytes) -> None:
            nonlocal total, here
            if line.startswith(b"Ignoring "):
                total -= 1
            elif line.startswith((b"Collecting ", b"Processing ")):
                here += 1
                on_packages(here - 1, total)

        # What is pinned is all that is needed, and may be less than packages declare.
        await pip(
            ["install", "--target", str(packages), "--require-hashes", "--no-deps", "--only-binary", ":all:",
             "--no-compile", "--no-warn-conflicts", "-r", str(self.requirements)],
            {**environment, "TMPDIR": str(temporary)},
            follow,
        )  # fmt: skip
        on_packages(total, total)
        await asyncio.to_thread(shutil.rmtree, temporary, True)
        await asyncio.to_thread(shutil.rmtree, folder, True)
        part.replace(folder)

    def _failed(self, reason: str) -> UpstreamConnectError:
        return UpstreamConnectError(
            f"{self.title} environment cannot be made: {reason}.", code=f"{self.name}_setup_failed"
        )
