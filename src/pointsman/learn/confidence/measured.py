"""What the evidence of kept answers was, whole and begun, beside whether they were right."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from pointsman.core.errors import InvalidRequest
from pointsman.core.events import Frames, encode_frame
from pointsman.core.request import ChatRequest
from pointsman.pipeline.execute.confidence.evidence import Evidence
from pointsman.pipeline.execute.confidence.verifier import Verifier

from .answers import Kept, Token
from .tasks import Task

BEGINNINGS = (16, 32, 48, 64, 96)
"""Tokens after which the beginning of an answer is judged, where it goes on."""
USUAL = 48
"""Of these, what is held back by default: thresholds for beginnings are told for it."""


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer, or a beginning of one."""

    model: str
    family: str
    task: str
    temperature: float = 0.0
    begun: int = 0
    """Tokens of the beginning; 0: the whole answer."""
    right: bool
    """Of the whole answer."""
    evidence: Evidence

    @property
    def whole(self) -> bool:
        return self.begun == 0


def measure(answers: Iterable[Kept], asked: Mapping[str, Task]) -> Iterator[Row]:
    """The rows of every executed answer, fed to the verifier token by token as a stream would be."""
    for answer in answers:
        task = asked.get(answer.task)
        if task is not None and answer.right is not None:
            for begun, evidence in _evidence(answer, task):
                yield Row(
                    model=answer.model,
                    family=task.family,
                    task=task.name,
                    temperature=answer.temperature,
                    begun=begun,
                    right=answer.right,
                    evidence=_rounded(evidence),
                )


def _evidence(answer: Kept, task: Task) -> Iterator[tuple[int, Evidence]]:
    """Of each beginning that goes on, by its tokens, and of the whole under 0."""
    verifier = Verifier(ChatRequest.build({"messages": [{"role": "user", "content": task.prompt}]}))
    for count, token in enumerate(answer.tokens, 1):
        verifier.feed(_chunk(content=token.text, token=token))
        if count in BEGINNINGS and count < len(answer.tokens):
            yield count, verifier.evidence(whole=False)
    if not answer.tokens:
        verifier.feed(_chunk(content=answer.text))
    verifier.feed(_chunk(finish=answer.finish))
    yield 0, verifier.evidence(whole=True)


def _chunk(*, content: str | None = None, token: Token | None = None, finish: str | None = None) -> Frames:
    choice: dict[str, object] = {"index": 0, "delta": {} if content is None else {"content": content}}
    if token is not None:
        top = [{"token": "", "logprob": one} for one in token.top]
        choice["logprobs"] = {"content": [{"token": token.text, "logprob": token.logprob, "top_logprobs": top}]}
    choice["finish_reason"] = finish
    return Frames(encode_frame(msgspec.json.encode({"choices": [choice]})))


def _rounded(evidence: Evidence) -> Evidence:
    """With four digits: what is kept is what is fitted to."""
    return msgspec.structs.replace(
        evidence,
        **{name: round(value, 4) for name, value in msgspec.structs.asdict(evidence).items() if type(value) is float},
    )


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """As JSON lines, compressed where the name ends in `.gz`; the same rows make the same bytes."""
    raw = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    # zlib's own header of gzip, without a time: that of gzip.compress differs between Python 3.11 and 3.13.
    path.write_bytes(zlib.compress(raw, 9, wbits=31) if path.suffix == ".gz" else raw)


def read_rows(path: Path) -> list[Row]:
    """
    Raises:
        InvalidRequest: the file does not hold rows.
    """
    raw = path.read_bytes()
    try:
        lines = (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines()
        return [msgspec.json.decode(line, type=Row) for line in lines]
    except (msgspec.MsgspecError, OSError, EOFError) as error:
        raise InvalidRequest(f"{path} does not hold the evidence of answers: {error}.") from None
