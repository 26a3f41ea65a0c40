"""Which passages a model is asked about, which of its answers count, and what is remembered."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest

from pointsman.core.features import VERSION, WIDTH, without_embedding
from pointsman.core.people import ModelAway
from pointsman.core.request import ChatRequest
from pointsman.pipeline.understand import NOT_TEXT, People
from pointsman.pipeline.understand.people import PERSON, UNCHECKED, is_name, passages

from .understanding import stage, user


class Model:
    """Takes every passage whole for a person; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away = False

    def __call__(self, texts: Sequence[str]) -> list[list[str]]:
        if self.away:
            raise ModelAway("gone")
        self.asked += texts
        return [[text] for text in texts]


def people(model: Model) -> People:
    return People(model, classes=stage().classes, hash_key=b"test", skipped=NOT_TEXT)


def test_who_is_named_has_no_embedding_in_the_features():
    features = bytes([VERSION]) + b"\x05" * WIDTH
    request = ChatRequest.build({"messages": [user("It was Margaret Holloway, I think.")]})
    signals = msgspec.structs.replace(stage()(request), features=features)
    assert people(Model()).judge(request, signals).features == without_embedding(features)
    plain = ChatRequest.build({"messages": [user("it was nobody")]})
    assert people(Model()).judge(plain, signals).features == features


def judged(finder: People, *texts: str, level: str = "standard", **fields: object):
    request = ChatRequest.build({"messages": [user(text) for text in texts], **fields})
    return finder.judge(request, stage(level=level)(request)).privacy


@pytest.mark.parametrize(
    "name",
    ["Margaret Holloway", "Jean-Luc Moreau", "Peter van der Berg", "John F. Kennedy", "Seán O'Brien", "Łukasz Żak",
     "Dr. Rosa McIntyre", "Maria dos Santos", "Ask Margaret Holloway", "Grace Hopper's"],
)  # fmt: skip
def test_full_names_count(name):
    assert is_name(name)
    assert passages(f"It was {name}, I think.")


@pytest.mark.parametrize(
    "span",
    ["Margaret", "JavaScript", "Thread Pool", "Returns True", "get_user", "Redis Cluster", "Dear Margaret", "J. F.",
     "margaret holloway", "", "John Doe", "Main Loop Executor", "New Folder"],
)  # fmt: skip
def test_what_is_no_full_name_does_not(span):
    assert not is_name(span)


@pytest.mark.parametrize(
    "code",
    ["class OrderService(BaseService):", "userName = Foo.Bar", "a/Margaret Holloway/b", "@Margaret Holloway",
     "x = MargaretHolloway(1)", "Copyright 2019 Margaret Holloway", "lower case words only, a whole line of them"],
)  # fmt: skip
def test_the_model_is_not_asked_about(code):
    assert not passages(code)


def test_a_passage_is_a_piece_of_its_line():
    long = "x " * 5000 + "Margaret Holloway" + " y" * 5000
    (passage,) = passages(f"first\n{long}\nlast")
    assert "Margaret Holloway" in passage
    assert len(passage) <= 1200
    assert passages("one\nAsk Margaret Holloway now\ntwo") == ["Ask Margaret Holloway now"]
    assert passages(json.dumps("one\nMargaret Holloway\ntwo")) == ["Margaret Holloway"]


def test_messages_are_read_once_and_fields_too():
    model = Model()
    finder = people(model)
    assert judged(finder, "Ask Margaret Holloway").detectors == (PERSON,)
    assert judged(finder, "Ask Margaret Holloway", "and again").detectors == (PERSON,)
    assert len(model.asked) == 1
    assert judged(finder, "plain", user="Rosalind Pemberton").detectors == (PERSON,)


def test_nothing_unchecked_is_remembered_and_high_fails_closed():
    model = Model()
    finder = people(model)
    model.away = True
    assert not judged(finder, "Ask Margaret Holloway").local_only
    privacy = judged(finder, "Ask Margaret Holloway", level="high")
    assert (privacy.detectors, privacy.local_only) == ((UNCHECKED,), True)
    assert not judged(finder, "no name can stand here", level="high").local_only
    model.away = False
    assert judged(finder, "Ask Margaret Holloway", level="high").detectors == (PERSON,)


def test_what_other_detectors_found_stays():
    privacy = judged(people(Model()), "Margaret Holloway, margaret@pointsman-customer.de, 4539 5787 6362 1486")
    assert set(privacy.detectors) == {"email", "payment_card", PERSON}
    assert privacy.local_only


async def test_what_is_known_is_answered_without_a_thread():
    model = Model()
    finder = people(model)
    request = ChatRequest.build({"messages": [user("Ask Margaret Holloway")]})
    signals = stage()(request)
    assert (await finder(request, signals)).privacy.detectors == (PERSON,)
    finder.close()  # a thread can no longer be had
    assert (await finder(request, signals)).privacy.detectors == (PERSON,)
