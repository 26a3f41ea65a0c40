"""How demanding asks look: trivial ones low, demanding ones high, and more is never less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.request import ChatRequest
from pointsman.pipeline.understand import ComplexityRules, PrivacyRules, Understand

from .understanding import understand, user

TRIVIAL = [
    "what is the capital of France?",
    "write hello world in python",
    "hi",
    "fix this bug",
    "Write a function that reverses a string.",
    "What is the difference between a list and a tuple in Python?",
    "rename the variable foo to bar",
    'Translate "good morning" to German.',
    "write a unit test for the add function",
    "how do I undo the last git commit?",
]
DEMANDING = [
    "Design a lock-free MPMC queue with hazard pointers in C++20, prove its linearizability, and discuss memory"
    " ordering on ARM versus x86.",
    "Implement Raft consensus in Rust with log compaction and snapshotting, ensure linearizable reads without leader"
    " leases, and write property-based tests that check safety under network partitions.",
    "Design a multi-region, exactly-once payment ledger on Postgres and Kafka. It must survive the loss of a region"
    " without losing writes, keep p99 latency under 50 ms, and support schema evolution with zero-downtime migrations."
    " Compare two-phase commit with sagas and justify the isolation level.",
    "Write a compiler pass in LLVM that does escape analysis and stack promotion; handle loops, exceptions and indirect"
    " calls, and prove that it never changes observable behaviour.",
]
ORDINARY = [
    "Add pagination to the /users endpoint in our FastAPI app, keep the response schema backward compatible, and add"
    " tests.",
    "Refactor this class to use dependency injection so that it can be tested without the database.",
]


@pytest.mark.parametrize("text", TRIVIAL)
def test_trivial(text: str):
    assert understand(text).complexity.score < 0.25


@pytest.mark.parametrize("text", DEMANDING)
def test_demanding(text: str):
    assert understand(text).complexity.score > 0.65


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_work_lies_between(text: str):
    assert 0.25 < understand(text).complexity.score < 0.65


def test_a_long_paste_alone_is_not_demanding():
    log = "\n".join(f"12:00:{second:02d} served /index.html" for second in range(60))
    assert understand(f"what does this say?\n```\n{log * 20}\n```").complexity.score < 0.65


@given(st.sampled_from(TRIVIAL + ORDINARY), st.sampled_from(DEMANDING))
def test_more_asked_is_never_less_complex(ask: str, more: str):
    alone, together = understand(ask).complexity, understand(f"{ask} {more}").complexity
    assert together.length >= alone.length
    assert together.terms >= alone.terms
    assert together.structure >= alone.structure
    assert together.score >= alone.score


@given(st.text(max_size=400))
def test_every_part_lies_between_0_and_1(text: str):
    found = understand(text).complexity
    assert all(0 <= part <= 1 for part in (found.score, found.length, found.terms, found.structure))


@pytest.mark.parametrize(
    "slight",
    ["Thank you very much in advance.", "This must never be wrong!", "A hospital waits for the answer.", "头脑风暴。"],
)
def test_slight_sentences_make_an_ask_hardly_harder(slight: str):
    for ask in ("Debug a deadlock between two threads that lock in different order.", TRIVIAL[0], ORDINARY[1]):
        alone = understand(ask).complexity
        for text in (f"{slight} {ask}", f"{ask}\n\n{slight}"):
            together = understand(text).complexity
            assert 0 <= together.score - alone.score < 0.01
            assert together.structure == alone.structure


@pytest.mark.parametrize("weighty", ["It is lock-free.", "Prove it.", "Keep it below 20 ms.", "Look at main.py."])
def test_short_sentences_that_say_something_count(weighty: str):
    assert (
        understand(f"Fix this bug.\n{weighty}").complexity.score > understand("Fix this bug.").complexity.score + 0.01
    )


def test_a_bare_list_of_terms_says_less_than_a_sentence_about_them():
    listed = understand("Say hello.\nKeywords: Raft, Paxos, lock-free, NP-hard, homomorphic.").complexity
    told = understand("Say hello.\nTell how Raft and Paxos, lock-free and NP-hard go with the homomorphic.").complexity
    assert 0 < listed.terms < 0.25 < told.terms
    assert listed.structure < told.structure


def test_terms_count_once_and_only_as_whole_words():
    assert understand("a mutex").complexity.terms == understand("a mutex, a mutex and a mutex").complexity.terms > 0
    assert understand("raft").complexity.terms > understand("draft crafting").complexity.terms == 0
    assert understand("SIDE-CHANNEL").complexity.terms == understand("side channels").complexity.terms > 0


def test_the_weights_are_the_installation_s():
    request = ChatRequest.build({"messages": [user(DEMANDING[0])]})

    def score(*weights: float) -> tuple[float, float]:
        stage = Understand(
            privacy=PrivacyRules(), complexity=ComplexityRules(weights=weights), hash_key=b"", windows=lambda: ()
        )
        found = stage(request).complexity
        return found.score, found.terms

    only_terms, terms = score(0, 1, 0)
    assert only_terms == pytest.approx(terms)
    assert score(1, 0, 0)[0] != only_terms
