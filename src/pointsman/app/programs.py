"""LM-written steps that were optimised: JSON files in the data folder, in place of what is built in."""

from __future__ import annotations

from pathlib import Path

from pointsman.core.program import Program, ProgramError


def load_program(data_dir: Path, name: str, built_in: Program) -> Program:
    """The program `programs/NAME.json` of the data folder, or the built-in one where there is no such file.

    Raises:
        ProgramError: the file cannot be read, or has other fields than those that its caller fills and reads.
    """
    path = data_dir / "programs" / f"{name}.json"
    where = f"The program {path}"
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return built_in
    except OSError as error:
        raise ProgramError(f"{where} cannot be read: {error.strerror}.") from None
    program = Program.read(text, where)
    program.check_fits(built_in, where)
    return program
