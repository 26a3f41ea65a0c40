"""Sentences are found from the kinds of their bytes; here the same is said by one expression, plainly and slowly."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.pipeline.understand.scan import COUNTS, HINTED, has_term, scan
from pointsman.pipeline.understand.structure import COUNTED, EDGE, FILES, VERBS, kinds_of, sentences

END = re.compile(rb"[.!?\n\xe3\xef](?:(?<=\n)\s*|(?<=[.!?])[.!?]*\s+|(?<=\xe3)\x80\x82|(?<=\xef)\xbc[\x81\x9f])")
PIECES = ("a", "word", ". ", ".", "?!", "\n", "\n\n", " ", "\t", "\v", "\f", "1.5", ",", "。", "！", "？", "é", "模")
texts = st.lists(st.sampled_from(PIECES)).map("".join)


def plainly(prose: bytes) -> list[tuple[int, int]]:
    def ends(start: int, stop: int) -> list[int]:
        return [found.end() for found in END.finditer(prose, start, stop)]

    size = len(prose)
    if size <= 2 * EDGE:
        found = [0, *ends(0, size)]
        parts = [[*found, size] if found[-1] < size or not size else found]
    else:
        head = [end for end in [0, *ends(0, EDGE)] if end < EDGE]
        tail = ends(size - EDGE, size)
        parts = [head, tail if tail and tail[-1] == size else [*tail, size]]
    return [pair for part in parts for pair in pairwise(part)]


@given(texts, st.sampled_from([0, 0, EDGE - 30, EDGE - 5, EDGE]))
@example("One. \v\nTwo.\n.\n \n Three", 0)
@example("no end", 0)
def test_sentences(text: str, filler: int):
    prose = f"{'x' * filler}{text}{'y' * filler}{text}".encode()
    assert list(zip(*sentences(prose, kinds_of(prose)), strict=True)) == plainly(prose)


def test_one_pass_finds_counts_terms_and_hints():
    found = scan(b"Design a Lock-Free queue in queue.py; ROUTING matters.")
    assert found & COUNTS == {COUNTED.index(VERBS), COUNTED.index(FILES)}
    assert HINTED in found
    assert has_term(found)
    assert not scan(b"Thanks, see you tomorrow.")
    assert not has_term(scan(b"Thanks, this model is the best."))
