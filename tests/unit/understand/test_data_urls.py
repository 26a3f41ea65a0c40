"""What `data:` URLs hold, however they are written."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.pipeline.understand.strings import all_strings, text_of

TOLD = st.text(st.characters(blacklist_characters=",", blacklist_categories=("Cs",)), max_size=20)


@given(st.text(min_size=1), TOLD, st.sampled_from([";base64", ";BASE64", "; base64 ", ""]))
def test_text_is_found_behind_whatever_the_url_says_of_it(text, told, mark):
    assert text in text_of(f"data:text/{told}{mark},{base64.b64encode(text.encode()).decode()}")


@given(TOLD, st.text())
def test_what_a_url_says_of_itself_is_always_read(told, data):
    assert told in text_of(f"data:{told},{data}")


@given(st.text())
def test_anything_can_be_read(text):
    text_of(f"data:{text}")
    assert all_strings(base64.b64encode(text.encode()).join((b'"data:text/plain;base64,', b'"')), "x").values == 1


@pytest.mark.parametrize("start", [b"\x89PNG\r\n\x1a\n\x00", b"\xff\xd8\xff\xe0\x00", b"RIFF\x10\x00\x00\x00WEBP"])
def test_of_a_picture_nothing_is_read_but_what_the_url_says(start):
    data = base64.b64encode(start + bytes(range(256)) * 8).decode()
    assert text_of(f"data:image/png;base64,{data}") == "data:image/png;base64"


def test_a_url_with_its_text_in_the_clear_stays_as_it_is():
    url = f"data:image/svg+xml,{quote('<svg>?</svg>')}"
    assert text_of(url) == url


def test_wide_text_is_read():
    text = "key: ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"
    assert text in text_of(f"data:text/plain;base64,{base64.b64encode(text.encode('utf-16')).decode()}")
