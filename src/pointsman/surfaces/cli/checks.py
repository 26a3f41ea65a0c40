"""What `pointsman doctor` looks at. Each check yields findings; none raises, and none changes anything."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from pointsman.core.errors import PointsmanError
from pointsman.settings import Settings, config_path, providers_path, unknown_environment, unused_environment

from .invocation import Invocation
from .output import size

if TYPE_CHECKING:
    from pointsman.stores.migrate import DatabaseState

Status = Literal["ok", "warning", "broken"]

FREE_WANTED = 1_000_000_000
FREE_NEEDED = 50_000_000
"""Bytes free: below the first a warning, below the second nothing can be kept."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one part."""

    part: str
    status: Status
    detail: str
    mend: str = ""


def fine(part: str, detail: str) -> Finding:
    return Finding(part=part, status="ok", detail=detail)


def warning(part: str, detail: str, mend: str) -> Finding:
    return Finding(part=part, status="warning", detail=detail, mend=mend)


def broken(part: str, detail: str, mend: str) -> Finding:
    return Finding(part=part, status="broken", detail=detail, mend=mend)


def python() -> Iterator[Finding]:
    yield fine("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}, {sys.executable}")


def packages() -> Iterator[Finding]:
    """Every package that this one needs, and its version."""
    import re
    from importlib.metadata import PackageNotFoundError, requires, version

    missing, found = [], []
    for line in requires("pointsman") or ():
        name, _, marker = line.partition(";")
        name = re.split(r"[<>=!~\[ ]", name.strip(), maxsplit=1)[0]
        platforms = re.findall(r"sys_platform\s*(==|!=)\s*['\"](\w+)['\"]", marker)
        if "extra" in marker or (platforms and not any((op == "==") == (sys.platform == os) for op, os in platforms)):
            continue
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        yield broken("Packages", f"missing: {', '.join(missing)}", "`make install`, or `pip install pointsman` again.")
    else:
        yield fine("Packages", ", ".join(found))


def settings_file(invocation: Invocation) -> tuple[Settings | None, list[Finding]]:
    """The settings, when they can be read."""
    try:
        file = config_path(invocation.config)
        settings = invocation.settings()
        beside = providers_path(settings, invocation.config)
    except PointsmanError as error:
        return None, [broken("Settings", error.message, "`pointsman config example` shows every setting.")]
    where = f"from {file.absolute()}" if file is not None else "no file, defaults and environment"
    if beside is not None:
        where += f", providers from {beside.absolute()}"
    return settings, [fine("Settings", where)]


def environment() -> Iterator[Finding]:
    unknown = unknown_environment()
    if unknown:
        yield warning(
            "Environment",
            f"no setting has the name: {', '.join(unknown)}",
            "`pointsman config example` gives the name of each setting's variable.",
        )
    names = unused_environment()
    if names:
        yield warning(
            "Environment",
            f"set, but this version does not act on them: {', '.join(names)}",
            "Nothing breaks; do not rely on them.",
        )
    if not unknown and not names:
        yield fine("Environment", "every name that is set is used")


def folder(part: str, path: Path, variable: str) -> Iterator[Finding]:
    """Whether files can be kept there. An existing parent stands for a folder that is made at the first start."""
    standing = path
    while not standing.exists() and standing != standing.parent:
        standing = standing.parent
    mend = f"Make it writable, or set {variable} to another folder."
    try:
        if not standing.is_dir():
            yield broken(part, f"{standing} is not a folder", mend)
            return
        with tempfile.TemporaryFile(dir=standing) as file:
            file.write(b"\0" * 4096)
            file.flush()
        free = shutil.disk_usage(standing).free
    except OSError as error:
        yield broken(part, f"{standing} cannot be written: {error.strerror or error}", mend)
        return
    detail = f"{path}, {size(free)} free" + ("" if standing == path else " (made at the first start)")
    more = f"Free some space, or set {variable} to a folder on another disk."
    if free < FREE_NEEDED:
        yield broken(part, detail, more)
    elif free < FREE_WANTED:
        yield warning(part, detail, more)
    else:
        yield fine(part, detail)


def _allowed(path: Path) -> str:
    return f"Let the user who runs the gateway read and write {path} and its folder, or set POINTSMAN_DATA_DIR."


def store(path: Path) -> Iterator[Finding]:
    """Whether the decision log opens and is whole."""
    import sqlite3
    from contextlib import closing

    if not path.exists():
        yield fine("Decision log", f"{path} is made at the first start")
        return
    mend = f"Stop the gateway and move {path} away; a new one is made. Or bring back a copy of it."
    if not all(os.access(place, os.R_OK | os.W_OK) for place in (path, path.parent)):
        yield broken("Decision log", f"{path} cannot be written: Permission denied", _allowed(path))
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        yield broken("Decision log", f"{path}: {error}", mend)
        return
    if verdict != "ok":
        yield broken("Decision log", f"{path} is damaged: {verdict}", mend)
    else:
        yield fine("Decision log", f"{path}, {size(path.stat().st_size)}, SQLite {sqlite3.sqlite_version}, whole")


async def database(settings: Settings) -> list[Finding]:
    """Whether the database answers and has the schema that this version knows, and what waits on disk for it."""
    import importlib

    from .db import told

    app = importlib.import_module("pointsman.app.stores")  # it stands above this layer, so it is loaded as the entry is
    try:
        state: DatabaseState = await app.database_state(settings)
    except PointsmanError as error:
        return [broken("Database", error.message, "`pointsman config example` shows how it is written.")]
    detail = f"{state.backend}, {state.where}: {told(state)}"
    if state.usable:
        found = [fine("Database", detail), *(await _policies(settings) if state.version == state.newest else ())]
    elif not state.reachable:
        mend = "Start it, or mend DATABASE_URL. A gateway that runs goes on meanwhile."
        found = [broken("Database", detail, mend if settings.database.url else _allowed(settings.database_path))]
    else:
        found = [broken("Database", detail, "`pointsman db upgrade`, or the Pointsman that knows this schema.")]
    waiting = list((settings.data_dir / "spool").glob("*.jsonl"))
    if waiting:
        amount = size(sum(path.stat().st_size for path in waiting))
        mend = "The gateway writes it when the database answers; start one if none runs."
        found.append(warning("Decision log", f"{amount} wait on disk until the database takes them", mend))
    return found


async def _policies(settings: Settings) -> list[Finding]:
    """Whether those that were promoted or are on trial can be loaded."""
    from pointsman.core.ports import SystemClock
    from pointsman.stores.policies import PolicyStore

    from .opened import opened_database
    from .policy import BUILT_IN, serving_in, unusable_in

    async with opened_database(settings) as database:
        standing = await PolicyStore(database, SystemClock()).standing()
    unusable = unusable_in(standing)
    serving = serving_in(standing, unusable) or BUILT_IN
    if not unusable:
        return [fine("Policy", f"{serving} serves")]
    named = "; ".join(f"{version}: {reason}" for version, reason in unusable.items())
    mend = "Train it anew with `pointsman train`, or `pointsman policies rollback` (a trial: `policies shadow --off`)."
    return [warning("Policy", f"{serving} serves, for some cannot be used. {named}", mend)]


def terminal() -> Iterator[Finding]:
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    if not sys.stdout.isatty():
        yield fine("Terminal", "none (output goes to a pipe or file)")
    elif encoding != "utf8":
        yield warning("Terminal", f"writes {sys.stdout.encoding}", "Set LANG=C.UTF-8, or answers lose letters.")
    else:
        columns, lines = shutil.get_terminal_size()
        yield fine("Terminal", f"{columns} × {lines}, UTF-8")
