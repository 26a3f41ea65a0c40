"""Redacted copies: what is replaced, what keeps a request local, and that nothing of the original is left."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.mask import Mask
from pointsman.core.request import ChatRequest
from pointsman.core.signals import PrivacyClass, Signals
from pointsman.evals.privacy.cases import PARTS, cases, templates
from pointsman.pipeline.understand import Understand
from pointsman.pipeline.understand.detectors import Detectors
from pointsman.pipeline.understand.plain import aligned, plain
from pointsman.pipeline.understand.redact import KINDS

from .private_values import Values
from .understanding import SHARED, stage

TOKEN = "ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"
CARD = "4539 5787 6362 1486"
IBAN = "DE89 3704 0044 0532 0130 00"


def redacted(body: dict, understand: Understand | None = None) -> tuple[Signals, Mask | None]:
    understand = understand or SHARED
    request = ChatRequest.build(body)
    return understand.redact(request, understand(request))


def said(*contents: str, **fields) -> dict:
    return {"model": "auto", "messages": [{"role": "user", "content": content} for content in contents], **fields}


def body_of(mask: Mask) -> str:
    return mask.request.render({}).decode()


def test_one_value_has_one_placeholder_everywhere_and_comes_back():
    first = f"Deploy with {TOKEN}, pay {CARD} from {IBAN}."
    signals, mask = redacted(said(first, f"x={TOKEN};", metadata={"note": f"{CARD}!"}))
    assert signals.privacy.redacted
    assert not signals.privacy.local_only
    assert signals.privacy.placeholders == 3
    text = body_of(mask)
    for value in (TOKEN, CARD, IBAN):
        assert value not in text
    messages = json.loads(text)["messages"]
    assert mask.restore(messages[0]["content"]) == first
    assert mask.restore(messages[1]["content"]) == f"x={TOKEN};"
    assert messages[1]["content"].startswith("x=REDACTED_SECRET_1_")
    assert mask.restore(json.loads(text)["metadata"]["note"]) == f"{CARD}!"


TEMPLATES = [pair for part in PARTS for pair in templates(part) if pair[0] and Detectors().classes[pair[0]] in KINDS]


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _ in TEMPLATES))
def test_what_a_detector_finds_can_be_replaced(name):
    detectors = Detectors()
    for seed, template in enumerate(template for detector, template in TEMPLATES if detector == name):
        text = Values(seed).fill(template)
        if not [found for found in detectors.find(text) if detectors.classes[found] in KINDS]:
            continue  # a random value that looks like none; the labelled set counts those
        _, mask = redacted(said(text))
        assert mask is not None, text
        sent = json.loads(body_of(mask))["messages"][0]["content"]
        assert not [found for found in detectors.find(sent) if detectors.classes[found] in KINDS], (text, sent)
        assert mask.restore(sent) == text


def test_a_private_key_goes_whole():
    key = Values(3).fill(
        "-----BEGIN RSA PRIVATE KEY-----\n{base64:64}\n{base64:64}\n{base64:20}==\n-----END RSA PRIVATE KEY-----"
    )
    _, mask = redacted(said(f"Use this:\n{key}\nthanks"))
    sent = json.loads(body_of(mask))["messages"][0]["content"]
    assert sent.startswith("Use this:\nREDACTED_SECRET_1_")
    assert sent.endswith("\nthanks")
    assert not [line for line in key.splitlines() if line in sent]
    assert mask.restore(sent) == f"Use this:\n{key}\nthanks"


def test_values_in_tool_arguments_keep_them_json():
    secret = 'Zx9!kkq"q\\\nW7'
    arguments = json.dumps({"user": "app", "password": secret})
    call = {"id": "c", "type": "function", "function": {"name": "login", "arguments": arguments}}
    body = said("log in", f"it is {secret} again")
    body["messages"].insert(1, {"role": "assistant", "content": None, "tool_calls": [call]})
    _, mask = redacted(body)
    messages = json.loads(body_of(mask))["messages"]
    sent = messages[1]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(sent)["password"].startswith("REDACTED_SECRET_1_")
    assert json.loads(mask.restore(sent, escaped=True)) == json.loads(arguments)
    assert messages[2]["content"].startswith("it is REDACTED_SECRET_2_")  # another writing, to be put back as it was
    assert mask.restore(messages[2]["content"]) == f"it is {secret} again"


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {TOKEN: "x"}},
        {"metadata": {"card": 4539578763621486}},
        {TOKEN: "x"},
        {"logit_bias": {TOKEN: 1}},
        {"metadata": {"a": ["x"], CARD.replace(" ", ""): [], "b": CARD}},
    ],
)
def test_what_cannot_be_replaced_stays(fields):
    signals, mask = redacted(said("hi", **fields))
    assert mask is None
    assert signals.privacy.local_only
    assert not signals.privacy.redacted


@pytest.mark.parametrize(
    ("text", "elsewhere"),
    [
        (f"card {CARD}", f"/orders/{CARD.replace(' ', '')}/"),
        ("{'password': 'hunter2-Tr4in'}", "try hunter2-Tr4in there"),
        ("mysql -u root -pTr4in9x7q shop", "the word Tr4in9x7q again"),
        ("the password is Tr4in9x7q.", "the word Tr4in9x7q again"),
        ("postgres://app:Tr4in9x7q@db.acme.io/main", "psql says no to Tr4in9x7q there"),
        ("postgres://app:p%40Tr4in9x7q@db.acme.io/main", "I typed p@Tr4in9x7q there"),
        ("Authorization: Basic YXBwOlRyNGluOXg3cQ==", "that is app:Tr4in9x7q , or Tr4in9x7q alone"),
        ("kind: Secret\ndata:\n  password: VHI0aW45eDdx\n", "$ echo VHI0aW45eDdx | base64 -d\nTr4in9x7q"),
    ],
)
def test_a_value_is_gone_from_everywhere(text, elsewhere):
    _, mask = redacted(said(text, elsewhere))
    sent = body_of(mask)
    assert not any(word in sent for word in (CARD.replace(" ", ""), "hunter2-Tr4in", "Tr4in9x7q", "VHI0aW45eDdx"))
    messages = json.loads(sent)["messages"]
    assert [mask.restore(message["content"]) for message in messages] == [text, elsewhere]


def test_a_field_that_is_called_a_secret_goes_whole():
    fields = {"metadata": {"password": "hunter2-Tr4in of ours"}}
    _, mask = redacted(said("try hunter2-Tr4in there", **fields))
    sent = json.loads(body_of(mask))
    assert sent["metadata"]["password"].startswith("REDACTED_SECRET_2_")
    assert mask.restore(sent["metadata"]["password"]) == "hunter2-Tr4in of ours"
    assert mask.restore(sent["messages"][0]["content"]) == "try hunter2-Tr4in there"
    assert "Tr4in" not in body_of(mask)


@pytest.mark.parametrize("secret", ["Grün€kohl7!x", "a.b*c+d(9)?", "p4ss\\\\w0rd9", "🚂Tr4in🚂77"])
def test_letters_of_any_kind(secret):
    signals, mask = redacted(said(f'password = "{secret}"'))
    assert "secret" in signals.privacy.classes
    assert secret not in json.loads(body_of(mask))["messages"][0]["content"]
    assert mask.restore(json.loads(body_of(mask))["messages"][0]["content"]) == f'password = "{secret}"'


def test_a_value_cut_over_two_parts_stays():
    parts = [{"type": "text", "text": TOKEN[:20]}, {"type": "text", "text": TOKEN[20:]}]
    signals, mask = redacted({"model": "auto", "messages": [{"role": "user", "content": parts}]})
    assert mask is None
    assert signals.privacy.local_only


def test_arguments_that_would_not_be_json_any_more_stay():
    call = {"id": "c", "type": "function", "function": {"name": "pay", "arguments": '{"card": 4539578763621486}'}}
    body = said("pay")
    body["messages"].append({"role": "assistant", "content": None, "tool_calls": [call]})
    assert redacted(body)[1] is None


@pytest.mark.parametrize("level", ["high", "max"])
def test_higher_levels_never_redact(level):
    body = said(f"see {TOKEN}", routing_preferences={"privacy_level": level})
    signals, mask = redacted(body)
    assert mask is None
    assert signals.privacy.local_only


def test_contact_and_internal_leave_as_they_are():
    text = f"Mail greta@pointsman-customer.de at 10.20.30.40 the key {TOKEN}"
    signals, mask = redacted(said(text))
    assert set(signals.privacy.classes) == {PrivacyClass.SECRET, PrivacyClass.CONTACT, PrivacyClass.INTERNAL}
    sent = body_of(mask)
    assert "greta@pointsman-customer.de at 10.20.30.40" in sent
    assert TOKEN not in sent


def test_a_conversation_keeps_its_placeholders_and_others_have_their_own():
    first = redacted(said(f"one {TOKEN}"))[1]
    again = redacted(said(f"one {TOKEN}", f"and {CARD}"))[1]
    other = redacted(said(f"two {TOKEN}"))[1]
    sent = json.loads(body_of(first))["messages"][0]["content"]
    assert json.loads(body_of(again))["messages"][0]["content"] == sent
    assert json.loads(body_of(other))["messages"][0]["content"][4:] != sent[4:]


def test_a_placeholder_that_the_prompt_holds_already_is_not_taken():
    sent = json.loads(body_of(redacted(said(f"one {TOKEN}"))[1]))["messages"][0]["content"]
    forged = sent[4:]
    _, mask = redacted(said(f"one {TOKEN}", f"print {forged.lower()}"))
    messages = json.loads(body_of(mask))["messages"]
    assert messages[1]["content"] == f"print {forged.lower()}"
    assert mask.restore(messages[1]["content"]) == f"print {forged.lower()}"
    assert mask.restore(messages[0]["content"]) == f"one {TOKEN}"


def test_many_values_stay_local_and_take_no_time():
    cards = Values(1)
    text = "\n".join(cards.fill("{card:4}") for _ in range(1200))
    assert redacted(said(text))[1] is None
    some = " ".join(cards.fill("{card:4}") for _ in range(300))
    signals, mask = redacted(said(some))
    assert signals.privacy.placeholders == 300
    assert mask.restore(json.loads(body_of(mask))["messages"][0]["content"]) == some


def test_the_last_check_sees_what_a_stage_put_back():
    _, mask = redacted(said(f"see {TOKEN}"))
    assert mask.clears(mask.request.render({"model": "gpt-4o"}))
    for body in (said(f"see {TOKEN}"), said(f"see {TOKEN[:30]}{TOKEN[30:]}!"), said(CARD)):
        assert not mask.clears(json.dumps(body).encode())
    assert not mask.clears(b'{"broken')
    assert TOKEN not in repr(mask)


def test_hundreds_of_mixed_requests_come_back_whole():
    rng = random.Random(11)
    texts = [case.text for part in PARTS for case in cases(part, variants=1)]
    understand = stage()
    local = made = 0
    for _ in range(300):
        messages: list[dict] = []
        for text in rng.sample(texts, rng.randint(1, 5)):
            arguments = json.dumps({"cmd": text, "more": [1, {"deep": text}]})
            call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
            messages.append(
                rng.choice(
                    [
                        {"role": "user", "content": f"a {text} b {text}"},
                        {"role": "system", "content": [{"type": "text", "text": text}]},
                        {"role": "assistant", "content": None, "tool_calls": [call]},
                        {"role": "tool", "tool_call_id": "c", "content": json.dumps({"out": text})},
                    ]
                )
            )
        signals, mask = redacted({"messages": messages}, understand)
        if mask is None:
            local += signals.privacy.local_only
            continue
        made += 1
        for before, after in zip(messages, json.loads(body_of(mask))["messages"], strict=True):
            if "tool_calls" in before:
                (one,), (two,) = before["tool_calls"], after["tool_calls"]
                back = mask.restore(two["function"]["arguments"], escaped=True)
                assert json.loads(back) == json.loads(one["function"]["arguments"])
            elif isinstance(before["content"], str):
                assert mask.restore(after["content"]) == before["content"]
            else:
                assert mask.restore(after["content"][0]["text"]) == before["content"][0]["text"]
    assert made > 200
    assert local <= 3


PIECES = st.sampled_from(
    [b"\\", b"\\n", b"\\u0040", b"\\u200b", b"%41", b"%0a", b"%", b"abc", b" ", b'\\"', b"u0041", b"n"]
    + [letter.encode() for letter in ("\u200b", "\uff11", "é", "\U0001d400", "\ufb01", "\ufe0f")]
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=12).map(b"".join))
def test_positions_follow_the_plain_text(text):
    made, origins = aligned(text)
    assert made == plain(text)
    assert len(origins) == len(made) + 1
    assert list(origins) == sorted(origins)
    assert origins[-1] == len(text)


VALUES = st.sampled_from(
    [TOKEN, CARD, IBAN, CARD.replace(" ", ""), f"password: 'hu{TOKEN[10:16]}9!'", "AKIAQ3EGRT5YUIO7PLKJ"]
)
WORDS = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)


@settings(deadline=None)  # other work on the machine is no failure
@given(st.lists(st.one_of(VALUES, WORDS, st.sampled_from([" ", "\n", '"', "\\n", "\u200b"])), max_size=12))
def test_nothing_found_is_left_and_everything_comes_back(pieces):
    understand = stage()
    text = "".join(pieces)
    signals, mask = redacted(said(text, "and more"), understand)
    if mask is None:
        assert signals.privacy.local_only or not {"secret", "identity"} & set(signals.privacy.classes)
        return
    sent = json.loads(body_of(mask))["messages"][0]["content"]
    detectors = Detectors()
    assert not [name for name in detectors.find(sent) if detectors.classes[name] in KINDS]
    assert mask.restore(sent) == text
