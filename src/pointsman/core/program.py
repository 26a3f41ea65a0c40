"""LM-written steps (intent, judge …) as data: instructions, examples and fields, rendered to a chat and read back.

Optimisers write such a program as a JSON file; whoever serves renders it, and needs nothing else. The rendering is that
of DSPy's chat adapter: a field stands under a heading `[[ ## name ## ]]`, an example is a turn of the user and one of
the assistant, so that a program asks here as it asked when it was optimised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec

from .errors import PointsmanError

MOST_BYTES = 1024 * 1024
"""Of a program's file: examples are sent with every call."""
_END = "completed"
_HEADING = re.compile(r"^\s*\[\[ ## (\w+) ## \]\]\s*", re.MULTILINE)

_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z]\w{0,63}$")]


class ProgramError(PointsmanError):
    """A program cannot be read."""


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One text that goes in, or comes out."""

    name: _Name
    description: str = ""
    choices: tuple[str, ...] = ()
    """The only texts that it may be; none: any."""


class Program(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step: inputs by name to outputs by name."""

    signature: str
    """What the step is called."""
    instructions: str
    inputs: Annotated[tuple[Field, ...], msgspec.Meta(min_length=1)]
    outputs: Annotated[tuple[Field, ...], msgspec.Meta(min_length=1)]
    demos: Annotated[tuple[dict[str, str], ...], msgspec.Meta(max_length=64)] = ()
    """Examples: a text for each field; one that lacks an output is left out of the chat."""
    score: float | None = None
    """Mean score on held-out examples, in [0, 1]; None where nobody measured it."""
    trained: dict[str, str | int | float] = {}
    """How it came to be: the model, the optimiser, how many calls and examples, the seed, when."""

    @classmethod
    def read(cls, text: bytes, where: str = "The program") -> Program:
        """
        Raises:
            ProgramError: it is no program, or two of its fields share a name.
        """
        if len(text) > MOST_BYTES:
            raise ProgramError(f"{where} has more than {MOST_BYTES} bytes.")
        try:
            program = msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ProgramError(f"{where} cannot be read: {error}.") from None
        names = [field.name for field in (*program.inputs, *program.outputs)]
        if len(set(names)) < len(names) or _END in names:
            raise ProgramError(f"{where} names a field twice, or one {_END!r}.")
        return program

    def check_fits(self, built_in: Program, where: str = "The program") -> None:
        """That a program can stand in for a built-in one: the same inputs, at least its outputs, and no other choices.

        Raises:
            ProgramError: it cannot.
        """
        inputs, outputs = ([field.name for field in fields] for fields in (self.inputs, self.outputs))
        if set(inputs) != {field.name for field in built_in.inputs}:
            raise ProgramError(f"{where} has the inputs {', '.join(inputs)}; {_names(built_in.inputs)} are given.")
        if not {field.name for field in built_in.outputs} <= set(outputs):
            raise ProgramError(f"{where} has the outputs {', '.join(outputs)}; {_names(built_in.outputs)} are read.")
        choices = {field.name: frozenset(field.choices) for field in self.outputs}
        for field in built_in.outputs:
            own = choices[field.name]
            if field.choices and not (own and own <= frozenset(field.choices)):
                raise ProgramError(f"{where}: {field.name} must be one of {', '.join(field.choices)}.")

    def messages(self, values: Mapping[str, str]) -> list[dict[str, str]]:
        """The chat that asks for the outputs: `{"role", "content"}` each.

        Args:
            values: a text for each input. What looks like a heading in them is broken up, so that a text cannot pass
                for another field.

        Raises:
            KeyError: an input is missing.
        """
        chat = [{"role": "system", "content": self._system()}]
        for demo in self.demos:
            if all(field.name in demo for field in (*self.inputs, *self.outputs)):
                chat.append({"role": "user", "content": self._asked(demo)})
                chat.append({"role": "assistant", "content": self._answered(demo)})
        chat.append({"role": "user", "content": self._asked(values)})
        return chat

    def parse(self, answer: str) -> dict[str, str] | None:
        """The outputs that an answer holds; None where one is missing or is not among its choices.

        Case and surrounding punctuation of a choice do not matter. An answer without any heading is the output itself
        where there is one output alone.
        """
        found: dict[str, str] = {}
        headings = list(_HEADING.finditer(answer))
        for heading, following in zip(headings, [*headings[1:], None], strict=False):
            text = answer[heading.end() : following.start() if following else len(answer)].strip()
            found.setdefault(heading[1], text)
        if not headings and len(self.outputs) == 1:
            found = {self.outputs[0].name: answer.strip()}
        outputs: dict[str, str] = {}
        for field in self.outputs:
            text = found.get(field.name, "")
            if field.choices:
                plain = text.strip(" \t\n\"'`*.").casefold()
                text = next((choice for choice in field.choices if choice.casefold() == plain), "")
            if not text:
                return None
            outputs[field.name] = text
        return outputs

    def _system(self) -> str:
        shape = "\n\n".join(
            [f"[[ ## {field.name} ## ]]\n{{{field.name}}}" for field in (*self.inputs, *self.outputs)]
            + [f"[[ ## {_END} ## ]]"]
        )
        return (
            f"Your input fields are:\n{_listed(self.inputs)}\nYour output fields are:\n{_listed(self.outputs)}\n"
            f"All interactions will be structured in the following way, with the appropriate values filled in.\n\n"
            f"{shape}\n\nIn adhering to this structure, your objective is:\n{self.instructions}"
        )

    def _asked(self, values: Mapping[str, str]) -> str:
        wanted = ", then ".join(f"`[[ ## {field.name} ## ]]`" for field in self.outputs)
        return (
            f"{_filled(self.inputs, values)}\n\nRespond with the corresponding output fields, starting with the field"
            f" {wanted}, and then ending with the marker for `[[ ## {_END} ## ]]`."
        )

    def _answered(self, values: Mapping[str, str]) -> str:
        return f"{_filled(self.outputs, values)}\n\n[[ ## {_END} ## ]]"


def _names(fields: tuple[Field, ...]) -> str:
    return ", ".join(field.name for field in fields)


def _listed(fields: tuple[Field, ...]) -> str:
    lines = []
    for number, field in enumerate(fields, 1):
        line = f"{number}. `{field.name}`: {field.description}".rstrip(": ")
        lines.append(f"{line} (one of: {'; '.join(field.choices)})" if field.choices else line)
    return "\n".join(lines)


def _filled(fields: tuple[Field, ...], values: Mapping[str, str]) -> str:
    return "\n\n".join(f"[[ ## {field.name} ## ]]\n{values[field.name].replace('[[ ##', '[[ # #')}" for field in fields)
