"""Check digits: published valid numbers pass, and no change of a single digit does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pointsman.pipeline.understand import checksums

VALID: list[tuple[Callable[[str], bool], str]] = [
    (checksums.luhn, "79927398713"),
    (checksums.payment_card, "4242424242424242"),
    (checksums.payment_card, "378282246310005"),
    (checksums.iban, "GB82WEST12345698765432"),
    (checksums.iban, "NO9386011117947"),
    (checksums.iban, "MT84MALT011000012345MTLCAST001S"),
    (checksums.es_dni, "12345678Z"),
    (checksums.es_dni, "X1234567L"),
    (checksums.br_cpf, "11144477735"),
    (checksums.fr_nir, "255081416802538"),
    (checksums.it_codice_fiscale, "RSSMRA85T10A562S"),
    (checksums.de_tax_id, "86095742719"),
    (checksums.de_tax_id, "47036892816"),
    (checksums.nl_bsn, "111222333"),
    (checksums.pl_pesel, "44051401359"),
    (checksums.in_aadhaar, "499118665246"),
    (checksums.cn_resident_id, "11010519491231002X"),
]
IDS = [f"{check.__name__}-{number}" for check, number in VALID]


@pytest.mark.parametrize(("check", "number"), VALID, ids=IDS)
def test_a_published_number_passes(check: Callable[[str], bool], number: str):
    assert check(number)


@pytest.mark.parametrize(("check", "number"), VALID, ids=IDS)
def test_a_changed_digit_fails(check: Callable[[str], bool], number: str):
    for place, letter in enumerate(number):
        if letter.isdigit():
            for other in "0123456789".replace(letter, ""):
                changed = number[:place] + other + number[place + 1 :]
                assert not check(changed), changed


@pytest.mark.parametrize("number", ["000123456", "666123456", "900123456", "123001234", "123450000"])
def test_social_security_numbers_that_are_never_issued(number: str):
    assert not checksums.us_ssn(number)
    assert checksums.us_ssn("536901234")


def test_sequential_tells_counting_from_chance():
    assert checksums.sequential("1234567890")
    assert checksums.sequential("xxxxxxxx")
    assert not checksums.sequential("9f8a2c71d0")
