"""Programs as DSPy sees them: a signature, a predictor, and an adapter that asks exactly as serving will."""

from __future__ import annotations

from typing import Any

import dspy
import msgspec
from dspy.utils.exceptions import AdapterParseError

from pointsman.core.program import Program


def signature_of(program: Program) -> type[dspy.Signature]:
    """The `dspy.Signature` of a program: its instructions, and a text for each field."""
    fields: dict[str, Any] = {}
    for field in program.inputs:
        fields[field.name] = (str, dspy.InputField(desc=field.description))
    for field in program.outputs:
        choices = f" (one of: {'; '.join(field.choices)})" if field.choices else ""
        fields[field.name] = (str, dspy.OutputField(desc=f"{field.description}{choices}"))
    made: type[dspy.Signature] = dspy.Signature(fields, program.instructions, signature_name=program.signature)
    return made


def predictor_of(program: Program) -> dspy.Predict:
    """A predictor that begins with the program's instructions and examples."""
    predictor = dspy.Predict(signature_of(program))
    predictor.demos = [dspy.Example(**demo) for demo in program.demos]
    return predictor


def program_of(predictor: dspy.Predict, base: Program) -> Program:
    """What a predictor has become, with the fields of the program that it was made of."""
    names = [field.name for field in (*base.inputs, *base.outputs)]
    demos = tuple(
        {name: str(demo[name]) for name in names}
        for demo in predictor.demos
        if all(name in demo for name in names)  # others are left out of the chat
    )
    return msgspec.structs.replace(base, instructions=predictor.signature.instructions, demos=demos)


class ServedAdapter(dspy.ChatAdapter):
    """Renders and reads one program's calls as serving does, so that what is optimised is what will be asked. Other
    signatures, such as those that optimisers write instructions with, go DSPy's own way.
    """

    def __init__(self, program: Program) -> None:
        super().__init__(use_json_adapter_fallback=False)
        self._program = program
        self._names = [field.name for field in (*program.inputs, *program.outputs)]

    def format(
        self, signature: type[dspy.Signature], demos: list[dict[str, Any]], inputs: dict[str, Any]
    ) -> list[dict[str, Any]]:
        if not self._ours(signature):
            asked: list[dict[str, Any]] = super().format(signature, demos, inputs)
            return asked
        program = msgspec.structs.replace(
            self._program,
            instructions=signature.instructions,
            demos=tuple({name: str(demo[name]) for name in self._names if name in demo} for demo in demos),
        )
        return [dict(message) for message in program.messages({name: str(value) for name, value in inputs.items()})]

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        if not self._ours(signature):
            read: dict[str, Any] = super().parse(signature, completion)
            return read
        outputs = self._program.parse(completion)
        if outputs is None:
            raise AdapterParseError(
                adapter_name="ServedAdapter",
                signature=signature,
                lm_response=completion,
                message="An output field is missing, or is none of its choices.",
            )
        return dict(outputs)

    def _ours(self, signature: type[dspy.Signature]) -> bool:
        return list(signature.fields) == self._names
