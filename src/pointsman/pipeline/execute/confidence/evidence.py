"""What speaks for or against an answer, as numbers."""

from __future__ import annotations

import msgspec

from .answer import Answer
from .asked import Asked
from .blocks import MOST_BLOCKS, Block, blocks_of, is_stub, parses, working_code
from .loops import repetition
from .phrases import doubts, refuses


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Of one answer, or of its beginning. None: not known, because the provider does not tell or too little is there.

    Shares are in [0, 1], log-probabilities in nats a token.
    """

    tokens: int = 0
    total: float | None = None
    """The log-probability of the whole."""
    mean_logprob: float | None = None
    worst_short: float | None = None
    """The least mean of 8 tokens in a row."""
    worst_long: float | None = None
    """And of 32."""
    doubtful: float | None = None
    """Share of tokens that had less than even odds."""
    entropy: float | None = None
    code_total: float | None = None
    """The log-probability of the code in it, comments and docstrings left out."""
    code_worst: float | None = None
    """The least mean of 8 tokens of this code in a row."""
    refusal: bool = False
    doubt: bool = False
    repetition: float = 0.0
    broken: float = 0.0
    """Share of the closed code blocks that do not parse."""
    codeless: bool = False
    """Code was asked for, and there is no block of it and no call."""
    stub: bool = False
    """A block leaves its work to the reader."""
    cut: bool = False
    """It ended at the limit of its length, or inside a block."""
    useless: str | None = None
    """Why nobody can use it, whatever else speaks for it: `empty`, `not_json`, `schema`, `bad_arguments`,
    `unknown_tool` or `no_call`."""


def evidence_of(asked: Asked, answer: Answer, *, whole: bool) -> Evidence:
    """Read an answer; of a beginning only what more text cannot mend counts."""
    text, surprise = answer.text, answer.surprise
    blocks = list(blocks_of(text))
    verdicts = [sound for block in blocks[:MOST_BLOCKS] if block.closed and (sound := parses(block)) is not None]
    prose = text if not blocks else _prose(text, blocks)
    code = surprise.within(working_code(blocks)) if blocks and surprise.tokens else None
    ended = whole and not answer.calls
    return Evidence(
        tokens=answer.tokens,
        total=surprise.total,
        mean_logprob=surprise.mean,
        worst_short=surprise.worst_short,
        worst_long=surprise.worst_long,
        doubtful=surprise.doubtful,
        entropy=surprise.entropy,
        code_total=None if code is None else code.total,
        code_worst=None if code is None else code.worst,
        refusal=answer.refused or answer.finish == "content_filter" or (not answer.calls and refuses(prose)),
        doubt=doubts(prose),
        repetition=repetition(text),
        broken=verdicts.count(False) / len(verdicts) if verdicts else 0.0,
        codeless=ended and asked.code and not asked.json and not blocks,
        stub=any(is_stub(block) for block in blocks),
        cut=whole and (answer.finish == "length" or any(not block.closed for block in blocks)),
        useless=_useless(asked, answer, text, whole=whole),
    )


def _prose(text: str, blocks: list[Block]) -> str:
    """The text without its blocks."""
    kept, at = [], 0
    for block in blocks:
        kept.append(text[at : block.begin])
        at = block.begin + len(block.code)
    return "".join([*kept, text[at:]])


def _useless(asked: Asked, answer: Answer, text: str, *, whole: bool) -> str | None:
    for call in answer.calls.values():
        if asked.tools and call.name and call.name not in asked.tools and (whole or call.arguments):
            return "unknown_tool"
    if not whole:
        return None
    for call in answer.calls.values():
        if asked.tools and not _is_json(call.arguments):
            return "bad_arguments"
    if answer.calls:
        return None
    if not text.strip():
        return "empty"
    if asked.must_call:
        return "no_call"
    return asked.misses(text)


def _is_json(arguments: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(arguments or "{}"), dict)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return False
