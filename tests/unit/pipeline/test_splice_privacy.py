"""What was told with placeholders is gone on with in placeholders, and originals go to local models alone."""

from __future__ import annotations

import pytest
from splicing import PREFILLS, REPEATS, Told, asking, begun, streamed

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import PrivacyWall
from pointsman.core.events import Frames
from pointsman.core.mask import Mask, Original
from pointsman.pipeline.execute.splice import Splice

SECRET = "ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"
NAME = "REDACTED_SECRET_1_K7Q2M9"
CLEAR = f"Use the token {SECRET} here, and then {SECRET} there."
MASKED = CLEAR.replace(SECRET, NAME)
REMOTE_PREFILLS = ModelCard(id="far:prefills", provider="far", name="prefills", prefill=PREFILLS.prefill)


def masked() -> Mask:
    return Mask(
        request=asking(f"My token is {NAME}"),
        originals={NAME: Original(SECRET, SECRET)},
        tag="K7Q2M9",
        clears=lambda body: SECRET.encode() not in body,
    )


def carried(stop: int, second: ModelCard, *, first_is_local: bool = False):
    """A first attempt that breaks behind so many events, and a second one, as the stage plays them."""
    mask = masked()
    request = asking(f"My token is {SECRET}")
    splice = Splice(request, mask)
    told, seen = Told(), []
    for card, stops in ((PREFILLS if first_is_local else REPEATS, stop), (second, None)):
        if not splice.can_go_on(card):
            return told, None
        whole = CLEAR if card.local else MASKED
        asked = splice.asks(card, request if card.local else mask.request, mask if card.local else None)
        seen.append(asked)
        restore = None if card.local else mask.restorer()
        said = begun(asked) if len(asked.params.messages) > 1 else ""
        assert whole.startswith(said)
        rest = whole[len(said) :] if card.prefill or not said else said[-20:] + whole[len(said) :]
        for event in streamed(rest, model=card.name)[:stops]:
            passed = splice.passes(event)
            if passed is not None:
                told.see(passed if restore is None else restore(passed))
    told.see(splice.end())
    return told, seen[-1]


STOPS = range(1, len(streamed(MASKED)) - 2)


@pytest.mark.parametrize("card", [REPEATS, REMOTE_PREFILLS], ids=["by prompt", "by prefill"])
def test_a_remote_model_goes_on_with_placeholders(card):
    for stop in STOPS:
        told, asked = carried(stop, card)
        assert told.text == CLEAR, stop
        told.check()
        body = asked.render({})
        assert SECRET.encode() not in body
        assert asked.dialect == "chat"


def test_a_local_model_goes_on_with_the_originals():
    for stop in STOPS:
        told, asked = carried(stop, PREFILLS)
        assert told.text == CLEAR, stop
        told.check()
        assert b"REDACTED" not in asked.render({})


def test_what_a_local_model_wrote_of_the_originals_goes_to_no_remote_one():
    _, asked = carried(3, REPEATS, first_is_local=True)
    assert asked is None
    mask = masked()
    splice = Splice(asking(), mask)
    splice.asks(PREFILLS, asking(), mask)
    splice.passes(Frames(b""))
    splice.passes(streamed("It ends in Ui2", model="a")[2])
    assert splice.can_go_on(PREFILLS)
    assert not splice.can_go_on(REPEATS)
    with pytest.raises(PrivacyWall):  # and if it were asked all the same
        splice.asks(REPEATS, mask.request, None)


def test_what_a_local_model_failed_to_tell_keeps_no_remote_one_away():
    mask = masked()
    splice = Splice(asking(), mask)
    splice.asks(PREFILLS, asking(), mask)
    assert splice.can_go_on(REPEATS)
    assert splice.asks(REPEATS, mask.request, None) is mask.request


def test_letters_that_begin_placeholders_too_are_not_told_twice_behind_a_local_model():
    clear = "Never remember red or rare words. Their order matters; the reader stays here, and there, forever more."
    for stop in range(1, len(streamed(clear, size=1)) - 2):
        mask = masked()
        splice, told = Splice(asking(), mask), Told()
        for stops in (stop, None):
            asked = splice.asks(PREFILLS, asking(), mask)
            said = begun(asked) if len(asked.params.messages) > 1 else ""
            for event in streamed(clear[len(said) :], size=1)[:stops]:
                told.see(splice.passes(event))
            assert splice.can_go_on(PREFILLS) == (stops is not None)
        told.see(splice.end())
        assert told.text == clear, stop
