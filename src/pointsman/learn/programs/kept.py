"""Optimised programs in the data folder: `programs/NAME.json`, the one before it, and DSPy's own state beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from pointsman.core.program import Program


def folder_of(data_dir: Path) -> Path:
    return data_dir / "programs"


def path_of(data_dir: Path, name: str) -> Path:
    return folder_of(data_dir) / f"{name}.json"


def current(data_dir: Path, name: str, built_in: Program) -> Program:
    """What serves now: the file, or what is built in where there is none.

    Raises:
        ProgramError: the file is no program, or one of other fields.
        OSError: it cannot be read.
    """
    path = path_of(data_dir, name)
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return built_in
    program = Program.read(text, str(path))
    program.check_fits(built_in, str(path))
    return program


def keep(data_dir: Path, name: str, program: Program, state: dict[str, Any] | None = None) -> Path:
    """Write a program, whole or not at all. The one before it stays as `NAME.json.1`; `state` goes to
    `NAME.dspy.json`, from which DSPy itself can go on.

    Raises:
        OSError: it cannot be written.
    """
    path = path_of(data_dir, name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        _write(path.with_name(f"{name}.json.1"), path.read_bytes())
    if state:
        _write(path.with_name(f"{name}.dspy.json"), _json(state))
    _write(path, _json(program))
    return path


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
